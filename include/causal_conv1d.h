/* causal_conv1d.h - causal depthwise 1-D convolution: the whole public C API.
 *
 * SPDX-License-Identifier: MIT
 *
 * The operation, for x[b, d, t], weight[d, k], k = 0..W-1 (k = W-1 multiplies the current step):
 *
 *     acc = bias[d] or 0
 *     for k in 0..W-1:  acc = fma(weight[d, k], tap(t - (W-1) + k), acc)
 *     y   = acc                      CC1D_ACTIVATION_NONE
 *     y   = acc / (1 + exp(-acc))    CC1D_ACTIVATION_SILU
 *     y   = y + residual[b, d, t]    where a residual is given
 *
 * in float32 (float64 for float64 tensors), rounded once to x's dtype, whatever the floating-point mode of
 * the calling thread. tap(s) is x[b, d, s] for s >= 0, the initial state for s < 0, and 0 where there is none
 * or where step s belongs to another sequence. docs/numerics.md has the rest.
 *
 * Conventions, for every function below:
 *   - B batch, D dim (channels), T seqlen, W width, N sequences, S state_len. Any of B, D, T, N may be 0; W
 * >= 1.
 *   - Shapes and strides are in elements, 64-bit; strides are never negative. Any strides are allowed for
 * inputs. Outputs must not overlap themselves or an input.
 *   - A tensor has at most 2^62 bytes, counting sizes of 0 as 1, and lies inside as many; W <= 2^30, and
 * B * D * T * (W + 1) <= 2^58. What exceeds this is refused, so that nothing overflows.
 *   - Optional arguments are NULL where absent. A combination that is not supported is refused, never
 * ignored.
 *   - Nothing is written unless CC1D_OK is returned. (After CC1D_ERROR_DEVICE outputs are unspecified.)
 *   - The caller owns every pointer that it passes; nothing is kept after the call returns (after the stream
 * has passed it, for CUDA).
 *   - Every function may be called from any thread at any time, and in the child after fork() (CPU backend).
 */
#ifndef CAUSAL_CONV1D_H
#define CAUSAL_CONV1D_H

#include <stddef.h>
#include <stdint.h>

/* Define CC1D_API as empty to build the sources into something that must not export them. */
#ifndef CC1D_API
#if defined(_WIN32) || defined(__CYGWIN__)
#define CC1D_API __declspec(dllexport)
#elif defined(__GNUC__)
#define CC1D_API __attribute__((visibility("default")))
#else
#define CC1D_API
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define CC1D_VERSION_MAJOR 0
#define CC1D_VERSION_MINOR 2
#define CC1D_VERSION_PATCH 0
#define CC1D_VERSION_STRING "0.2.0"

/* The version of the library that is running, e.g. "0.2.0". Static storage. */
CC1D_API const char *cc1d_version(void);

/* ---- Statuses
 * ------------------------------------------------------------------------------------------------- */

typedef enum cc1d_status {
    CC1D_OK = 0,
    CC1D_ERROR_TYPE = 1,        /* a wrong dtype */
    CC1D_ERROR_VALUE = 2,       /* a wrong shape, range, device, overlap, or a missing argument */
    CC1D_ERROR_UNSUPPORTED = 3, /* valid, but not offered by this backend or build */
    CC1D_ERROR_MEMORY = 4,      /* an allocation failed */
    CC1D_ERROR_DEVICE = 5       /* a driver or device reported an error */
} cc1d_status;

/* A short name of a status, e.g. "CC1D_ERROR_VALUE". Static storage; never NULL. */
CC1D_API const char *cc1d_status_name(cc1d_status status);

/* One line on the calling thread's last failed call: the argument, what was expected, what came.
 * "" if none failed yet. Valid until the thread's next call into the library. */
CC1D_API const char *cc1d_last_error(void);

/* ---- Tensors
 * -------------------------------------------------------------------------------------------------- */

typedef enum cc1d_dtype {
    CC1D_FLOAT32 = 0,
    CC1D_FLOAT16 = 1,
    CC1D_BFLOAT16 = 2,
    CC1D_FLOAT64 = 3, /* CPU and CUDA */
    CC1D_INT32 = 4,   /* index tensors */
    CC1D_INT64 = 5,   /* index tensors */
    CC1D_BOOL = 6,    /* flags, one byte each */
    /* Never accepted; named so that an error can say what came. */
    CC1D_UINT8 = 7,
    CC1D_INT8 = 8,
    CC1D_INT16 = 9,
    CC1D_COMPLEX64 = 10,
    CC1D_COMPLEX128 = 11
} cc1d_dtype;

typedef enum cc1d_device { CC1D_CPU = 0, CC1D_CUDA = 1, CC1D_METAL = 2 } cc1d_device;

#define CC1D_MAX_DIMS 3

