/* arguments.h - the arguments of every operation: one table, in the one order that they have everywhere.
 *
 * Validation, overlap, names in errors and the Python binding (operators' schemas, autograd, vmap, a call's
 * tuple of tensors) derive from it. */
#ifndef CC1D_ARGUMENTS_H
#define CC1D_ARGUMENTS_H

#include "problem.h"

enum { CC1D_TABLE_ARGUMENTS = 17 };

/* Which dtypes an argument may have. */
typedef enum cc1d_kind {
    CC1D_KIND_X = 'x',         /* x's; of x itself any float */
    CC1D_KIND_STATE = 's',     /* any float, float64 beside float64 x alone; what autocast casts x to */
    CC1D_KIND_PARAMETER = 'p', /* any float, float64 only beside float64 x; of a result that of its `like` */
    CC1D_KIND_INDEX = 'i',     /* int32 or int64 */
    CC1D_KIND_BOOL = 'b'
} cc1d_kind;

/* What the values of an index tensor mean, where they steer memory accesses (values.h). */
typedef enum cc1d_meaning {
    CC1D_COMPARED,   /* with each other: nothing to steer */
    CC1D_FLAGS,      /* true or false, of bools */
    CC1D_BOUNDARIES, /* of sequences */
    CC1D_POOL_ROWS,
    CC1D_COUNTS,        /* >= 0 */
    CC1D_STEP_COUNTS,   /* 0 to T */
    CC1D_WINDOW_STARTS, /* 1 to S-W+2: W-1 steps of a state from there on */
    CC1D_TREE,          /* -1, or a step before one's own */
    CC1D_STEPS_DONE     /* from the first boundary to the last */
} cc1d_meaning;

typedef struct cc1d_argument {
    const char *name;    /* that callers know it by */
    const char *shape;   /* a letter per dimension, see validate.c; a small one sets the size */
    uint8_t role;        /* cc1d_role */
    char kind;           /* cc1d_kind */
    uint8_t meaning;     /* cc1d_meaning, of an index tensor */
    bool optional;       /* may be absent */
    bool differentiable; /* has a gradient */
    bool written;
    uint32_t excludes; /* bits of the roles that may not be given beside it */
    uint32_t needs;    /* bits of the roles that have to be */
    int8_t like;       /* a result: place of the input that it is like; -1: its shape is of its own */
} cc1d_argument;

typedef struct cc1d_table {
    const char *name;
    int inputs, count; /* inputs come first, then results */
    cc1d_argument argument[CC1D_TABLE_ARGUMENTS];
} cc1d_table;

extern const cc1d_table cc1d_tables[CC1D_OPERATIONS]; /* by cc1d_operation */

/* The name of a role in an operation that has it, e.g. "initial_states". */
const char *cc1d_role_name(cc1d_operation op, cc1d_role role);

/* One call: an operation's tensors by role (NULL: absent), and its numbers. */
typedef struct cc1d_arguments {
    cc1d_operation op;
    int32_t activation;
    int64_t pad_slot_id;
    int64_t max_seqlen; /* of an update with cu_seqlens */
    const cc1d_tensor *tensor[CC1D_ROLES];
} cc1d_arguments;

#endif
