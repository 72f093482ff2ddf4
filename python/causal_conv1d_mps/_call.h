/* _call.h - one call from Python: its arguments unpacked by role, and the C structs made of them.
 *
 * Python code can free any tensor's memory: a garbage collection at an allocation is enough. So a call first
 * does everything that may run Python code, results and scratch included, then borrows all memory at once,
 * and runs none until the kernel has returned. */
#ifndef CC1D_CALL_H
#define CC1D_CALL_H

#include "_borrow.h"
#include "plan.h" /* CC1D_SCRATCH, the role after the last tensor */
#include "problem.h"

typedef enum cc1d_number { CC1D_ACTIVATION, CC1D_NUM_THREADS, CC1D_PAD_SLOT_ID, CC1D_NUMBERS } cc1d_number;

typedef struct cc1d_call {
    cc1d_operation op;
    PyObject *object[CC1D_SCRATCH + 1];         /* not owned but for scratch; NULL where None was passed */
    const cc1d_tensor *given[CC1D_SCRATCH + 1]; /* of every object, once borrowed */
    PyObject *keep[CC1D_SCRATCH + 1];           /* what keeps the memory borrowed, owned */
    int64_t number[CC1D_NUMBERS];
    PyObject *alloc; /* not owned; backward only */
    void *scratch;
    size_t scratch_size;                  /* what there is, not what was asked for */
    cc1d_tensor tensor[CC1D_SCRATCH + 1]; /* last, and not cleared: read only where given */
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
void cc1d_clear(cc1d_call *call, cc1d_operation op);

/* Reads the arguments, without borrowing. Returns 0, or -1 with an exception. Either way the caller ends with
 * cc1d_release. */
int cc1d_unpack(const cc1d_signature *signature, PyObject *const *arguments, Py_ssize_t count,
                cc1d_call *call);
void cc1d_release(cc1d_call *call);

/* Borrows the memory of every object, anew if it was borrowed before. Returns 0, or -1 with an exception. */
int cc1d_borrow_all(cc1d_call *call);

/* The same for a Metal launch, from attributes: where memory lies, for PyTorch to bind it. Only what was not
 * described before, and scratch is not taken. */
int cc1d_describe_all(cc1d_call *call);

/* Takes scratch, if there is any, for as much memory as it is. Returns 0, or -1 with an exception. */
int cc1d_take_scratch(cc1d_call *call);

/* Calls alloc for at least so many bytes of scratch. Python code runs: what was borrowed is to be borrowed
 * anew, and scratch is. Returns 0, or -1 with an exception. */
int cc1d_allocate_scratch(cc1d_call *call, size_t bytes);

cc1d_forward_args cc1d_forward_args_of(const cc1d_call *call);
cc1d_backward_args cc1d_backward_args_of(const cc1d_call *call);
cc1d_update_args cc1d_update_args_of(const cc1d_call *call);
cc1d_varlen_states_args cc1d_varlen_states_args_of(const cc1d_call *call);

/* Raises the exception of a status with the library's error line; returns NULL. */
PyObject *cc1d_raise(cc1d_status status);

#endif