/* A borrowed tensor. Element (i, j, k) lies at data + byte_offset + itemsize * (i*strides[0] + j*strides[1] +
 * k*strides[2]). On CC1D_METAL, data is the MTLBuffer. ndim may name more dimensions than are stored; such a
 * tensor is refused. */
typedef struct cc1d_tensor {
    void *data;
    uint64_t byte_offset;
    int32_t dtype;        /* cc1d_dtype; any other value is refused with CC1D_ERROR_TYPE */
    int32_t device;       /* cc1d_device */
    int32_t device_index; /* 0 on CPU */
    int32_t ndim;
    int64_t shape[CC1D_MAX_DIMS];
    int64_t strides[CC1D_MAX_DIMS];
} cc1d_tensor;

typedef enum cc1d_activation { CC1D_ACTIVATION_NONE = 0, CC1D_ACTIVATION_SILU = 1 } cc1d_activation;

/* ---- Execution
 * ------------------------------------------------------------------------------------------------ */

/* Runs task(context, i) once for every i in [0, count), in any order and on any threads, and returns when all
 * are done. */
typedef void (*cc1d_parallel_for)(void *user, int64_t count, void (*task)(void *context, int64_t index),
                                  void *context);

/* How to run a call. NULL where a function takes one means: all zero. Results never depend on it. */
typedef struct cc1d_exec {
    size_t size; /* sizeof(cc1d_exec); an older version's is accepted as for the structs below */
    int32_t
        num_threads; /* CPU: at most this many threads, the caller's included; <= 0: one per online core */
    cc1d_parallel_for
        parallel_for; /* CPU: use the caller's threads instead of the library's own pool; may be NULL */
    void *parallel_for_user; /* first argument of parallel_for */
    void *stream;            /* CUDA: the CUstream to launch on; NULL is the default stream */
} cc1d_exec;

/* ---- Forward
 * -------------------------------------------------------------------------------------------------- */

/* Set size to sizeof(the struct) and zero the rest. Fields are only ever appended: the sizes of this version
 * and of older ones are accepted, what an older one lacks is zero, and every other size is refused. F is the
 * dtype of x: float32, float16, bfloat16 or float64. G is any of these (float64 only with float64 x), for
 * weight and bias each. I is int32 or int64. All tensors live on x's device. */
typedef struct cc1d_forward_args {
    size_t size;
    const cc1d_tensor *x;       /* (B, D, T) F */
    const cc1d_tensor *weight;  /* (D, W) G */
    const cc1d_tensor *bias;    /* (D) G, or NULL */
    const cc1d_tensor *seq_idx; /* (B, T) I, or NULL: a tap counts only if its seq_idx equals the current one;
                                   negative is padding: y = 0 there */
    const cc1d_tensor *cu_seqlens; /* (N+1) I, or NULL: packed sequences, B = 1; 0 = first <= ... <= last <=
                                      T: y = 0 from the last on. Not with seq_idx */
    const cc1d_tensor *initial_states; /* (B or N, D, W-1) F, or NULL; with seq_idx it belongs to the sequence
                                          seq_idx[b, 0] */
    const cc1d_tensor *residual;       /* (B, D, T) F, or NULL: added after the activation */
    const cc1d_tensor *out;            /* (B, D, T) F, written */
    const cc1d_tensor
        *final_states;  /* (B or N, D, W-1) F, written, or NULL: the last W-1 steps of each sequence, zeros
                           before its start; with seq_idx those up to the last step that is no padding, as far
                           as they are of its sequence; a row of padding keeps its initial state */
    int32_t activation; /* cc1d_activation */
    const cc1d_tensor *lengths; /* (B) I in 0..T, or NULL: steps lengths[b] and later of row b are padding, as
                                   a negative seq_idx is. Not with seq_idx or cu_seqlens. Since 0.2 */
    /* Since 0.2: states from and into a pool. N is B without cu_seqlens. */
    const cc1d_tensor *conv_states; /* (pool, D, S >= W-1), or NULL, changed in place: the row of a sequence
                                       becomes the last S steps of what it held, or zeros, and x. float64 with
                                       float64 x; else float32, float16 or bfloat16: steps are rounded when
                                       stored. Not with seq_idx, initial_states or final_states */
    const cc1d_tensor *conv_state_indices; /* (N) I, or NULL: row of conv_states of each sequence; NULL: n.
                                              pad_slot_id or any negative value: y = 0, no state touched */
    const cc1d_tensor *conv_state_out_indices; /* (N) I, or NULL: the row that is written, where that is
                                                  another than the one that is read, as in cc1d_update */
    const cc1d_tensor *has_initial_state; /* (N) bool, or NULL: a sequence starts from the last W-1 columns of
                                             its row where true; from zeros where false or NULL */
    int64_t pad_slot_id;
    /* y = post_gate * act(conv(pre_gate * x)) + residual. Taps, and so states, are pre_gate * x rounded to F;
     * y is rounded once. */
    const cc1d_tensor *pre_gate;  /* (B, D, T) F, or NULL */
    const cc1d_tensor *post_gate; /* (B, D, T) F, or NULL */
} cc1d_forward_args;

