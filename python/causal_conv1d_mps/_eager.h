/* _eager.h - a plain eager call on CPU tensors in one C call: checks, results and kernel. */
#ifndef CC1D_EAGER_H
#define CC1D_EAGER_H

#include "_borrow.h"

/* Takes a dict with what is needed of PyTorch; the names are in _eager.c. */
PyObject *cc1d_py_bind_torch(PyObject *module, PyObject *names);

/* is_direct(x, weight, *others): see _direct.py. */
PyObject *cc1d_py_is_direct(PyObject *module, PyObject *const *arguments, Py_ssize_t count);

/* These return the results, or None, with nothing written, where the call is not plain or is wrong: the
 * caller then goes the general way, which finds out why. An interrupt, and a failure to tell autograd what an
 * update has written, are raised. */
PyObject *cc1d_py_eager_forward(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
PyObject *cc1d_py_eager_update(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
PyObject *cc1d_py_eager_backward(PyObject *module, PyObject *const *arguments, Py_ssize_t count);

#endif
