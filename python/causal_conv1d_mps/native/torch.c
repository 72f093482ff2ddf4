/* torch.c - see torch.h. */
#include "torch.h"

#define NAME(what, name) name,
static const char *const names[] = {CC1D_TORCH_NEEDS(NAME)};

static PyObject *bound[CC1D_PY_BOUND];
static PyObject *current_level, *is_profiler_enabled, *requires_grad, *version; /* names, interned */
static cc1d_device launched_device;

PyObject *cc1d_torch(cc1d_bound what) { return bound[what]; }

cc1d_device cc1d_launched_device(void) { return launched_device; }

PyObject *cc1d_py_bind_torch(PyObject *module, PyObject *given) {
    (void)module;
    for (int i = 0; i < CC1D_PY_BOUND; i++) {
        PyObject *value = PyDict_GetItemString(given, names[i]); /* borrowed */
        if (!value) return PyErr_Format(PyExc_KeyError, "%s", names[i]);
        PyObject *before = bound[i];
        Py_INCREF(value);
        bound[i] = value;
        Py_XDECREF(before);
    }
    cc1d_set_tensor_type(bound[CC1D_PY_TENSOR]);
    const int32_t launched = cc1d_device_named(bound[CC1D_PY_LAUNCHED_DEVICE]);
    if (launched < 0) return PyErr_Format(PyExc_ValueError, "launched_device: expected 'mps'");
    launched_device = (cc1d_device)launched;
    if (!current_level) current_level = PyUnicode_InternFromString("_current_level");
    if (!requires_grad) requires_grad = PyUnicode_InternFromString("requires_grad");
    if (!is_profiler_enabled) is_profiler_enabled = PyUnicode_InternFromString("_is_profiler_enabled");
    if (!version) version = PyUnicode_InternFromString("_version");
    if (!current_level || !is_profiler_enabled || !requires_grad || !version) return NULL;
    Py_RETURN_NONE;
}

void cc1d_forget_error(void) {
    if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_Exception)) PyErr_Clear();
}

/* Whether the answer is true, or there is none. Takes over the reference. */
static bool is_true(PyObject *answer) {
    if (answer == Py_False) { /* immortal or not, the most frequent one */
        Py_DECREF(answer);
        return false;
    }
    const bool result = !answer || PyObject_IsTrue(answer) != 0;
    if (!answer) cc1d_forget_error();
    Py_XDECREF(answer);
    return result;
}

static bool ask(cc1d_bound question) { return is_true(PyObject_CallNoArgs(bound[question])); }

static bool in_forward_mode(void) {
    PyObject *level = PyObject_GetAttr(bound[CC1D_PY_FORWARD_AD], current_level);
    const bool result = !level || PyLong_AsLong(level) >= 0 || PyErr_Occurred();
    cc1d_forget_error();
    Py_XDECREF(level);
    return result;
}

bool cc1d_is_profiled(void) {
    return is_true(PyObject_GetAttr(bound[CC1D_PY_PROFILER], is_profiler_enabled));
}

bool cc1d_is_watched(void) {
    return ask(CC1D_PY_TRANSFORMS_ACTIVE) || ask(CC1D_PY_DISPATCH_MODES) ||
           (ask(CC1D_PY_FUNCTION_MODES) && ask(CC1D_PY_ANOTHER_THAN_DEFAULT_DEVICE)) ||
           ask(CC1D_PY_TRACING) || in_forward_mode();
}

bool cc1d_is_plain(PyObject *object) {
    PyObject *type = (PyObject *)Py_TYPE(object);
    return (type == bound[CC1D_PY_TENSOR] || type == bound[CC1D_PY_PARAMETER]) &&
           !is_true(PyObject_CallFunctionObjArgs(bound[CC1D_PY_IS_NEG], object, NULL));
}

bool cc1d_requires_grad(PyObject *tensor) { return is_true(PyObject_GetAttr(tensor, requires_grad)); }

bool cc1d_grad_is_enabled(void) { return ask(CC1D_PY_GRAD_ENABLED); }

bool cc1d_is_autocasting(void) { return ask(CC1D_PY_ANY_AUTOCAST); }

bool cc1d_is_writable(PyObject *tensor) {
    PyObject *known = PyObject_GetAttr(tensor, version);
    Py_XDECREF(known);
    if (known) return true;
    cc1d_forget_error();
    return ask(CC1D_PY_INFERENCE_MODE);
}

int cc1d_bump_version(PyObject *tensor) {
    PyObject *written = PyTuple_Pack(1, tensor);
    PyObject *none = written ? cc1d_ask_torch(CC1D_PY_INCREMENT_VERSION, written, NULL) : NULL;
    Py_XDECREF(none);
    Py_XDECREF(written);
    return none ? 0 : -1;
}

long cc1d_torch_threads(void) {
    PyObject *number = PyObject_CallNoArgs(bound[CC1D_PY_NUM_THREADS]);
    const long threads = number ? PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    return threads;
}
