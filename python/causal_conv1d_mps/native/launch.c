/* launch.c - see launch.h. */
#include "launch.h"

#include <string.h>

#include "gpu/plan/plan_key.h"
#include "torch.h"

/* ---- Kernels
 * -------------------------------------------------------------------------------------------------------- */

/* The kernel of a launch, compiled once. A new reference or NULL. */
static PyObject *find_kernel(const cc1d_launch *launch) {
    char place[sizeof launch->kernel + sizeof launch->key]; /* the name is static, so its address will do */
    memcpy(place, &launch->kernel, sizeof launch->kernel);
    memcpy(place + sizeof launch->kernel, launch->key, sizeof launch->key);
    PyObject *key = PyBytes_FromStringAndSize(place, sizeof place);
    PyObject *kernel = key ? PyDict_GetItemWithError(cc1d_torch(CC1D_PY_KERNELS), key) : NULL; /* borrowed */
    Py_XINCREF(kernel);
    if (key && !kernel && !PyErr_Occurred())
        kernel = PyObject_CallFunction(cc1d_torch(CC1D_PY_COMPILE), "Osy#", key, launch->kernel,
                                       (const char *)launch->key, (Py_ssize_t)sizeof launch->key);
    Py_XDECREF(key);
    return kernel;
}

/* The launch's tensors in buffer order, then the params struct as a list. */
static PyObject *arguments_of(const cc1d_launch *launch, const cc1d_call *call) {
    PyObject *words = PyList_New(launch->word_count);
    for (int32_t i = 0; words && i < launch->word_count; i++)
        PyList_SetItem(words, i, PyLong_FromLong(launch->words[i]));
    PyObject *tuple = words ? PyTuple_New(launch->buffer_count + 1) : NULL;
    for (int32_t i = 0; tuple && i < launch->buffer_count; i++) {
        PyObject *tensor = call->object[launch->buffers[i]];
        Py_INCREF(tensor);
        PyTuple_SetItem(tuple, i, tensor);
    }
    if (tuple)
        PyTuple_SetItem(tuple, launch->buffer_count, words);
    else
        Py_XDECREF(words);
    return tuple;
}

/* What every launch has alike, made once. */
static PyObject *common_options(void) {
    static PyObject *options;
    if (!options) options = Py_BuildValue("{s:s}", "arg_casts", "int32");
    return options;
}

/* Metal counts threads, not groups. */
static PyObject *options_of(const cc1d_launch *launch) {
    static PyObject *threads_name, *group_size_name;
    if (!threads_name) threads_name = PyUnicode_InternFromString("threads");
    if (!group_size_name) group_size_name = PyUnicode_InternFromString("group_size");
    const uint32_t *size = launch->group_size;
    unsigned long long threads[3];
    for (int i = 0; i < 3; i++) threads[i] = (unsigned long long)launch->groups[i] * size[i];
    PyObject *common = threads_name && group_size_name ? common_options() : NULL;
    PyObject *options = common ? PyDict_Copy(common) : NULL;
    PyObject *grid = options ? Py_BuildValue("(KKK)", threads[0], threads[1], threads[2]) : NULL;
    PyObject *group = grid ? Py_BuildValue("(III)", size[0], size[1], size[2]) : NULL;
    if (!group || PyDict_SetItem(options, threads_name, grid) ||
        PyDict_SetItem(options, group_size_name, group))
        Py_CLEAR(options);
    Py_XDECREF(group);
    Py_XDECREF(grid);
    return options;
}

static int encode(PyObject *kernel, const cc1d_launch *launch, const cc1d_call *call) {
    PyObject *arguments = arguments_of(launch, call);
    PyObject *options = arguments ? options_of(launch) : NULL;
    PyObject *none = options ? PyObject_Call(kernel, arguments, options) : NULL;
    Py_XDECREF(none);
    Py_XDECREF(options);
    Py_XDECREF(arguments);
    return none ? 0 : -1;
}

int cc1d_launch_all(const cc1d_call *call, const cc1d_plan *plan) {
    const int32_t count = plan ? plan->launch_count : 0;
    PyObject *kernel[CC1D_PLAN_LAUNCHES] = {NULL};
    int failed = 0;
    /* All kernels first: a text that does not compile must not leave half of the results written. */
    for (int32_t i = 0; i < count && !failed; i++)
        failed = (kernel[i] = find_kernel(&plan->launch[i])) ? 0 : -1;
    for (int32_t i = 0; i < count && !failed; i++) failed = encode(kernel[i], &plan->launch[i], call);
    for (int32_t i = 0; i < count; i++) Py_XDECREF(kernel[i]);
    if (failed) return -1;
    if (count > 0)
        cc1d_ran("metal", "mps", plan->launch[0].kernel);
    else
        cc1d_ran_nothing();
    return 0;
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
