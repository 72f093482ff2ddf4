/* route.h - the way of every eager call, on every device: asks once whether anything watches, makes the
 * results, borrows each tensor once, runs, tells autograd.
 *
 * A call's tensors come as one tuple in the order of its table (core/arguments.h); it may end early. All but
 * run return NotImplemented, with nothing written, where something watches the call: the operators serve it
 * then.
 */
#ifndef CC1D_ROUTE_H
#define CC1D_ROUTE_H

#include "borrow.h"

/* (tensors, activation, return_final_states[, pad_slot_id]) -> y or (y, final_states), differentiable unless
 * a pool of states is changed. */
PyObject *cc1d_py_forward(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
/* (tensors, activation, pad_slot_id, max_seqlen) -> y */
PyObject *cc1d_py_update(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
/* (tensors, state_len) -> states */
PyObject *cc1d_py_varlen_states(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
/* (tensors, activation code) -> its results; a result that is True is made. */
PyObject *cc1d_py_backward(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
/* (saved, dout, dfinal_states, needs, activation code) -> the gradients of record's arguments, of which needs
 * says which are wanted. */
PyObject *cc1d_py_gradients(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
/* (operation, tensors, activation code, pad_slot_id, num_threads, max_seqlen) -> its results; asks nothing. A
 * result that is True is made. What is left out is 0, -1 and PyTorch's number. */
PyObject *cc1d_py_run(PyObject *module, PyObject *const *arguments, Py_ssize_t count);

#endif
