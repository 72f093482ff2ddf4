/* _launch.h - Metal launches as Python values, for PyTorch's own stream to run. */
#ifndef CC1D_LAUNCH_H
#define CC1D_LAUNCH_H

#include "_borrow.h"

PyObject *cc1d_py_launches(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
PyObject *cc1d_py_launch_defines(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
PyObject *cc1d_py_metal_text(PyObject *module, PyObject *const *arguments, Py_ssize_t count);

#endif
