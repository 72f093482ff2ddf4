/* call.c - see call.h. */
#include "call.h"

#include <stddef.h>
#include <string.h>

#include "launch.h"
#include "openmp.h"
#include "torch.h"

/* ---- Arguments
 * ------------------------------------------------------------------------------------------------------ */

void cc1d_clear(cc1d_call *call, cc1d_operation op) {
    memset(call, 0, offsetof(cc1d_call, tensor));
    cc1d_turn_into(call, op);
    call->arguments.pad_slot_id = -1;
    call->num_threads = CC1D_TORCH_THREADS;
}

void cc1d_turn_into(cc1d_call *call, cc1d_operation op) {
    call->table = &cc1d_tables[op];
    call->arguments.op = op;
}

void cc1d_release(cc1d_call *call) {
    PyMem_Free(call->allocated);
    Py_XDECREF(call->tensors);
    for (int i = 0; i <= CC1D_SCRATCH; i++) {
        Py_XDECREF(call->keep[i]);
        if (call->made[i]) Py_XDECREF(call->object[i]);
    }
}

int cc1d_take(cc1d_call *call, PyObject *tensors) {
    const cc1d_table *table = call->table;
    const Py_ssize_t count = PyTuple_Check(tensors) ? PyTuple_Size(tensors) : -1;
    if (count < 0 || count > table->count) {
        PyErr_Format(PyExc_TypeError, "%s: expected a tuple of at most %d tensors", table->name,
                     table->count);
        return -1;
    }
    PyObject *before = call->tensors;
    Py_INCREF(tensors);
    call->tensors = tensors;
    Py_XDECREF(before);
    for (int i = 0; i < (int)count; i++) {
        const int role = table->argument[i].role;
        PyObject *object = PyTuple_GetItem(tensors, i);
        call->wanted[role] = object == Py_True && i >= table->inputs;
        call->object[role] = object == Py_None || call->wanted[role] ? NULL : object;
    }
    return 0;
}

/* Gives the call a tensor that it owns from then on. */
static int own(cc1d_call *call, int role, PyObject *made) {
    call->object[role] = made;
    call->made[role] = made != NULL;
    return made ? 0 : -1;
}

static PyObject *or_none(PyObject *object) { return object ? object : Py_None; }

/* None where shapes are wrong: then there is no such result, and validation refuses the call. */
static int make_states(cc1d_call *call, int role, PyObject *state_len) {
    PyObject *states = cc1d_ask_torch(CC1D_PY_NEW_STATES, call->object[CC1D_X],
                                      or_none(call->object[CC1D_WEIGHT]), or_none(call->object[CC1D_CU]),
                                      or_none(state_len), or_none(call->object[CC1D_POSITIONS]), NULL);
    if (states != Py_None) return own(call, role, states);
    Py_DECREF(states);
    return 0;
}

int cc1d_make_results(cc1d_call *call, PyObject *state_len) {
    const cc1d_table *table = call->table;
    for (int i = table->inputs; i < table->count; i++) {
        const cc1d_argument *a = &table->argument[i];
        if (!call->wanted[a->role]) continue;
        PyObject *like = a->like < 0 ? NULL : call->object[table->argument[a->like].role];
        if (a->like >= 0 && !like) continue; /* nothing to be like: validation says what is missing */
        if (a->like < 0 ? make_states(call, a->role, state_len)
                        : own(call, a->role, cc1d_ask_torch(CC1D_PY_EMPTY_LIKE, like, NULL)))
            return -1;
    }
    return 0;
}

/* ---- Memory
 * ---------------------------------------------------------------------------------------------------------
 */

/* nn.Conv1d's weight (D, 1, W) is (D, W) by another name, and so is its gradient. */
static void squeeze(cc1d_tensor *weight) {
    if (weight->ndim != 3 || weight->shape[1] != 1) return;
    weight->ndim = 2;
    weight->shape[1] = weight->shape[2];
    weight->strides[1] = weight->strides[2];
}

static int borrow_through_table(PyObject *object, const char *name, cc1d_tensor *tensor) {
    if (cc1d_borrow(object, name, tensor)) return -1;
    return (cc1d_device)tensor->device == cc1d_launched_device() ? cc1d_find_offset(object, tensor) : 0;
}

/* A tensor of any kind; served: by the exchange table. What stands for Metal in tests keeps its tensors
 * elsewhere. */
static int borrow_one(cc1d_call *call, int role, const char *name, bool writable, bool served) {
    PyObject *object = call->object[role];
    cc1d_tensor *tensor = &call->tensor[role];
    const int failed = served ? borrow_through_table(object, name, tensor)
                       : cc1d_has_device(object, cc1d_launched_device())
                           ? cc1d_describe(object, name, tensor)
                           : cc1d_borrow_capsule(object, name, writable, tensor, &call->keep[role]);
    if (!failed && (cc1d_device)tensor->device == cc1d_launched_device()) tensor->device = CC1D_METAL;
    return failed;
}

/* First those whose __dlpack__ may run anything, without garbage collections, which would run more; those of
 * the table, which run nothing, last. */
