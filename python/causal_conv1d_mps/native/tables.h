/* tables.h - the operations' arguments (core/arguments.h), as Python knows them. */
#ifndef CC1D_TABLES_H
#define CC1D_TABLES_H

#include "borrow.h"
#include "core/arguments.h"

/* The operation of that name, or -1 with an exception. */
int cc1d_find_operation(PyObject *name);

PyObject *cc1d_py_tables(PyObject *module, PyObject *unused);
PyObject *cc1d_py_activations(PyObject *module, PyObject *unused);

#endif
