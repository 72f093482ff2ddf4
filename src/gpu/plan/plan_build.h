/* plan_build.h - the parts of a launch that every plan is made of. Private to src/gpu/plan/. */
#ifndef CC1D_PLAN_BUILD_H
#define CC1D_PLAN_BUILD_H

#include "gpu/text/params.h"
#include "plan_key.h"

#define CC1D_UNROLLED_WIDTH 8 /* wider kernels read W from the params struct and their taps from memory */

/* What suits a kind of device; docs/kernels.md says how each was found. */
typedef struct cc1d_tuning {
    bool few_texts; /* a text serves rows and batches of any size, also where one of its own were faster */
    /* Each path's kernel: SIMD-groups per group; groups that a multiprocessor must hold (CUDA, for plain
     * calls); packs, or blocks of packs, loaded ahead. */
    struct cc1d_shapes {
        struct cc1d_shape {
            int simd_groups, min_blocks, unroll;
        } time, time_backward, channel, channel_backward;
        int channel_backward_bytes; /* of a pack, at most */
    } plain, gated;
    int time_pool_blocks;      /* min_blocks of the time path with a pool of states: as many as without */
    int time_backward_blocks;  /* blocks of packs per team at most: bounds the length of an addition chain */
    int channel_bytes;         /* of a pack, at most */
    int channel_run;           /* time steps per thread, at most */
    int channel_group;         /* runs per group */
    int channel_packed_blocks; /* min_blocks with cu_seqlens: what needs no spills */
    int channel_backward_run;
    int channel_backward_group;
    int channel_least_run;  /* time steps per thread, at least, however few threads that gives */
    int64_t threads;        /* work is cut finer until there are about so many threads */
    int update_bytes;       /* update step: of a pack, at most */
    int update_rows;        /* ... batch rows per thread, or 1 */
    int update_whole_rows;  /* ... where a thread's states are one access each */
    int64_t update_threads; /* ... where there would not be so many threads */
} cc1d_tuning;

const cc1d_tuning *cc1d_tuning_for(const cc1d_problem *p);

/* The smallest multiple count, without overflow for a > 0. */
static inline int64_t cc1d_ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0); }

static inline int64_t cc1d_clamp(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : value > high ? high : value;
}

/* Of a power of two. */
static inline int cc1d_log2(int64_t value) {
    int bits = 0;
    while (value >> bits > 1) bits++;
    return bits;
}

cc1d_long cc1d_long_of(int64_t value);
cc1d_place cc1d_place_of(const cc1d_view *view);
cc1d_divisor cc1d_divisor_of(int64_t divisor);

/* Starts the plan's next launch: its name, and the fields of its key that every kernel has. */
cc1d_launch *cc1d_add_launch(cc1d_plan *plan, const cc1d_problem *p, cc1d_kernel kernel, bool unrolled);

/* Ends a launch whose key is complete: its buffers, and the params struct. */
void cc1d_finish_launch(cc1d_launch *launch, const void *params, size_t size);

/* The grid of `rows` times `units_per_row` work units, `units_per_group` of which a group takes: sets groups
 * and group_size, and the params' slab (rows per grid row) and units (per slab). UNSUPPORTED where even one
 * row is too much. */
cc1d_status cc1d_set_grid(cc1d_launch *launch, int64_t rows, int64_t units_per_row, int64_t units_per_group,
                          int *slab, int *units);

/* Where a view starts, as far as alignment goes: its address, or on Metal its offset in its buffer. A
 * buffer starts on a page; what stands for it on the host is an object whose address says nothing. */
static inline uintptr_t cc1d_start_of(const cc1d_view *view) {
    return (uintptr_t)view->data - (uintptr_t)view->buffer;
}

/* Elements from the nearest 16-byte boundary below to the view's first element. */
int cc1d_offset_in_vector(const cc1d_view *view);

/* Whether a dimension's neighbours are neighbours in memory (true also where it has one element). */
bool cc1d_dense(const cc1d_view *view, int dimension);

/* The largest power of two <= most that divides the address (in elements) of every element of the view whose
 * index in the dense dimension is a multiple of it. */
int cc1d_pack_size(const cc1d_view *view, int dense_dimension, int most);

/* Parts of plan_conv.c's, plan_states.c's and plan_update.c's business: append launches, if there is work. */
cc1d_status cc1d_plan_forward(const cc1d_problem *p, cc1d_plan *plan);
cc1d_status cc1d_plan_backward(const cc1d_problem *p, cc1d_plan *plan);
cc1d_status cc1d_plan_states(const cc1d_problem *p, cc1d_plan *plan);
cc1d_status cc1d_plan_pool_states(const cc1d_problem *p, cc1d_plan *plan);
cc1d_status cc1d_plan_initial_gradient(const cc1d_problem *p, cc1d_plan *plan);
cc1d_status cc1d_plan_update(const cc1d_problem *p, cc1d_plan *plan);

/* A convolution's shapes and strides as params, and the key's flags of the tensors that make up a tap. */
void cc1d_fill_conv(const cc1d_problem *p, cc1d_role target, cc1d_role side, cc1d_role last,
                    cc1d_conv_params *params);
void cc1d_key_taps(const cc1d_problem *p, uint8_t *key);

/* The key's fields of a pool of states and of the indices of its rows. */
void cc1d_key_pool(const cc1d_problem *p, uint8_t *key);

/* The key's flags of the gates that make up taps, and results. */
void cc1d_key_gates(const cc1d_problem *p, uint8_t *key);

/* Ends a launch of a convolution, whose params have a pool and gates if its key has. */
void cc1d_finish_conv(cc1d_launch *launch, const cc1d_conv_params *params);

#endif