/* y (and the final states) of the convolution. Errors: TYPE, VALUE, UNSUPPORTED, MEMORY, DEVICE. */
CC1D_API cc1d_status cc1d_forward(const cc1d_forward_args *args, const cc1d_exec *exec);

/* ---- Backward
 * ------------------------------------------------------------------------------------------------- */

/* Like cc1d_forward_args. A gradient that is NULL is not computed. Sums run in a fixed order: the same bits
 * every time. The gradient of residual is dout itself (0 at padding), so it has no field. */
typedef struct cc1d_backward_args {
    size_t size;
    const cc1d_tensor *dout;   /* (B, D, T) F */
    const cc1d_tensor *x;      /* as given to forward, */
    const cc1d_tensor *weight; /*   likewise the next five */
    const cc1d_tensor *bias;
    const cc1d_tensor *seq_idx;
    const cc1d_tensor *cu_seqlens;
    const cc1d_tensor *initial_states;
    const cc1d_tensor *dfinal_states;   /* (B or N, D, W-1) F, or NULL for zeros */
    const cc1d_tensor *dx;              /* (B, D, T) F, written, or NULL */
    const cc1d_tensor *dweight;         /* (D, W) weight's dtype, written, or NULL */
    const cc1d_tensor *dbias;           /* (D) bias's dtype (weight's where bias is NULL), written, or NULL */
    const cc1d_tensor *dinitial_states; /* (B or N, D, W-1) F, written, or NULL */
    int32_t activation;
    void *scratch; /* scratch_size bytes on x's device, 16-byte aligned, contents irrelevant; may be NULL
                      if cc1d_backward_scratch says 0 */
    size_t scratch_size;
    const cc1d_tensor *lengths; /* as given to forward. Since 0.2, as the rest */
    const cc1d_tensor *pre_gate;
    const cc1d_tensor *post_gate;
    const cc1d_tensor *dpre_gate;  /* (B, D, T) F, written, or NULL. Only with pre_gate */
    const cc1d_tensor *dpost_gate; /* (B, D, T) F, written, or NULL. Only with post_gate */
} cc1d_backward_args;

/* Sets *bytes to the scratch that cc1d_backward needs for these arguments (scratch, scratch_size are not
 * looked at). Depends on shapes, strides, dtypes and device kind only. */
CC1D_API cc1d_status cc1d_backward_scratch(const cc1d_backward_args *args, size_t *bytes);

/* Gradients of the convolution. VALUE also where scratch_size is too small. */
CC1D_API cc1d_status cc1d_backward(const cc1d_backward_args *args, const cc1d_exec *exec);

/* ---- Update: decode one or a few steps, the state changed in place
 * ---------------------------------------------- */

typedef struct cc1d_update_args {
    size_t size;
    const cc1d_tensor *x;          /* (B, D) or (B, D, T) F; with cu_seqlens (total, D), and B is N below */
    const cc1d_tensor *conv_state; /* (B or pool, D, S >= W-1), changed in place. float64 with float64 x; else
                                      float32, float16 or bfloat16: steps are rounded when stored */
    const cc1d_tensor *weight;     /* (D, W) G */
    const cc1d_tensor *bias;       /* (D) G, or NULL */
    const cc1d_tensor *cache_seqlens; /* (B) I >= 0, or NULL. NULL: the state shifts left. Given: the state is
                                         a circular buffer, written from cache_seqlens % S */
    const cc1d_tensor
        *conv_state_indices; /* (B) I, or NULL: row of conv_state for each row of x. pad_slot_id or any
                                negative value: y = 0, no state touched. Duplicates are refused on CPU */
    const cc1d_tensor
        *num_accepted_tokens; /* (B) I a, or NULL: the row is a window, whatever T earlier calls had. Columns
                                 a-1..a+W-3 are the W-1 steps before the new ones; afterwards columns
                                 0..W-3+T hold the last W-2 of them and the new ones, later columns stay.
                                 1 <= a <= S-W+2, S >= W-2+T. Not with cache_seqlens */
    const cc1d_tensor *out;   /* like x, written; x itself will do */
    int64_t pad_slot_id;
    int32_t activation;
    int32_t reserved; /* 0; where 0.1's struct ends in padding, whatever a pointer's size */
    const cc1d_tensor
        *conv_state_out_indices; /* (B) I, or NULL: row of conv_state that is written for each row of x, where
                                    that is another than the one that is read; a row with pad_slot_id or a
                                    negative value in either is padding. On CPU refused: a row that is written
                                    twice, or written for one row of x and read for another. No steps: nothing
                                    is written */
    const cc1d_tensor *cu_seqlens; /* (N+1) I, or NULL: row n has the tokens cu_seqlens[n]..cu_seqlens[n+1]-1
                                      of x, at most max_seqlen of them. One without tokens leaves its state as
                                      it is. y = 0 before cu_seqlens[0] and from cu_seqlens[N] on.
                                      num_accepted_tokens: S >= W-2+max_seqlen. Since 0.2, as the rest */
    const cc1d_tensor *parents;  /* (B, T) I, or NULL: the new steps are the nodes of a tree. A node's earlier
                                    taps are its ancestors, then the state: -1 <= parents[b, t] < t, and -1 is
                                    the state's last step. The state stays as it is. Not with cache_seqlens,
                                    cu_seqlens, conv_state_out_indices or x as out */
    const cc1d_tensor *residual; /* like x, or NULL: added after the activation */
    const cc1d_tensor
        *intermediate_states;     /* (B*T, D, W-1) of conv_state's dtype, written, or NULL: row b*T + t is the
                                     state after node t, zeros where a row is padding. Only with parents */
    int64_t max_seqlen;           /* >= 0; 0 without cu_seqlens */
    const cc1d_tensor *pre_gate;  /* like x, or NULL; gates as in cc1d_forward_args */
    const cc1d_tensor *post_gate; /* like x, or NULL */
} cc1d_update_args;

