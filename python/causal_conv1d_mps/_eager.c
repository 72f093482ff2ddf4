/* _eager.c - see _eager.h.
 *
 * At a small shape a call costs what surrounds its kernel. Here that is one borrowed view per tensor, one
 * call of torch.empty_like per result, and the questions to PyTorch that keep everything unusual away. */
#include "_eager.h"

#include "_call.h"
#include "_openmp.h"

/* ---- PyTorch
 * -------------------------------------------------------------------------------------------------------- */

/* What bind_torch takes. The questions are functions without arguments; false means that nothing is there. */
enum {
    TENSOR, /* the two classes without behaviour of their own */
    PARAMETER,
    EMPTY_LIKE,
    INCREMENT_VERSION, /* f((tensor,)) */
    RECORD,            /* f((y, None, activation), x, weight, bias) -> y with its derivative */
    IS_NEG,
    INFERENCE_MODE,
    FORWARD_AD, /* the module, whose level changes */
    PROFILER,   /* the module, which says whether one is on */
    TRANSFORMS_ACTIVE,
    DISPATCH_MODES,
    FUNCTION_MODES,
    ANOTHER_THAN_DEFAULT_DEVICE,
    TRACING,
    AUTOCAST,
    GRAD_ENABLED,
    NUM_THREADS,
    BOUND
};

static const char *const names[BOUND] = {
    [TENSOR] = "Tensor",
    [PARAMETER] = "Parameter",
    [EMPTY_LIKE] = "empty_like",
    [INCREMENT_VERSION] = "increment_version",
    [RECORD] = "record",
    [IS_NEG] = "is_neg",
    [INFERENCE_MODE] = "inference_mode",
    [FORWARD_AD] = "forward_ad",
    [PROFILER] = "profiler",
    [TRANSFORMS_ACTIVE] = "transforms_active",
    [DISPATCH_MODES] = "dispatch_modes",
    [FUNCTION_MODES] = "function_modes",
    [ANOTHER_THAN_DEFAULT_DEVICE] = "another_than_default_device",
    [TRACING] = "tracing",
    [AUTOCAST] = "autocast",
    [GRAD_ENABLED] = "grad_enabled",
    [NUM_THREADS] = "num_threads",
};

static PyObject *bound[BOUND];
static PyObject *current_level, *is_profiler_enabled, *requires_grad, *version; /* names, interned */

PyObject *cc1d_py_bind_torch(PyObject *module, PyObject *given) {
    (void)module;
    for (int i = 0; i < BOUND; i++) {
        PyObject *value = PyDict_GetItemString(given, names[i]); /* borrowed */
        if (!value) return PyErr_Format(PyExc_KeyError, "%s", names[i]);
        PyObject *before = bound[i];
        Py_INCREF(value);
        bound[i] = value;
        Py_XDECREF(before);
    }
    cc1d_set_tensor_type(bound[TENSOR]);
    if (!current_level) current_level = PyUnicode_InternFromString("_current_level");
    if (!requires_grad) requires_grad = PyUnicode_InternFromString("requires_grad");
    if (!is_profiler_enabled) is_profiler_enabled = PyUnicode_InternFromString("_is_profiler_enabled");
    if (!version) version = PyUnicode_InternFromString("_version");
    if (!current_level || !is_profiler_enabled || !requires_grad || !version) return NULL;
    Py_RETURN_NONE;
}

/* Forgets an error, which the general way will find again. Not an interrupt: that would be lost. */
static void forget_error(void) {
    if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_Exception)) PyErr_Clear();
}

/* Whether the answer is true; takes over the reference. A failed question counts as true, which is the answer
 * that leads to the general way. */
static bool is_true(PyObject *answer) {
    const bool result = !answer || PyObject_IsTrue(answer) != 0;
    forget_error();
    Py_XDECREF(answer);
    return result;
}

static bool ask(int question) { return is_true(PyObject_CallNoArgs(bound[question])); }

static bool in_forward_mode(void) {
    PyObject *level = PyObject_GetAttr(bound[FORWARD_AD], current_level);
    const bool result = !level || PyLong_AsLong(level) >= 0 || PyErr_Occurred();
    forget_error();
    Py_XDECREF(level);
    return result;
}