static int borrow_each(cc1d_call *call, bool served) {
    for (int i = 0; i < call->table->count; i++) {
        const cc1d_argument *a = &call->table->argument[i];
        PyObject *object = call->object[a->role];
        if (!object || cc1d_has_exchange(object) != served) continue;
        cc1d_tensor *tensor = &call->tensor[a->role];
        if (borrow_one(call, a->role, a->name, a->written, served)) return -1;
        if (a->role == CC1D_WEIGHT || a->role == CC1D_DWEIGHT) squeeze(tensor);
        call->arguments.tensor[a->role] = tensor;
    }
    return 0;
}

int cc1d_borrow_all(cc1d_call *call) {
    bool served = true;
    for (int i = 0; i < call->table->count && served; i++) {
        PyObject *object = call->object[call->table->argument[i].role];
        served = !object || cc1d_has_exchange(object);
    }
    if (served) return borrow_each(call, true);
    const int collecting = PyGC_Disable();
    const int result = borrow_each(call, false) || borrow_each(call, true) ? -1 : 0;
    if (collecting) PyGC_Enable();
    return result;
}

/* Scratch as a tensor on x's device, borrowed too. Without garbage collections, because memory is borrowed:
 * PyTorch's function runs no Python code. */
static int make_scratch(cc1d_call *call, size_t bytes) {
    const int collecting = PyGC_Disable();
    PyObject *device = PyObject_GetAttrString(call->object[CC1D_X], "device");
    PyObject *size = device ? Py_BuildValue("(n)", (Py_ssize_t)bytes) : NULL;
    PyObject *options =
        size ? Py_BuildValue("{s:O,s:O}", "dtype", cc1d_torch(CC1D_PY_UINT8), "device", device) : NULL;
    PyObject *scratch = options ? PyObject_Call(cc1d_torch(CC1D_PY_EMPTY), size, options) : NULL;
    int result = own(call, CC1D_SCRATCH, scratch);
    if (!result) result = borrow_one(call, CC1D_SCRATCH, "scratch", true, cc1d_has_exchange(scratch));
    const cc1d_tensor *tensor = &call->tensor[CC1D_SCRATCH];
    if (!result) call->scratch = (char *)tensor->data + tensor->byte_offset;
    Py_XDECREF(options);
    Py_XDECREF(size);
    Py_XDECREF(device);
    if (collecting) PyGC_Enable();
    return result;
}

/* A CPU call's scratch comes from malloc. */
static int allocate_scratch(cc1d_call *call, size_t bytes) {
    enum { ALIGNMENT = 64 };
    if (bytes == 0) return 0;
    if (call->tensor[CC1D_X].device != CC1D_CPU) return make_scratch(call, bytes);
    call->allocated = PyMem_Malloc(bytes + ALIGNMENT);
    if (!call->allocated) {
        PyErr_NoMemory();
        return -1;
    }
    call->scratch = call->allocated + (ALIGNMENT - (uintptr_t)call->allocated % ALIGNMENT);
    return 0;
}

/* ---- Running
 * -------------------------------------------------------------------------------------------------------- */

/* Where the call runs. What this asks of PyTorch runs no Python code. */
static int make_exec(const cc1d_call *call, const cc1d_problem *problem, cc1d_exec *exec) {
    int32_t threads = call->num_threads;
    if (problem->device == CC1D_CPU && threads == CC1D_TORCH_THREADS) {
        threads = (int32_t)cc1d_torch_threads();
        if (PyErr_Occurred()) return -1;
    }
    *exec = cc1d_exec_on(threads);
    if (problem->device != CC1D_CUDA) return 0;
    return cc1d_current_stream(call->object[CC1D_X], problem->device_index, &exec->stream);
}

int cc1d_run_borrowed(cc1d_call *call) {
    cc1d_prepared prepared;
    cc1d_status status = cc1d_prepare(&call->arguments, &prepared);
    if (status) cc1d_raise(status);
    if (status || allocate_scratch(call, prepared.scratch_bytes)) return -1;
    if (prepared.problem.device == CC1D_METAL)
        return cc1d_launch_all(call, prepared.writes_nothing ? NULL : &prepared.how.gpu);
    cc1d_exec exec;
    if (make_exec(call, &prepared.problem, &exec)) return -1;
    Py_BEGIN_ALLOW_THREADS
    status = cc1d_run(&prepared, &exec, call->scratch, prepared.scratch_bytes);
    Py_END_ALLOW_THREADS
    if (status) cc1d_raise(status);
    return status ? -1 : 0;
}

PyObject *cc1d_raise(cc1d_status status) {
    PyObject *exception = PyExc_RuntimeError;
    switch (status) {
    case CC1D_ERROR_TYPE: exception = PyExc_TypeError; break;
    case CC1D_ERROR_VALUE: exception = PyExc_ValueError; break;
    case CC1D_ERROR_UNSUPPORTED: exception = PyExc_NotImplementedError; break;
    case CC1D_ERROR_MEMORY: exception = PyExc_MemoryError; break;
    default: break;
    }
    PyErr_SetString(exception, cc1d_last_error());
    return NULL;
}
