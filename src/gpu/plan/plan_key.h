/* plan_key.h - what the text of a GPU kernel is specialised by: one byte per field, each a `#define
 * CC1D_<FIELD> value`. */
#ifndef CC1D_PLAN_KEY_H
#define CC1D_PLAN_KEY_H

#include "plan.h"

/* Dtypes are cc1d_dtype's numbers; an index tensor that is absent has 0. Flags are 0 or 1. */
#define CC1D_KEY_FIELDS(F)                                                                                 \
    F(X_DTYPE)                                                                                             \
    F(WEIGHT_DTYPE)                                                                                        \
    F(BIAS_DTYPE)                                                                                          \
    F(WIDTH)      /* taps that are unrolled; 0: read from the params struct */                             \
    F(ACTIVATION) /* cc1d_activation's number */                                                           \
    F(SEQ)        /* the value of the tensor in cc1d_buffers; 0 none */                                    \
    F(SEQ_DTYPE)                                                                                           \
    F(HAS_BIAS)                                                                                            \
    F(HAS_INITIAL) /* 1: initial_states; 2: has_initial_state, of the rows of a pool */                    \
    F(POOL)        /* there is a pool of states */                                                         \
    F(HAS_RESIDUAL)                                                                                        \
    F(HAS_PRE_GATE)                                                                                        \
    F(HAS_POST_GATE)                                                                                       \
    F(HAS_DPRE_GATE)                                                                                       \
    F(HAS_DPOST_GATE)                                                                                      \
    F(HAS_DOUT)                                                                                            \
    F(HAS_LAST_GRADIENT)                                                                                   \
    F(HAS_DX)                                                                                              \
    F(HAS_DWEIGHT) /* in a first pass: partial sums are written */                                         \
    F(HAS_DBIAS)                                                                                           \
    F(OFFSET64)      /* a tensor is too large for 32-bit offsets */                                        \
    F(SIMD_GROUPS)   /* of 32 threads, per group */                                                        \
    F(MIN_BLOCKS)    /* CUDA: groups that a multiprocessor must be able to hold: bounds the registers */   \
    F(VEC)           /* elements per pack */                                                               \
    F(UNROLL)        /* packs (time: blocks of packs, update: batch rows) in flight per thread */          \
    F(WEIGHT_WORDS)  /* a channel's taps as one aligned load of 1, 2 or 4 words; 0: one by one */          \
    F(ROW_LANES)     /* time path: lanes of a team; 0: the params say */                                   \
    F(SEGMENTED)     /* time path, backward: rows may have several segments */                             \
    F(PARTIAL_PACKS) /* time path: packs may be cut by a row's ends, or skewed */                          \
    F(X_SKEWED)      /* time path: packs of x lie differently from the target's */                         \
    F(SIDE_SKEWED)                                                                                         \
    F(GATES_SKEWED)  /* a gate, or its gradient */                                                         \
    F(GROUP_RUNS)    /* channel path: runs of time steps per group; 0: the params say */                   \
    F(CHANNEL_TAIL)  /* channel path: the last pack of a time step is partial */                           \
    F(TIME_FASTEST)  /* wide path: neighbouring threads take neighbouring steps, not channels */           \
    F(STATE_LEN)     /* update step: steps of a state row */                                               \
    F(STATE_ROWS)    /* update step: 1 the steps of a channel are contiguous, 2 and a pack's one access */ \
    F(CACHE_DTYPE)   /* update */                                                                          \
    F(INDICES_DTYPE) /* of a pool */                                                                       \
    F(ACCEPTED_DTYPE)                                                                                      \
    F(OUT_INDICES_DTYPE)                                                                                   \
    F(STATE_DTYPE) /* of a pool, or of what varlen_states writes */                                        \
    F(IN_PLACE)    /* update: out is x */                                                                  \
    F(INITIAL_DTYPE)                                                                                       \
    F(POSITIONS_DTYPE) /* states: absent, they are those of the sequences' ends */                         \
    F(PARENTS_DTYPE)                                                                                       \
    F(HAS_NODES) /* update: states of a tree's nodes */

#define CC1D_KEY_ENUM(field) CC1D_KEY_##field,
enum cc1d_key_field { CC1D_KEY_FIELDS(CC1D_KEY_ENUM) CC1D_KEY_SIZE };
#undef CC1D_KEY_ENUM

/* The entry points, by the suffix of CC1D_KERNEL_. */
#define CC1D_KERNELS(K)                                    \
    K(FORWARD_TIME, "cc1d_forward_time")                   \
    K(FORWARD_CHANNEL, "cc1d_forward_channel")             \
    K(FORWARD_WIDE, "cc1d_forward_wide")                   \
    K(BACKWARD_TIME, "cc1d_backward_time")                 \
    K(BACKWARD_CHANNEL, "cc1d_backward_channel")           \
    K(BACKWARD_WIDE_DPRE, "cc1d_backward_wide_dpre")       \
    K(BACKWARD_WIDE_DX, "cc1d_backward_wide_dx")           \
    K(BACKWARD_WIDE_DWEIGHT, "cc1d_backward_wide_dweight") \
    K(BACKWARD_REDUCE, "cc1d_backward_reduce")             \
    K(VARLEN_STATES, "cc1d_varlen_states")                 \
    K(POOL_STATES, "cc1d_pool_states")                     \
    K(BACKWARD_INITIAL, "cc1d_backward_initial")           \
    K(UPDATE, "cc1d_update")                               \
    K(UPDATE_STEP, "cc1d_update_step")

#define CC1D_KERNEL_ENUM(kernel, name) CC1D_KERNEL_##kernel,
typedef enum cc1d_kernel { CC1D_KERNELS(CC1D_KERNEL_ENUM) CC1D_KERNEL_COUNT } cc1d_kernel;
#undef CC1D_KERNEL_ENUM

/* By cc1d_kernel. */
extern const char *const cc1d_kernel_names[];

/* The cc1d_kernel of one of these names. */
int cc1d_kernel_index(const char *name);

/* A buffer's type and name in the kernels' text, and whether they write it (OUT). Roles that no kernel sees
 * together share a name. It is there where the key's field has the value (0: any but 0). */
typedef struct cc1d_buffer {
    const char *qualifier, *type, *name;
    int8_t field; /* -1: it is always there */
    uint8_t value;
} cc1d_buffer;

extern const cc1d_buffer cc1d_buffers[CC1D_SCRATCH + 1]; /* by cc1d_role */

/* The tensor that says which sequence a step is of, or one that is absent. */
cc1d_role cc1d_sequences_role(const cc1d_problem *p);

/* The roles that the kernel with this key takes as buffers, in order; returns their number. */
int cc1d_key_buffers(const char *kernel, const uint8_t *key, uint8_t roles[CC1D_PLAN_BUFFERS]);

#endif
