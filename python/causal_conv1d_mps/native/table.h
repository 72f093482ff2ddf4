/* table.h - the arguments of every operation, in the one order that they have everywhere: in a call's tuple
 * of tensors, in the operators' schemas, for autograd and for vmap. Python reads it once (_tables.py). */
#ifndef CC1D_TABLE_H
#define CC1D_TABLE_H

#include "borrow.h"
#include "core/problem.h"

enum { CC1D_TABLE_ARGUMENTS = 12, CC1D_OPERATIONS = 4, CC1D_INDEX_KIND = 'i' };

typedef struct cc1d_argument {
    const char *name;    /* that callers know it by */
    uint8_t role;        /* cc1d_role */
    char kind;           /* 'x' of x's dtype, 'p' a parameter, 's' a state, CC1D_INDEX_KIND */
    int8_t channel;      /* the axis of the channels; -1: it has none */
    bool optional;       /* may be None */
    bool differentiable; /* has a gradient */
    bool written;
    int8_t like; /* a result: place of the input that it is like; -1: its shape is of its own */
} cc1d_argument;

typedef struct cc1d_table {
    const char *name;
    cc1d_operation op;
    int inputs, count; /* inputs come first, then results */
    cc1d_argument argument[CC1D_TABLE_ARGUMENTS];
} cc1d_table;

extern const cc1d_table cc1d_tables[CC1D_OPERATIONS]; /* by cc1d_operation */

/* The table of that name, or NULL with an exception. */
const cc1d_table *cc1d_find_table(PyObject *name);

PyObject *cc1d_py_tables(PyObject *module, PyObject *unused);

#endif