static bool is_profiled(void) { return is_true(PyObject_GetAttr(bound[PROFILER], is_profiler_enabled)); }

/* Whether something besides functorch has to see the operator: a mode, a tracer, a profiler, forward-mode
 * derivatives. */
static bool is_watched(void) {
    return ask(DISPATCH_MODES) || (ask(FUNCTION_MODES) && ask(ANOTHER_THAN_DEFAULT_DEVICE)) || ask(TRACING) ||
           is_profiled() || in_forward_mode();
}

/* A tensor of a class without behaviour of its own. */
static bool is_plain(PyObject *object) {
    PyObject *type = (PyObject *)Py_TYPE(object);
    return type == bound[TENSOR] || type == bound[PARAMETER];
}

static bool ask_of(int question, PyObject *tensor) {
    return is_true(PyObject_CallFunctionObjArgs(bound[question], tensor, NULL));
}

/* Where a tensor's memory is now; false where it has none, as on the meta device. */
static bool look(PyObject *object, cc1d_tensor *tensor) {
    const bool found = cc1d_borrow(object, "tensor", tensor) == 0;
    if (!found) PyErr_Clear();
    return found;
}

/* A tensor of zeros that PyTorch never allocated, or one whose storage was freed. */
static bool lacks_memory(PyObject *object) {
    cc1d_tensor tensor;
    if (!cc1d_has_exchange(object) || !look(object, &tensor) || tensor.data) return false;
    bool empty = tensor.ndim > CC1D_MAX_DIMS;
    for (int i = 0; i < tensor.ndim && !empty; i++) empty = tensor.shape[i] == 0;
    return !empty;
}

/* Whether a state may change in place: an inference tensor, which has no version, only in inference mode. */
static bool is_writable(PyObject *tensor) {
    PyObject *answer = PyObject_CallNoArgs(bound[INFERENCE_MODE]);
    PyObject *known = answer && answer != Py_True ? PyObject_GetAttr(tensor, version) : NULL;
    const bool result = known || answer == Py_True;
    forget_error();
    Py_XDECREF(known);
    Py_XDECREF(answer);
    return result;
}

/* Also true where an interrupt came in between, which is then still set. */
static bool grad_is_recorded(PyObject *const *tensors, int count) {
    if (!ask(GRAD_ENABLED)) return false;
    if (PyErr_Occurred()) return true;
    for (int i = 0; i < count; i++)
        if (tensors[i] != Py_None && is_true(PyObject_GetAttr(tensors[i], requires_grad))) return true;
    return false;
}

PyObject *cc1d_py_is_direct(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    bool direct = !ask(TRANSFORMS_ACTIVE) && !is_watched();
    for (Py_ssize_t i = 0; direct && i < count; i++)
        direct = (i >= 2 && arguments[i] == Py_None) ||
                 (is_plain(arguments[i]) && !ask_of(IS_NEG, arguments[i]) && !lacks_memory(arguments[i]));
    return PyErr_Occurred() ? NULL : PyBool_FromLong(direct);
}

/* ---- One call
 * ------------------------------------------------------------------------------------------------------- */

