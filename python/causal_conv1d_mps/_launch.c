/* _launch.c - see _launch.h. */
#include "_launch.h"

#include <string.h>

#include "_call.h"
#include "plan_key.h"
#include "validate.h"

/* ---- Planning
 * ------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    const cc1d_signature *signature;
} operations[] = {{"forward", &cc1d_forward_signature},
                  {"backward", &cc1d_backward_signature},
                  {"update", &cc1d_update_signature},
                  {"varlen_states", &cc1d_varlen_states_signature}};

static const cc1d_signature *find_signature(PyObject *name) {
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        if (PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, operations[i].name) == 0)
            return operations[i].signature;
    PyErr_SetString(PyExc_ValueError,
                    "operation: expected 'forward', 'backward', 'update' or 'varlen_states'");
    return NULL;
}

static cc1d_status validate(cc1d_operation op, const cc1d_call *call, cc1d_problem *problem) {
    switch (op) {
    case CC1D_OP_FORWARD: {
        const cc1d_forward_args args = cc1d_forward_args_of(call);
        return cc1d_validate_forward(&args, problem);
    }
    case CC1D_OP_BACKWARD: {
        const cc1d_backward_args args = cc1d_backward_args_of(call);
        return cc1d_validate_backward(&args, problem);
    }
    case CC1D_OP_UPDATE: {
        const cc1d_update_args args = cc1d_update_args_of(call);
        return cc1d_validate_update(&args, problem);
    }
    default: {
        const cc1d_varlen_states_args args = cc1d_varlen_states_args_of(call);
        return cc1d_validate_varlen_states(&args, problem);
    }
    }
}

/* ---- Python values
 * --------------------------------------------------------------------------------------------------- */

/* The launch's tensors in buffer order. */
static PyObject *buffers_of(const cc1d_launch *launch, const cc1d_call *call) {
    PyObject *tuple = PyTuple_New(launch->buffer_count);
    for (int32_t i = 0; tuple && i < launch->buffer_count; i++) {
        PyObject *tensor = call->object[launch->buffers[i]];
        Py_INCREF(tensor);
        PyTuple_SetItem(tuple, i, tensor);
    }
    return tuple;
}

static PyObject *words_of(const cc1d_launch *launch) {
    PyObject *list = PyList_New(launch->word_count);
    for (int32_t i = 0; list && i < launch->word_count; i++)
        PyList_SetItem(list, i, PyLong_FromLong(launch->words[i]));
    return list;
}

/* Metal counts threads, not groups. */
static PyObject *launch_tuple(const cc1d_launch *launch, const cc1d_call *call) {
    PyObject *buffers = buffers_of(launch, call), *words = words_of(launch);
    unsigned long long threads[3];
    for (int i = 0; i < 3; i++) threads[i] = (unsigned long long)launch->groups[i] * launch->group_size[i];
    PyObject *tuple = NULL;
    if (buffers && words)
        tuple =
            Py_BuildValue("sy#OO(KKK)(III)", launch->kernel, (const char *)launch->key,
                          (Py_ssize_t)sizeof launch->key, buffers, words, threads[0], threads[1], threads[2],
                          launch->group_size[0], launch->group_size[1], launch->group_size[2]);
    Py_XDECREF(buffers);
    Py_XDECREF(words);
    return tuple;
}

static void move_to_metal(cc1d_call *call) {
    for (int i = 0; i <= CC1D_SCRATCH; i++)
        if (call->given[i] && call->tensor[i].device == CC1D_CPU) call->tensor[i].device = CC1D_METAL;
}

