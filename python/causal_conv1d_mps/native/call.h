/* call.h - one call from Python: its tensors unpacked by role, borrowed, run.
 *
 * Python code can free any tensor's memory: a garbage collection at an allocation is enough. So a call first
 * does everything that may run Python code, results included, then borrows all memory at once, and runs none
 * until the kernel has returned. */
#ifndef CC1D_CALL_H
#define CC1D_CALL_H

#include "core/run.h"
#include "tables.h"

enum { CC1D_TORCH_THREADS = INT32_MIN };

typedef struct cc1d_call {
    const cc1d_table *table;
    PyObject *tensors;                  /* the tuple that the objects are of, owned */
    PyObject *object[CC1D_SCRATCH + 1]; /* NULL where None was passed; CC1D_SCRATCH comes after the roles */
    bool wanted[CC1D_SCRATCH + 1];      /* results that this call has to make */
    bool made[CC1D_SCRATCH + 1];        /* those that it has made, and owns */
    PyObject *keep[CC1D_SCRATCH + 1];   /* what keeps the memory borrowed, owned */
    cc1d_arguments arguments;           /* its tensors are those of the objects, once borrowed */
    int32_t num_threads;                /* CC1D_TORCH_THREADS: PyTorch's number */
    void *scratch;
    char *allocated;                      /* scratch of a CPU call, to be freed */
    cc1d_tensor tensor[CC1D_SCRATCH + 1]; /* last, and not cleared: read only where borrowed */
} cc1d_call;

/* Makes *call a call without arguments. Every call ends with cc1d_release. */
void cc1d_clear(cc1d_call *call, cc1d_operation op);
void cc1d_release(cc1d_call *call);

/* Gives the call the tensors of a tuple in the table's order, instead of those that it had; the tuple may end
 * early, and True in it is a result that is wanted. Returns 0, or -1 with an exception. */
int cc1d_take(cc1d_call *call, PyObject *tensors);

/* Makes the results that are wanted. state_len: of varlen_states. Returns 0, or -1 with an exception. */
int cc1d_make_results(cc1d_call *call, PyObject *state_len);

/* Makes it a call of another operation, with the tensors that it has. */
void cc1d_turn_into(cc1d_call *call, cc1d_operation op);

/* Borrows the memory of every object. Returns 0, or -1 with an exception. */
int cc1d_borrow_all(cc1d_call *call);

/* Runs a call whose memory is borrowed, on PyTorch's current stream where there is one. Returns 0, or -1 with
 * an exception and nothing written. */
int cc1d_run_borrowed(cc1d_call *call);

/* A status as an exception with the library's error line; returns NULL. */
PyObject *cc1d_raise(cc1d_status status);

#endif