/* None; the general way will find again what was wrong. */
static PyObject *decline(void) {
    forget_error();
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

/* The same of a call whose result is there already. */
static PyObject *decline_with(PyObject *result) {
    Py_DECREF(result);
    return decline();
}

static bool read_activation(PyObject *object, cc1d_call *call) {
    const bool silu = PyUnicode_Check(object) && (PyUnicode_CompareWithASCIIString(object, "silu") == 0 ||
                                                  PyUnicode_CompareWithASCIIString(object, "swish") == 0);
    call->number[CC1D_ACTIVATION] = silu ? CC1D_ACTIVATION_SILU : CC1D_ACTIVATION_NONE;
    return silu || object == Py_None;
}

static bool is_on_cpu(PyObject *object) {
    cc1d_tensor tensor;
    return look(object, &tensor) && tensor.device == CC1D_CPU;
}

/* Gives the call what is not None, if nothing watches it. The first tensor is there and has to be on the CPU:
 * that is found out early, because elsewhere all of this comes on top of the general way. For the same reason
 * the exchange table has to be there; without it, borrowing is not cheap. */
static bool give(cc1d_call *call, const uint8_t *roles, PyObject *const *objects, int count) {
    if (!is_plain(objects[0]) || ask(TRANSFORMS_ACTIVE)) return false;
    for (int i = 0; i < count; i++) {
        if (i > 0 && objects[i] == Py_None) continue;
        if (!is_plain(objects[i]) || !cc1d_has_exchange(objects[i])) return false;
        if (i == 0 && (!is_on_cpu(objects[i]) || is_watched())) return false;
        if (ask_of(IS_NEG, objects[i])) return false;
        call->object[roles[i]] = objects[i];
    }
    return true;
}

/* A new tensor like the one of a role, given to the call in another. A new reference or NULL. */
static PyObject *result_like(cc1d_call *call, cc1d_role like, cc1d_role role) {
    PyObject *result = PyObject_CallFunctionObjArgs(bound[EMPTY_LIKE], call->object[like], NULL);
    if (result && !cc1d_has_exchange(result)) Py_CLEAR(result);
    call->object[role] = result;
    return result;
}

static cc1d_exec exec_now(void) {
    PyObject *number = PyObject_CallNoArgs(bound[NUM_THREADS]);
    const cc1d_exec exec = cc1d_exec_on(number ? (int32_t)PyLong_AsLong(number) : 1);
    forget_error();
    Py_XDECREF(number);
    return exec;
}

/* ---- Operations
 * ----------------------------------------------------------------------------------------------------- */

/* (x, weight, bias, activation) -> y, differentiable where a tensor requires a gradient. */
PyObject *cc1d_py_eager_forward(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    static const uint8_t roles[] = {CC1D_X, CC1D_WEIGHT, CC1D_BIAS};
    (void)module;
    if (count != 4) return PyErr_Format(PyExc_TypeError, "expected 4 arguments, got %zd", count);
    cc1d_call call;
    cc1d_clear(&call, CC1D_OP_FORWARD);
    if (!read_activation(arguments[3], &call) || !give(&call, roles, arguments, 3) || ask(AUTOCAST))
        return decline();
    PyObject *y = result_like(&call, CC1D_X, CC1D_OUT);
    if (!y) return decline();
    const cc1d_exec exec = exec_now();
    const bool records = !PyErr_Occurred() && grad_is_recorded(arguments, 3);
    if (PyErr_Occurred()) return decline_with(y); /* an interrupt */
    if (cc1d_borrow_all(&call)) return decline_with(y);
    const cc1d_forward_args args = cc1d_forward_args_of(&call);
    cc1d_status status;
    Py_BEGIN_ALLOW_THREADS status = cc1d_forward(&args, &exec);
    Py_END_ALLOW_THREADS if (status) return decline_with(y);
    if (!records) return y;
    PyObject *ready = Py_BuildValue("(NOi)", y, Py_None, (int)args.activation);
    PyObject *recorded = ready ? PyObject_CallFunctionObjArgs(bound[RECORD], ready, arguments[0],
                                                              arguments[1], arguments[2], NULL)
                               : NULL;
    Py_XDECREF(ready);
    return recorded;
}

static bool increment_version(PyObject *tensor) {
    PyObject *written = PyTuple_Pack(1, tensor);
    PyObject *none = written ? PyObject_CallFunctionObjArgs(bound[INCREMENT_VERSION], written, NULL) : NULL;
    Py_XDECREF(none);
    Py_XDECREF(written);
    return none != NULL;
}

/* (x, conv_state, weight, bias, cache_seqlens, conv_state_indices, num_accepted_tokens, pad_slot_id,
 * activation) -> y; only where nothing requires a gradient. */
PyObject *cc1d_py_eager_update(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    static const uint8_t roles[] = {CC1D_X,     CC1D_STATE,   CC1D_WEIGHT,  CC1D_BIAS,
                                    CC1D_CACHE, CC1D_INDICES, CC1D_ACCEPTED};
    (void)module;
    if (count != 9) return PyErr_Format(PyExc_TypeError, "expected 9 arguments, got %zd", count);
    cc1d_call call;
    cc1d_clear(&call, CC1D_OP_UPDATE);
    if (!read_activation(arguments[8], &call) || !give(&call, roles, arguments, 7) || ask(AUTOCAST) ||
        grad_is_recorded(arguments, 4) || !is_writable(arguments[1]))
        return decline();
    const int64_t pad_slot_id = PyLong_AsLongLong(arguments[7]);
    if (pad_slot_id != -1 && !call.object[CC1D_INDICES]) return decline(); /* it would mean nothing */
    if (pad_slot_id == -1 && PyErr_Occurred()) return decline();
    call.number[CC1D_PAD_SLOT_ID] = pad_slot_id;
    PyObject *y = result_like(&call, CC1D_X, CC1D_OUT);
    if (!y) return decline();
    const cc1d_exec exec = exec_now();
    if (PyErr_Occurred()) return decline_with(y); /* an interrupt */
    if (cc1d_borrow_all(&call)) return decline_with(y);
    const cc1d_update_args args = cc1d_update_args_of(&call);
    cc1d_status status;
    Py_BEGIN_ALLOW_THREADS status = cc1d_update(&args, &exec);
    Py_END_ALLOW_THREADS if (status) return decline_with(y);
    if (!increment_version(arguments[1])) Py_CLEAR(y);
    return y;
}

/* Scratch from malloc: asking PyTorch for it would run Python code while memory is borrowed. */
static cc1d_status run_backward(cc1d_call *call, const cc1d_exec *exec) {
    enum { ALIGNMENT = 64 };
    size_t bytes = 0;
    cc1d_backward_args args = cc1d_backward_args_of(call);
    cc1d_status status = cc1d_backward_scratch(&args, &bytes);
    if (status) return status;
    char *memory = PyMem_Malloc(bytes + ALIGNMENT);
    if (!memory) return CC1D_ERROR_MEMORY;
    args.scratch = memory + (ALIGNMENT - (uintptr_t)memory % ALIGNMENT);
    args.scratch_size = bytes;
    Py_BEGIN_ALLOW_THREADS status = cc1d_backward(&args, exec);
    Py_END_ALLOW_THREADS PyMem_Free(memory);
    return status;
}

/* (dout, saved, needs, activation) -> (None, dx, dweight, dbias), the gradients of RECORD's arguments. saved
 * is (x, weight, bias), needs says which of RECORD's arguments want a gradient. */
PyObject *cc1d_py_eager_backward(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    static const uint8_t roles[] = {CC1D_DOUT, CC1D_X, CC1D_WEIGHT, CC1D_BIAS};
    static const uint8_t results[] = {CC1D_DX, CC1D_DWEIGHT, CC1D_DBIAS};
    (void)module;
    if (count != 4) return PyErr_Format(PyExc_TypeError, "expected 4 arguments, got %zd", count);
    PyObject *const saved = arguments[1], *const needs = arguments[2];
    if (PyTuple_Size(saved) != 3 || PyTuple_Size(needs) != 4 || ask(GRAD_ENABLED)) return decline();
    PyObject *const tensors[] = {arguments[0], PyTuple_GetItem(saved, 0), PyTuple_GetItem(saved, 1),
                                 PyTuple_GetItem(saved, 2)};
    cc1d_call call;
    cc1d_clear(&call, CC1D_OP_BACKWARD);
    call.number[CC1D_ACTIVATION] = PyLong_AsLong(arguments[3]);
    if (!give(&call, roles, tensors, 4)) return decline();
    PyObject *gradients = PyTuple_New(4);
    bool done = gradients != NULL;
    for (int i = 0; done && i < 4; i++) {
        PyObject *gradient = Py_None;
        if (i > 0 && PyTuple_GetItem(needs, i) == Py_True)
            gradient = result_like(&call, (cc1d_role)roles[i], (cc1d_role)results[i - 1]);
        else
            Py_INCREF(gradient);
        done = gradient != NULL;
        PyTuple_SetItem(gradients, i, gradient);
    }
    if (done) {
        const cc1d_exec exec = exec_now();
        done = !PyErr_Occurred() && cc1d_borrow_all(&call) == 0 && run_backward(&call, &exec) == CC1D_OK;
    }
    if (done) return gradients;
    Py_XDECREF(gradients);
    return decline();
}
