/* tables.c - see tables.h. Python reads the tables once (_tables.py). */
#include "tables.h"

#include <string.h>

#include "core/activations.h"

int cc1d_find_operation(PyObject *name) {
    for (int op = 0; PyUnicode_Check(name) && op < CC1D_OPERATIONS; op++)
        if (PyUnicode_CompareWithASCIIString(name, cc1d_tables[op].name) == 0) return op;
    PyErr_SetString(PyExc_ValueError,
                    "operation: expected 'forward', 'backward', 'update' or 'varlen_states'");
    return -1;
}

/* The axis of the channels, or -1. */
static int channel_of(const cc1d_argument *argument) {
    const char *letter = strpbrk(argument->shape, "dD");
    return letter ? (int)(letter - argument->shape) : -1;
}

/* The names of these roles. */
static PyObject *names_of(const cc1d_table *table, uint32_t roles) {
    PyObject *names = PyList_New(0);
    for (int i = 0; names && i < table->count; i++) {
        const cc1d_argument *other = &table->argument[i];
        if (!(roles >> other->role & 1)) continue;
        PyObject *name = PyUnicode_FromString(other->name);
        if (!name || PyList_Append(names, name)) Py_CLEAR(names);
        Py_XDECREF(name);
    }
    PyObject *tuple = names ? PyList_AsTuple(names) : NULL;
    Py_XDECREF(names);
    return tuple;
}

static PyObject *describe(const cc1d_table *table) {
    PyObject *list = PyList_New(0);
    for (int i = 0; list && i < table->count; i++) {
        const cc1d_argument *a = &table->argument[i];
        PyObject *entry =
            Py_BuildValue("(sCiNNNNiNN)", a->name, (int)a->kind, channel_of(a), PyBool_FromLong(a->optional),
                          PyBool_FromLong(a->differentiable), PyBool_FromLong(a->written),
                          PyBool_FromLong(i >= table->inputs), (int)a->like, names_of(table, a->excludes),
                          names_of(table, a->needs));
        if (!entry || PyList_Append(list, entry)) Py_CLEAR(list);
        Py_XDECREF(entry);
    }
    return list;
}

PyObject *cc1d_py_tables(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    PyObject *tables = PyDict_New();
    for (int op = 0; tables && op < CC1D_OPERATIONS; op++) {
        PyObject *list = describe(&cc1d_tables[op]);
        if (!list || PyDict_SetItemString(tables, cc1d_tables[op].name, list)) Py_CLEAR(tables);
        Py_XDECREF(list);
    }
    return tables;
}

PyObject *cc1d_py_activations(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    PyObject *names = PyDict_New();
#define ADD(constant, name)                                                        \
    if (names && CC1D_ACTIVATION_##constant != CC1D_ACTIVATION_NONE) {             \
        PyObject *number = PyLong_FromLong(CC1D_ACTIVATION_##constant);            \
        if (!number || PyDict_SetItemString(names, name, number)) Py_CLEAR(names); \
        Py_XDECREF(number);                                                        \
    }
    CC1D_EACH_ACTIVATION(ADD)
    CC1D_EACH_ACTIVATION_ALIAS(ADD)
#undef ADD
    return names;
}