/* Nothing here reads or writes a tensor's memory; PyTorch binds it when it encodes the launch. */
static PyObject *plan_call(const cc1d_signature *signature, cc1d_call *call) {
    if (cc1d_describe_all(call)) return NULL;
    /* A stand-in for Metal keeps its tensors on the CPU: x says whether that is the case. */
    const bool stand_in = call->given[CC1D_X] && call->tensor[CC1D_X].device == CC1D_CPU;
    if (stand_in) move_to_metal(call);
    cc1d_problem problem;
    cc1d_plan plan;
    cc1d_status status = validate(signature->op, call, &problem);
    if (!status) status = cc1d_make_plan(&problem, &plan);
    if (status) return cc1d_raise(status);
    if (cc1d_allocate_scratch(call, plan.scratch_bytes) || cc1d_describe_all(call)) return NULL;
    if (stand_in) move_to_metal(call);
    if (cc1d_take_scratch(call)) return NULL;
    if (call->scratch_size < plan.scratch_bytes)
        return PyErr_Format(PyExc_ValueError, "scratch: expected at least %zu bytes, got %zu",
                            plan.scratch_bytes, call->scratch_size);
    PyObject *list = PyList_New(0);
    for (int32_t i = 0; list && i < plan.launch_count; i++) {
        PyObject *tuple = launch_tuple(&plan.launch[i], call);
        if (!tuple || PyList_Append(list, tuple)) Py_CLEAR(list);
        Py_XDECREF(tuple);
    }
    if (list && plan.launch_count > 0)
        cc1d_ran("metal", "mps", plan.launch[0].kernel);
    else if (list)
        cc1d_ran_nothing();
    return list;
}

PyObject *cc1d_py_launches(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    if (count < 1) {
        PyErr_SetString(PyExc_TypeError, "expected an operation's name first, got no argument");
        return NULL;
    }
    const cc1d_signature *signature = find_signature(arguments[0]);
    if (!signature) return NULL;
    cc1d_call call;
    PyObject *result =
        cc1d_unpack(signature, arguments + 1, count - 1, &call) ? NULL : plan_call(signature, &call);
    cc1d_release(&call);
    return result;
}

/* ---- Source
 * -------------------------------------------------------------------------------------------------------------
 */

/* A string of what write(launch, text, size) gives, which returns the length that it needs. */
static PyObject *string_of(size_t (*write)(const cc1d_launch *, char *, size_t), const cc1d_launch *launch) {
    const size_t length = write(launch, NULL, 0);
    char *buffer = PyMem_Malloc(length + 1);
    if (!buffer) return PyErr_NoMemory();
    write(launch, buffer, length + 1);
    PyObject *text = PyUnicode_FromStringAndSize(buffer, (Py_ssize_t)length);
    PyMem_Free(buffer);
    return text;
}

static size_t metal_text(const cc1d_launch *unused, char *text, size_t size) {
    (void)unused;
    return cc1d_kernel_text(CC1D_LANGUAGE_METAL, text, size);
}

PyObject *cc1d_py_metal_text(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    (void)arguments;
    if (count == 0) return string_of(metal_text, NULL);
    return PyErr_Format(PyExc_TypeError, "expected no arguments, got %zd", count);
}

static bool is_kernel(const char *name) {
    for (int i = 0; i < CC1D_KERNEL_COUNT; i++)
        if (strcmp(cc1d_kernel_names[i], name) == 0) return true;
    return false;
}

PyObject *cc1d_py_launch_defines(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "expected a kernel's name and its key, got %zd arguments",
                            count);
    cc1d_launch launch;
    memset(&launch, 0, sizeof launch);
    char *key = NULL;
    Py_ssize_t key_size = 0;
    PyObject *kernel = PyUnicode_AsUTF8String(arguments[0]);
    PyObject *text = NULL;
    if (kernel && PyBytes_AsStringAndSize(arguments[1], &key, &key_size) == 0) {
        launch.kernel = PyBytes_AsString(kernel);
        if (!is_kernel(launch.kernel) || key_size != CC1D_PLAN_KEY) {
            PyErr_SetString(PyExc_ValueError, "expected a kernel's name and its key, as launches gives them");
        } else {
            memcpy(launch.key, key, CC1D_PLAN_KEY);
            text = string_of(cc1d_launch_defines, &launch);
        }
    }
    Py_XDECREF(kernel);
    return text;
}
