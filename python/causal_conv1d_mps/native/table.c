/* table.c - see table.h. */
#include "table.h"

#define INPUT(name_, role_, kind_, channel_, ...) \
    { .name = name_, .role = role_, .kind = kind_, .channel = channel_, .like = -1, __VA_ARGS__ }
#define RESULT(name_, role_, kind_, channel_, like_)                                                         \
    {                                                                                                        \
        .name = name_, .role = role_, .kind = kind_, .channel = channel_, .optional = true, .written = true, \
        .like = like_                                                                                        \
    }

/* What forward begins with, and its backward pass reads. */
#define CONVOLUTION                                                                 \
    INPUT("x", CC1D_X, 'x', 1, .differentiable = true),                             \
        INPUT("weight", CC1D_WEIGHT, 'p', 0, .differentiable = true),               \
        INPUT("bias", CC1D_BIAS, 'p', 0, .optional = true, .differentiable = true), \
        INPUT("seq_idx", CC1D_SEQ_IDX, CC1D_INDEX_KIND, -1, .optional = true),      \
        INPUT("cu_seqlens", CC1D_CU, CC1D_INDEX_KIND, -1, .optional = true),        \
        INPUT("initial_states", CC1D_INITIAL, 'x', 1, .optional = true, .differentiable = true)

const cc1d_table cc1d_tables[CC1D_OPERATIONS] = {
    [CC1D_OP_FORWARD] = {.name = "forward",
                         .op = CC1D_OP_FORWARD,
                         .inputs = 7,
                         .count = 9,
                         .argument = {CONVOLUTION,
                                      INPUT("residual", CC1D_RESIDUAL, 'x', 1, .optional = true,
                                            .differentiable = true),
                                      RESULT("out", CC1D_OUT, 'x', 1, 0),
                                      RESULT("final_states", CC1D_FINAL, 'x', 1, -1)}},
    [CC1D_OP_BACKWARD] = {.name = "backward",
                          .op = CC1D_OP_BACKWARD,
                          .inputs = 8,
                          .count = 12,
                          .argument = {INPUT("dout", CC1D_DOUT, 'x', 1, .differentiable = true), CONVOLUTION,
                                       INPUT("dfinal_states", CC1D_DFINAL, 'x', 1, .optional = true,
                                             .differentiable = true),
                                       RESULT("dx", CC1D_DX, 'x', 1, 1),
                                       RESULT("dweight", CC1D_DWEIGHT, 'p', 0, 2),
                                       RESULT("dbias", CC1D_DBIAS, 'p', 0, 3),
                                       RESULT("dinitial_states", CC1D_DINITIAL, 'x', 1, 6)}},
    [CC1D_OP_UPDATE] =
        {.name = "update",
         .op = CC1D_OP_UPDATE,
         .inputs = 7,
         .count = 8,
         .argument = {INPUT("x", CC1D_X, 'x', 1, .differentiable = true),
                      INPUT("conv_state", CC1D_STATE, 's', 1, .written = true),
                      INPUT("weight", CC1D_WEIGHT, 'p', 0, .differentiable = true),
                      INPUT("bias", CC1D_BIAS, 'p', 0, .optional = true, .differentiable = true),
                      INPUT("cache_seqlens", CC1D_CACHE, CC1D_INDEX_KIND, -1, .optional = true),
                      INPUT("conv_state_indices", CC1D_INDICES, CC1D_INDEX_KIND, -1, .optional = true),
                      INPUT("num_accepted_tokens", CC1D_ACCEPTED, CC1D_INDEX_KIND, -1, .optional = true),
                      RESULT("out", CC1D_OUT, 'x', 1, 0)}},
    [CC1D_OP_VARLEN_STATES] = {.name = "varlen_states",
                               .op = CC1D_OP_VARLEN_STATES,
                               .inputs = 2,
                               .count = 3,
                               .argument = {INPUT("x", CC1D_X, 'x', 1),
                                            INPUT("cu_seqlens", CC1D_CU, CC1D_INDEX_KIND, -1),
                                            RESULT("states", CC1D_FINAL, 'x', 1, -1)}},
};

const cc1d_table *cc1d_find_table(PyObject *name) {
    for (int i = 0; PyUnicode_Check(name) && i < CC1D_OPERATIONS; i++)
        if (PyUnicode_CompareWithASCIIString(name, cc1d_tables[i].name) == 0) return &cc1d_tables[i];
    return (const cc1d_table *)PyErr_Format(
        PyExc_ValueError, "operation: expected 'forward', 'backward', 'update' or 'varlen_states'");
}

static PyObject *describe(const cc1d_table *table) {
    PyObject *list = PyList_New(0);
    for (int i = 0; list && i < table->count; i++) {
        const cc1d_argument *a = &table->argument[i];
        PyObject *entry =
            Py_BuildValue("(sCiNNNNi)", a->name, (int)a->kind, (int)a->channel, PyBool_FromLong(a->optional),
                          PyBool_FromLong(a->differentiable), PyBool_FromLong(a->written),
                          PyBool_FromLong(i >= table->inputs), (int)a->like);
        if (!entry || PyList_Append(list, entry)) Py_CLEAR(list);
        Py_XDECREF(entry);
    }
    return list;
}

PyObject *cc1d_py_tables(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    PyObject *tables = PyDict_New();
    for (int i = 0; tables && i < CC1D_OPERATIONS; i++) {
        PyObject *list = describe(&cc1d_tables[i]);
        if (!list || PyDict_SetItemString(tables, cc1d_tables[i].name, list)) Py_CLEAR(tables);
        Py_XDECREF(list);
    }
    return tables;
}
