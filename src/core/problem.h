/* problem.h - one validated call: what every plan and backend reads, whichever operation it is.
 *
 * validate.c makes it; nothing below re-checks a shape. All tensors are views of three dimensions with their
 * canonical meaning, e.g. x is always (batch, dim, time), also where the user passed (B, D) or (total, D). */
#ifndef CC1D_PROBLEM_H
#define CC1D_PROBLEM_H

#include <stdbool.h>

#include "causal_conv1d.h"
#include "dtype.h"

typedef enum cc1d_operation {
    CC1D_OP_FORWARD,
    CC1D_OP_BACKWARD,
    CC1D_OP_UPDATE,
    CC1D_OP_VARLEN_STATES
} cc1d_operation;
enum { CC1D_OPERATIONS = CC1D_OP_VARLEN_STATES + 1 };

/* Every tensor that an operation may have. The comment is the canonical view's dimensions. */
typedef enum cc1d_role {
    CC1D_X,           /* batch, dim, time */
    CC1D_WEIGHT,      /* dim, tap, 1 */
    CC1D_BIAS,        /* dim, 1, 1 */
    CC1D_SEQ_IDX,     /* batch, time, 1 */
    CC1D_CU,          /* sequence boundary, 1, 1 */
    CC1D_INITIAL,     /* sequence, dim, step (W-1 of them; varlen_states: at least S) */
    CC1D_RESIDUAL,    /* batch, dim, time */
    CC1D_OUT,         /* batch, dim, time */
    CC1D_FINAL,       /* sequence, dim, step; of varlen_states: its states, or rows of a pool */
    CC1D_DOUT,        /* batch, dim, time */
    CC1D_DFINAL,      /* sequence, dim, step */
    CC1D_DX,          /* batch, dim, time */
    CC1D_DWEIGHT,     /* dim, tap, 1 */
    CC1D_DBIAS,       /* dim, 1, 1 */
    CC1D_DINITIAL,    /* sequence, dim, step */
    CC1D_STATE,       /* pool row, dim, step (S of them): of update, and of forward from and into a pool */
    CC1D_CACHE,       /* batch, 1, 1 */
    CC1D_INDICES,     /* batch, of forward sequence; 1, 1 */
    CC1D_ACCEPTED,    /* batch, 1, 1 */
    CC1D_LENGTHS,     /* batch, 1, 1 */
    CC1D_OUT_INDICES, /* like CC1D_INDICES; of varlen_states: state, 1, 1 */
    CC1D_HAS_INITIAL, /* sequence, 1, 1; bool */
    CC1D_POSITIONS,   /* state of varlen_states, 1, 1 */
    CC1D_PARENTS,     /* batch, node, 1 */
    CC1D_NODE_STATES, /* batch and node, dim, step (W-1 of them) */
    CC1D_PRE_GATE,    /* batch, dim, time, as the next three */
    CC1D_POST_GATE,
    CC1D_DPRE_GATE,
    CC1D_DPOST_GATE,
    CC1D_ROLES
} cc1d_role;

typedef struct cc1d_view {
    char *data;         /* first element, byte offset included (on Metal: not usable on the host) */
    const void *buffer; /* Metal: the buffer that data is an offset into; NULL elsewhere */
    int32_t dtype;
    bool present; /* data may be NULL for an empty tensor, so absence needs its own flag */
    int64_t shape[3];
    int64_t stride[3]; /* in elements */
} cc1d_view;

typedef struct cc1d_problem {
    cc1d_operation op;
    cc1d_activation activation;
    cc1d_device device;
    int32_t device_index;
    int64_t batch, dim;
    int64_t seqlen;    /* T; of an update with cu_seqlens (batch = N), the most tokens that a row may have */
    int64_t width;     /* W; 1 for varlen_states */
    int64_t sequences; /* N with cu_seqlens, else batch: rows of the states, and of what names pool rows */
    int64_t entries;   /* sequences; M, states that are wanted, for varlen_states */
    int64_t pool_rows; /* of CC1D_STATE, or of what varlen_states writes */
    int64_t state_len; /* W-1; S for varlen_states and where there is a CC1D_STATE */
    int64_t initial_len; /* of varlen_states: steps of a row of the initial states */
    int64_t pad_slot_id;
    bool in_place; /* update: out is x, each step's y takes its place */
    cc1d_view view[CC1D_ROLES];
} cc1d_problem;

static inline bool cc1d_has(const cc1d_problem *p, cc1d_role role) { return p->view[role].present; }

#endif
