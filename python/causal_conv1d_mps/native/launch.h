/* launch.h - Metal calls: the launches of a plan, handed to PyTorch, on its own stream, without
 * synchronisation. */
#ifndef CC1D_LAUNCH_H
#define CC1D_LAUNCH_H

#include "call.h"

/* Runs the launches of a call's plan (NULL: it has none). Returns 0, or -1 with an exception. */
int cc1d_launch_all(const cc1d_call *call, const cc1d_plan *plan);

PyObject *cc1d_py_launch_defines(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
PyObject *cc1d_py_metal_text(PyObject *module, PyObject *const *arguments, Py_ssize_t count);

#endif
