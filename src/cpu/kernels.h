/* kernels.h - the CPU kernel table: one per instruction set, all with the same bits (docs/numerics.md).
 *
 * cpu.c cuts a problem into items (split.h) and each item into segments: stretches of one sequence. A
 * kernel computes one segment of several channels; it decides nothing about work distribution. */
#ifndef CC1D_CPU_KERNELS_H
#define CC1D_CPU_KERNELS_H

#include "core/problem.h"

/* Steps t0..t1-1 of channels d0..d1-1 of batch row b, inside a sequence that covers steps start..end-1.
 * Taps before start come from `past` (NULL: they are 0), an initial state of W-1 columns from past_column on.
 * last: the last step that is no padding, start - 1 where there is none; the final state ends with it. */
typedef struct cc1d_segment {
    int64_t b, n;
    int64_t d0, d1;
    int64_t t0, t1;
    int64_t start, end;
    int64_t last; /* set where final states or their gradient are part of the call */
    const cc1d_view *past;
    int64_t past_row, past_column;
} cc1d_segment;

/* How the tensors lie in memory; chosen from strides alone, the same for every instruction set. */
typedef enum cc1d_path {
    CC1D_PATH_TIME,    /* time is contiguous in every (batch, dim, time) tensor of the call */
    CC1D_PATH_CHANNEL, /* dim is contiguous in every one */
    CC1D_PATH_GENERAL  /* anything else */
} cc1d_path;

/* Weight-gradient order, part of the definition (S is float, or double for float64 tensors):
 *   TIME and GENERAL: steps in blocks of CC1D_DW_BLOCK from t0; in a block, 16 lanes, lane = (t - t0) % 16,
 * each a chain of sum = fma(dpre[t], tap, sum) from 0 in S; lanes are then added pairwise in S (l + (l+8),
 * then +4, +2, +1). CHANNEL: steps in runs of CC1D_DW_RUN from t0; in a run one chain of fma in S from 0.
 *   Each block's or run's sum is added, in order, to partial in double. dbias likewise with tap = 1 (plain
 * addition). */
#define CC1D_DW_BLOCK 1024
#define CC1D_DW_RUN 64

/* Where channels are contiguous: the most channels that are worked on together, and the bytes for their
 * weights. What belongs to them stays in the first-level cache. 16: rows of weights and sums are no power of
 * two apart. */
enum { CC1D_TILE_CHANNELS = 512, CC1D_TILE_BYTES = 8 * (CC1D_TILE_CHANNELS + 16) * 4 };

/* Where the parts of a backward task's workspace begin on the paths TIME and GENERAL, in elements of what is
 * computed in. Each is for itself on its cache lines. */
typedef struct cc1d_cpu_room {
    int64_t weights, sums, collected, widened, x, dout, dx, end; /* the gradients of a block lie at 0 */
} cc1d_cpu_room;

cc1d_cpu_room cc1d_cpu_room_of(int64_t width);

/* Most coefficients that the vector kernels take; longer filters run on the scalar ones. */
enum { CC1D_MAX_WIDTH = 256 };

typedef void cc1d_forward_kernel(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s);

/* dx of the segment's steps if p has it; adds the segment's weight-gradient sums to partial[k * dim + d -
 * d0], k = W being the bias, if partial is not NULL. workspace: cc1d_cpu_workspace(p) bytes, 64-byte aligned.
 */
typedef void cc1d_backward_kernel(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s,
                                  double *partial, void *workspace);

/* y of batch row b, channels d0..d1-1, and the row's state moved on. row: the state's row that is read,
 * or -1 for a padding slot. */
typedef void cc1d_update_kernel(const cc1d_problem *p, int64_t b, int64_t row, int64_t d0, int64_t d1);

/* The same of calls with gates. workspace: as above, and of forward cc1d_cpu_window_space(p, path) bytes. */
typedef void cc1d_gated_forward_kernel(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s,
                                       void *workspace);

typedef struct cc1d_cpu_kernels {
    const char *name;    /* "scalar", "avx2", "avx512", "neon" */
    int (*usable)(void); /* capability: processor and operating system */
    cc1d_forward_kernel *forward;
    cc1d_backward_kernel *backward;
    cc1d_update_kernel *update;
    cc1d_gated_forward_kernel *gated_forward;
    cc1d_backward_kernel *gated_backward;
} cc1d_cpu_kernels;

/* Best first, NULL-terminated. */
extern const cc1d_cpu_kernels *const cc1d_cpu_kernel_list[];
extern const cc1d_cpu_kernels cc1d_cpu_scalar;

/* The implementation that calls run. */
const cc1d_cpu_kernels *cc1d_cpu_chosen(void);

/* dinitial_states of channels d0..d1-1 of row n, whose sequence is s->start..s->end-1. W-1 steps of each
 * sequence: scalar code serves every instruction set. */
void cc1d_cpu_dinitial(const cc1d_problem *p, const cc1d_segment *s);

#endif
