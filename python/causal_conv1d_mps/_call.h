/* _call.h - one call from Python: its arguments unpacked by role, and the C structs made of them. */
#ifndef CC1D_CALL_H
#define CC1D_CALL_H

#include "_borrow.h"
#include "problem.h"

typedef enum cc1d_number { CC1D_ACTIVATION, CC1D_NUM_THREADS, CC1D_PAD_SLOT_ID, CC1D_NUMBERS } cc1d_number;

typedef struct cc1d_call {
    const cc1d_tensor *given[CC1D_ROLES]; /* NULL where None was passed */
    PyObject *object[CC1D_ROLES];         /* borrowed; NULL where None was passed */
    PyObject *keep[CC1D_ROLES];           /* what keeps the memory borrowed, owned */
    int64_t number[CC1D_NUMBERS];
    PyObject *alloc; /* borrowed; backward only */
    cc1d_tensor scratch;
    size_t scratch_size;
    PyObject *scratch_object, *scratch_keep; /* owned */
    cc1d_tensor tensor[CC1D_ROLES];          /* last, and not cleared: read only where given */
} cc1d_call;

/* The order of a function's positional arguments: a role, a number (as NUMBER(n)) or the allocator. */
typedef struct cc1d_signature {
    cc1d_operation op;
    int count;
    uint8_t argument[16];
} cc1d_signature;

extern const cc1d_signature cc1d_forward_signature, cc1d_backward_signature, cc1d_update_signature,
    cc1d_varlen_states_signature;

/* Makes *call a call without arguments. */
void cc1d_clear(cc1d_call *call);

/* Borrows object in a role. Returns 0, or -1 with an exception. */
int cc1d_give(cc1d_call *call, cc1d_operation op, cc1d_role role, PyObject *object);

/* Fills *call; on_metal: from attributes, for a Metal launch. Returns 0, or -1 with an exception. Either way
 * the caller ends with cc1d_release. */
int cc1d_unpack(const cc1d_signature *signature, PyObject *const *arguments, Py_ssize_t count, bool on_metal,
                cc1d_call *call);
void cc1d_release(cc1d_call *call);

/* Calls alloc for scratch_size bytes, if any are needed. Returns 0, or -1 with an exception. */
int cc1d_allocate_scratch(cc1d_call *call);

cc1d_forward_args cc1d_forward_args_of(const cc1d_call *call);
cc1d_backward_args cc1d_backward_args_of(const cc1d_call *call);
cc1d_update_args cc1d_update_args_of(const cc1d_call *call);
cc1d_varlen_states_args cc1d_varlen_states_args_of(const cc1d_call *call);

/* Raises the exception of a status with the library's error line; returns NULL. */
PyObject *cc1d_raise(cc1d_status status);

#endif