/* y for the new steps, and the state moved on. Bad indices are refused on CPU before anything is written; on
 * GPUs a row with an index out of range, or of more than max_seqlen tokens, is treated as padding, and y is 0
 * for nodes whose taps pass a bad parent. On CPU indices are read once: they may be changed while the call
 * runs. */
CC1D_API cc1d_status cc1d_update(const cc1d_update_args *args, const cc1d_exec *exec);

/* ---- Varlen states
 * --------------------------------------------------------------------------------------------- */

typedef struct cc1d_varlen_states_args {
    size_t size;
    const cc1d_tensor *x;          /* (total, D) F */
    const cc1d_tensor *cu_seqlens; /* (N+1) I: 0 <= first <= ... <= last <= total */
    const cc1d_tensor
        *states; /* (N, D, S), written: the last S steps of every sequence, zeros on the left. With positions
                    (M, D, S), with out_indices (pool, D, S). float64 with float64 x; else float32, float16 or
                    bfloat16: steps are rounded when stored */
    const cc1d_tensor *initial_states; /* (N, D, >= S), or NULL: what came before each sequence, oldest first;
                                          instead of the zeros. Dtypes as of states. Since 0.2 */
    const cc1d_tensor *positions;      /* (M) I, or NULL: how many steps of x lie before each state, first <=
                                          positions <= last of cu_seqlens. A state is of the sequence that its last
                                          step belongs to: at a boundary, of the one that ends there. positions =
                                          first: the initial state of the first sequence. Since 0.2 */
    const cc1d_tensor *out_indices; /* (M, or N without positions) I, or NULL: row of states for each state,
                                       each once; a state with a negative one is skipped. Since 0.2 */
} cc1d_varlen_states_args;

/* States of packed sequences: at their ends, or after any of their steps. Bad positions and indices are
 * refused on CPU before anything is written, and read once; on GPUs a state with one is skipped
 * where there are out_indices, and zeros else. */
CC1D_API cc1d_status cc1d_varlen_states(const cc1d_varlen_states_args *args, const cc1d_exec *exec);

/* ---- What is here
 * ---------------------------------------------------------------------------------------------- */

/* Writes one line on the device kind to detail (at most size bytes, always terminated where size > 0; NULL is
 * allowed with size 0): how it works, or why it does not. Returns 1 if calls on such tensors can work in this
 * process, else 0. */
CC1D_API int cc1d_device_available(cc1d_device device, char *detail, size_t size);

/* The index-th CPU implementation that this machine can run, best first ("avx512", "avx2", "neon", "scalar");
 * NULL past the end. */
CC1D_API const char *cc1d_cpu_implementation(int index);

/* Makes every later CPU call of the process use this implementation; NULL: the best again. The environment
 * variable CAUSAL_CONV1D_CPU does the same before the first call. VALUE if the name is unknown or cannot run
 * here. */
CC1D_API cc1d_status cc1d_set_cpu_implementation(const char *name);

/* The kernel that the calling thread's last successful call ran, e.g. "cpu/scalar/forward"; "" before the
 * first, and "none" where nothing had to run (an empty tensor). Valid until the thread's next call. */
CC1D_API const char *cc1d_last_kernel(void);

#ifdef __cplusplus
}
#endif

#endif /* CAUSAL_CONV1D_H */
