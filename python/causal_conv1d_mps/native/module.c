/* module.c - the module of the Python binding. The way of a call is in route.c.
 *
 * CPython's limited API, so one build serves every Python from 3.10 on. All functions take positional
 * arguments; None is an absent tensor. The GIL is released around the work. */
#include <string.h>

#include "call.h"
#include "cuda/cuda.h"
#include "gpu/plan/plan_key.h"
#include "launch.h"
#include "openmp.h"
#include "route.h"
#include "torch.h"

/* ---- What is here
 * -------------------------------------------------------------------------------------------------------- */

static PyObject *backends(PyObject *module, PyObject *unused) {
    static const struct {
        const char *name;
        cc1d_device device;
    } each[] = {{"cpu", CC1D_CPU}, {"cuda", CC1D_CUDA}, {"mps", CC1D_METAL}};
    (void)module, (void)unused;
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < sizeof each / sizeof *each; i++) {
        char detail[512];
        int available;
        Py_BEGIN_ALLOW_THREADS
        available = cc1d_device_available(each[i].device, detail, sizeof detail);
        Py_END_ALLOW_THREADS
        PyObject *entry = Py_BuildValue("{s:s,s:O,s:s}", "name", each[i].name, "available",
                                        available ? Py_True : Py_False, "detail", detail);
        if (!entry || PyList_Append(list, entry)) Py_CLEAR(list);
        Py_XDECREF(entry);
    }
    return list;
}

static PyObject *implementations(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    PyObject *list = PyList_New(0);
    const char *name;
    for (int i = 0; list && (name = cc1d_cpu_implementation(i)); i++) {
        PyObject *text = PyUnicode_FromString(name);
        if (!text || PyList_Append(list, text)) Py_CLEAR(list);
        Py_XDECREF(text);
    }
    return list;
}

static PyObject *set_implementation(PyObject *module, PyObject *argument) {
    (void)module;
    PyObject *bytes = argument == Py_None ? NULL : PyUnicode_AsUTF8String(argument);
    if (argument != Py_None && !bytes) return NULL;
    const cc1d_status status = cc1d_set_cpu_implementation(bytes ? PyBytes_AsString(bytes) : NULL);
    Py_XDECREF(bytes);
    if (status) return cc1d_raise(status);
    Py_RETURN_NONE;
}

static PyObject *set_nvrtc_paths(PyObject *module, PyObject *argument) {
    (void)module;
    PyObject *encoded = PyList_New(0);
    const Py_ssize_t count = encoded ? PySequence_Size(argument) : -1;
    const char **paths = count < 0 ? NULL : PyMem_Calloc((size_t)count + 1, sizeof *paths);
    Py_ssize_t done = 0;
    for (; paths && done < count; done++) {
        PyObject *path = PySequence_GetItem(argument, done), *bytes = NULL;
        const int failed = !path || !PyUnicode_FSConverter(path, &bytes) || PyList_Append(encoded, bytes);
        if (!failed) paths[done] = PyBytes_AsString(bytes);
        Py_XDECREF(path);
        Py_XDECREF(bytes);
        if (failed) break;
    }
    const int complete = paths && done == count;
    if (complete) cc1d_cuda_set_nvrtc_paths(paths, (int)count);
    PyMem_Free(paths);
    Py_XDECREF(encoded);
    if (!complete) return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *cuda_kernels(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    PyObject *counts = PyDict_New();
    for (int i = 0; counts && i < CC1D_KERNEL_COUNT; i++) {
        PyObject *count = PyLong_FromLong(cc1d_cuda_kernel_count(cc1d_kernel_names[i]));
        if (!count || PyDict_SetItemString(counts, cc1d_kernel_names[i], count)) Py_CLEAR(counts);
        Py_XDECREF(count);
    }
    return counts;
}

static PyObject *last_kernel(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    return PyUnicode_FromString(cc1d_last_kernel());
}

static PyObject *version(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    return PyUnicode_FromString(cc1d_version());
}

/* ---- The module
 * ------------------------------------------------------------------------------------------------------------
 */

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef methods[] = {
    {"tables", cc1d_py_tables, METH_NOARGS,
     "{operation: [(name, kind, channel, optional, differentiable, written, result, like), ...]}"},
    {"activations", cc1d_py_activations, METH_NOARGS, "{name: code} of what is fused, aliases included."},
    {"bind_torch", cc1d_py_bind_torch, METH_O, "What these need of PyTorch, as a dict."},
    {"forward", FAST(cc1d_py_forward), METH_FASTCALL,
     "forward(tensors, activation, return_final_states)\n"
     "y or (y, final_states), differentiable; NotImplemented where something watches the call."},
    {"update", FAST(cc1d_py_update), METH_FASTCALL,
     "update(tensors, activation, pad_slot_id, max_seqlen)\ny, or NotImplemented."},
    {"varlen_states", FAST(cc1d_py_varlen_states), METH_FASTCALL,
     "varlen_states(tensors, state_len)\nThe states, or NotImplemented."},
    {"backward", FAST(cc1d_py_backward), METH_FASTCALL,
     "backward(tensors, activation code)\nThe results that are given or True, or NotImplemented."},
    {"gradients", FAST(cc1d_py_gradients), METH_FASTCALL,
     "gradients(saved, dout, dfinal_states, needs, activation code)\n"
     "Those of the recorded function's arguments that needs asks for, or NotImplemented."},
    {"run", FAST(cc1d_py_run), METH_FASTCALL,
     "run(operation, tensors, activation code, pad_slot_id, num_threads, max_seqlen)\n"
     "The results that are given or True, whatever watches: for the operators. The last four may be left "
     "out."},
    {"launch_defines", FAST(cc1d_py_launch_defines), METH_FASTCALL,
     "launch_defines(kernel, key)\nThe #define lines that specialise the kernels' text for a launch."},
    {"metal_text", FAST(cc1d_py_metal_text), METH_FASTCALL,
     "metal_text()\nThe Metal text of all kernels, self-contained, ASCII."},
    {"backends", backends, METH_NOARGS, "A list of {name, available, detail}, one for each device type."},
    {"implementations", implementations, METH_NOARGS,
     "Names of the CPU implementations usable on this machine, best first."},
    {"set_implementation", set_implementation, METH_O, "Force a CPU implementation by name; None: the best."},
    {"set_nvrtc_paths", set_nvrtc_paths, METH_O,
     "Files to try first as CUDA's run-time compiler, best first."},
    {"cuda_kernels", cuda_kernels, METH_NOARGS, "{kernel: how many texts of it are compiled for CUDA}"},
    {"last_kernel", last_kernel, METH_NOARGS,
     "The kernel that this thread's last call ran, e.g. 'cpu/scalar/forward'."},
    {"version", version, METH_NOARGS, "The version of the C library."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "causal_conv1d_mps._C",
    .m_doc = "Binding of the C library; see causal_conv1d.h.",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__C(void); /* found by name */

PyMODINIT_FUNC PyInit__C(void) {
    cc1d_watch_forks();
    return PyModule_Create(&definition);
}
