/* _C.c - the Python binding: unpack, call, map a status to an exception. What is decided in C
 * is in _eager.c.
 *
 * CPython's limited API, so one build serves every Python from 3.10 on. All functions take positional
 * arguments; None is an absent tensor. The GIL is released around the work. */
#include <string.h>

#include "_borrow.h"
#include "_call.h"
#include "_eager.h"
#include "_launch.h"
#include "_openmp.h"
#include "cuda/cuda.h"

/* ---- Running a call
 * -------------------------------------------------------------------------------------------------- */

typedef cc1d_status (*runner)(const cc1d_call *call, const cc1d_exec *exec);

static cc1d_status run_forward(const cc1d_call *call, const cc1d_exec *exec) {
    const cc1d_forward_args args = cc1d_forward_args_of(call);
    return cc1d_forward(&args, exec);
}

static cc1d_status run_update(const cc1d_call *call, const cc1d_exec *exec) {
    const cc1d_update_args args = cc1d_update_args_of(call);
    return cc1d_update(&args, exec);
}

static cc1d_status run_varlen_states(const cc1d_call *call, const cc1d_exec *exec) {
    const cc1d_varlen_states_args args = cc1d_varlen_states_args_of(call);
    return cc1d_varlen_states(&args, exec);
}

static cc1d_status run_backward(const cc1d_call *call, const cc1d_exec *exec) {
    const cc1d_backward_args args = cc1d_backward_args_of(call);
    return cc1d_backward(&args, exec);
}

/* With the stream that PyTorch is using, where there are streams. */
static int find_stream(cc1d_call *call, cc1d_exec *exec) {
    const cc1d_tensor *x = call->given[CC1D_X];
    if (!x || x->device != CC1D_CUDA) return 0;
    PyObject *object = call->object[CC1D_X];
    if (cc1d_current_stream(object, x->device_index, &exec->stream)) return -1;
    return cc1d_has_exchange(object) ? 0 : cc1d_borrow_all(call); /* Python code has run */
}

static PyObject *run(cc1d_call *call, runner function) {
    cc1d_exec exec = cc1d_exec_on((int32_t)call->number[CC1D_NUM_THREADS]);
    if (cc1d_borrow_all(call) || find_stream(call, &exec)) return NULL;
    cc1d_status status;
    Py_BEGIN_ALLOW_THREADS status = function(call, &exec);
    Py_END_ALLOW_THREADS if (status) return cc1d_raise(status);
    Py_RETURN_NONE;
}

static PyObject *unpack_and_run(const cc1d_signature *signature, PyObject *const *arguments, Py_ssize_t count,
                                runner function) {
    cc1d_call call;
    PyObject *result = cc1d_unpack(signature, arguments, count, &call) ? NULL : run(&call, function);
    cc1d_release(&call);
    return result;
}

static PyObject *forward(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    return unpack_and_run(&cc1d_forward_signature, arguments, count, run_forward);
}

static PyObject *update(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    return unpack_and_run(&cc1d_update_signature, arguments, count, run_update);
}

static PyObject *varlen_states(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    return unpack_and_run(&cc1d_varlen_states_signature, arguments, count, run_varlen_states);
}

/* How much scratch the call needs; it is borrowed for that and no longer. Returns 0, or -1 with an exception.
 */
static int measure_scratch(cc1d_call *call, size_t *bytes) {
    if (cc1d_borrow_all(call)) return -1;
    const cc1d_backward_args args = cc1d_backward_args_of(call);
    const cc1d_status status = cc1d_backward_scratch(&args, bytes);
    if (status) cc1d_raise(status);
    return status ? -1 : 0;
}

static PyObject *backward(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    cc1d_call call;
    size_t bytes = 0;
    PyObject *result = NULL;
    if (cc1d_unpack(&cc1d_backward_signature, arguments, count, &call) == 0 &&
        measure_scratch(&call, &bytes) == 0 && cc1d_allocate_scratch(&call, bytes) == 0)
        result = run(&call, run_backward);
    cc1d_release(&call);
    return result;
}

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
        Py_BEGIN_ALLOW_THREADS available = cc1d_device_available(each[i].device, detail, sizeof detail);
        Py_END_ALLOW_THREADS PyObject *entry =
            Py_BuildValue("{s:s,s:O,s:s}", "name", each[i].name, "available", available ? Py_True : Py_False,
                          "detail", detail);
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
    {"forward", FAST(forward), METH_FASTCALL,
     "forward(x, weight, bias, seq_idx, cu_seqlens, initial_states, residual, out, final_states, activation, "
     "num_threads)\n"
     "Write out and final_states. Shapes and meaning: cc1d_forward_args in causal_conv1d.h."},
    {"backward", FAST(backward), METH_FASTCALL,
     "backward(dout, x, weight, bias, seq_idx, cu_seqlens, initial_states, dfinal_states, dx, dweight, "
     "dbias, dinitial_states, "
     "activation, alloc, num_threads)\n"
     "Write the gradients that are not None; alloc(nbytes) gives scratch memory: cc1d_backward_args."},
    {"update", FAST(update), METH_FASTCALL,
     "update(x, conv_state, weight, bias, cache_seqlens, conv_state_indices, num_accepted_tokens, out, "
     "pad_slot_id, activation, "
     "num_threads)\n"
     "Write out and move conv_state on: cc1d_update_args."},
    {"varlen_states", FAST(varlen_states), METH_FASTCALL,
     "varlen_states(x, cu_seqlens, states, num_threads)\n"
     "Write the last steps of every packed sequence to states: cc1d_varlen_states_args."},
    {"eager_forward", FAST(cc1d_py_eager_forward), METH_FASTCALL,
     "eager_forward(x, weight, bias, activation)\n"
     "y of a plain eager call on CPU tensors, differentiable; None: take the general way."},
    {"eager_backward", FAST(cc1d_py_eager_backward), METH_FASTCALL,
     "eager_backward(dout, saved, needs, activation)\nIts gradients, or None."},
    {"eager_update", FAST(cc1d_py_eager_update), METH_FASTCALL,
     "eager_update(x, conv_state, weight, bias, cache_seqlens, conv_state_indices, num_accepted_tokens, "
     "pad_slot_id, activation)\nLike eager_forward; not where a tensor requires a gradient."},
    {"is_direct", FAST(cc1d_py_is_direct), METH_FASTCALL,
     "is_direct(x, weight, *others)\nSee causal_conv1d_mps._direct.is_direct."},
    {"bind_torch", cc1d_py_bind_torch, METH_O, "What these need of PyTorch, as a dict."},
    {"launches", FAST(cc1d_py_launches), METH_FASTCALL,
     "launches(operation, *arguments of that function)\n"
     "The Metal launches of a call, not run: a list of (kernel, key, buffers, words, threads, group_size)."},
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
