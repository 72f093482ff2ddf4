/* _call.c - see _call.h. */
#include "_call.h"

#include <stddef.h>
#include <string.h>

#include "names.h"

enum { FIRST_NUMBER = CC1D_ROLES, ALLOC = CC1D_ROLES + CC1D_NUMBERS };
#define NUMBER(n) (FIRST_NUMBER + (n))

const cc1d_signature cc1d_forward_signature = {
    .op = CC1D_OP_FORWARD,
    .count = 11,
    .argument = {CC1D_X, CC1D_WEIGHT, CC1D_BIAS, CC1D_SEQ_IDX, CC1D_CU, CC1D_INITIAL, CC1D_RESIDUAL, CC1D_OUT,
                 CC1D_FINAL, NUMBER(CC1D_ACTIVATION), NUMBER(CC1D_NUM_THREADS)}};

const cc1d_signature cc1d_backward_signature = {
    .op = CC1D_OP_BACKWARD,
    .count = 15,
    .argument = {CC1D_DOUT, CC1D_X, CC1D_WEIGHT, CC1D_BIAS, CC1D_SEQ_IDX, CC1D_CU, CC1D_INITIAL, CC1D_DFINAL,
                 CC1D_DX, CC1D_DWEIGHT, CC1D_DBIAS, CC1D_DINITIAL, NUMBER(CC1D_ACTIVATION), ALLOC,
                 NUMBER(CC1D_NUM_THREADS)}};

const cc1d_signature cc1d_update_signature = {
    .op = CC1D_OP_UPDATE,
    .count = 11,
    .argument = {CC1D_X, CC1D_STATE, CC1D_WEIGHT, CC1D_BIAS, CC1D_CACHE, CC1D_INDICES, CC1D_ACCEPTED,
                 CC1D_OUT, NUMBER(CC1D_PAD_SLOT_ID), NUMBER(CC1D_ACTIVATION), NUMBER(CC1D_NUM_THREADS)}};

const cc1d_signature cc1d_varlen_states_signature = {
    .op = CC1D_OP_VARLEN_STATES,
    .count = 4,
    .argument = {CC1D_X, CC1D_CU, CC1D_FINAL, NUMBER(CC1D_NUM_THREADS)}};

static bool is_written(int role) {
    return role == CC1D_OUT || role == CC1D_FINAL || role == CC1D_STATE || role == CC1D_SCRATCH ||
           (role >= CC1D_DX && role <= CC1D_DINITIAL);
}

void cc1d_clear(cc1d_call *call, cc1d_operation op) {
    memset(call, 0, offsetof(cc1d_call, tensor));
    call->op = op;
}

static int unpack_number(cc1d_call *call, cc1d_number number, PyObject *object) {
    call->number[number] = PyLong_AsLongLong(object);
    if (PyErr_Occurred()) return -1;
    if (number == CC1D_PAD_SLOT_ID || call->number[number] == (int32_t)call->number[number]) return 0;
    PyErr_SetString(PyExc_OverflowError, "activation and num_threads: expected 32-bit numbers");
    return -1;
}

int cc1d_unpack(const cc1d_signature *signature, PyObject *const *arguments, Py_ssize_t count,
                cc1d_call *call) {
    cc1d_clear(call, signature->op);
    if (count != signature->count) {
        PyErr_Format(PyExc_TypeError, "expected %d positional arguments, got %zd", signature->count, count);
        return -1;
    }
    for (int i = 0; i < signature->count; i++) {
        const int kind = signature->argument[i];
        if (kind == ALLOC)
            call->alloc = arguments[i];
        else if (kind < FIRST_NUMBER)
            call->object[kind] = arguments[i] == Py_None ? NULL : arguments[i];
        else if (unpack_number(call, (cc1d_number)(kind - FIRST_NUMBER), arguments[i]))
            return -1;
    }
    return 0;
}

/* Forgets what was borrowed. May run Python code. */
static void give_back(cc1d_call *call) {
    for (int i = 0; i <= CC1D_SCRATCH; i++) {
        PyObject *keep = call->keep[i];
        call->keep[i] = NULL;
        call->given[i] = NULL;
        Py_XDECREF(keep);
    }
}

void cc1d_release(cc1d_call *call) {
    give_back(call);
    Py_CLEAR(call->object[CC1D_SCRATCH]);
}

static const char *name_of(const cc1d_call *call, int role) {
    return role == CC1D_SCRATCH ? "scratch" : cc1d_role_name(call->op, (cc1d_role)role);
}

/* nn.Conv1d's weight (D, 1, W) is (D, W) by another name, and so is its gradient. */
static void squeeze(cc1d_tensor *weight) {
    if (weight->ndim != 3 || weight->shape[1] != 1) return;
    weight->ndim = 2;
    weight->shape[1] = weight->shape[2];
    weight->strides[1] = weight->strides[2];
}

static void set_given(cc1d_call *call, int role) {
    if (role == CC1D_WEIGHT || role == CC1D_DWEIGHT) squeeze(&call->tensor[role]);
    call->given[role] = &call->tensor[role];
}

int cc1d_take_scratch(cc1d_call *call) {
    const cc1d_tensor *s = call->given[CC1D_SCRATCH], *x = call->given[CC1D_X];
    if (!s) return 0;
    if (s->dtype != CC1D_UINT8 || s->ndim != 1 || s->shape[0] < 0 ||
        (s->shape[0] > 1 && s->strides[0] != 1)) {
        PyErr_SetString(PyExc_ValueError, "scratch: expected contiguous bytes, a tensor of dtype uint8");
        return -1;
    }
    if (x && (s->device != x->device || s->device_index != x->device_index)) {
        PyErr_SetString(PyExc_ValueError, "scratch: expected memory on x's device");
        return -1;
    }
    call->scratch_size = (size_t)s->shape[0];
    call->scratch = s->data ? (char *)s->data + s->byte_offset : NULL;
    return 0;
}

/* First those whose __dlpack__ may run anything, without garbage collections, which would run more; those of
 * the table, which run nothing, last. */
static int borrow_each(cc1d_call *call) {
    int failed = 0;
    for (int i = 0; i <= CC1D_SCRATCH && !failed; i++)
        if (call->object[i] && !cc1d_has_exchange(call->object[i]))
            failed = cc1d_borrow_capsule(call->object[i], name_of(call, i), is_written(i), &call->tensor[i],
                                         &call->keep[i]);
    for (int i = 0; i <= CC1D_SCRATCH && !failed; i++) {
        if (!call->object[i]) continue;
        if (cc1d_has_exchange(call->object[i]))
            failed = cc1d_borrow(call->object[i], name_of(call, i), &call->tensor[i]);
        if (!failed) set_given(call, i);
    }
    return failed || cc1d_take_scratch(call) ? -1 : 0;
}

int cc1d_borrow_all(cc1d_call *call) {
    give_back(call);
    const int collecting = PyGC_Disable();
    const int failed = borrow_each(call);
    if (collecting) PyGC_Enable();
    return failed;
}

int cc1d_describe_all(cc1d_call *call) {
    for (int i = 0; i <= CC1D_SCRATCH; i++) {
        if (!call->object[i] || call->given[i]) continue;
        if (cc1d_describe(call->object[i], name_of(call, i), &call->tensor[i])) return -1;
        set_given(call, i);
    }
    return 0;
}

int cc1d_allocate_scratch(cc1d_call *call, size_t bytes) {
    if (bytes == 0) return 0;
    call->object[CC1D_SCRATCH] = PyObject_CallFunction(call->alloc, "n", (Py_ssize_t)bytes);
    return call->object[CC1D_SCRATCH] ? 0 : -1;
}

cc1d_forward_args cc1d_forward_args_of(const cc1d_call *call) {
    return (cc1d_forward_args){
        .size = sizeof(cc1d_forward_args),
        .x = call->given[CC1D_X],
        .weight = call->given[CC1D_WEIGHT],
        .bias = call->given[CC1D_BIAS],
        .seq_idx = call->given[CC1D_SEQ_IDX],
        .cu_seqlens = call->given[CC1D_CU],
        .initial_states = call->given[CC1D_INITIAL],
        .residual = call->given[CC1D_RESIDUAL],
        .out = call->given[CC1D_OUT],
        .final_states = call->given[CC1D_FINAL],
        .activation = (int32_t)call->number[CC1D_ACTIVATION],
    };
}

cc1d_backward_args cc1d_backward_args_of(const cc1d_call *call) {
    return (cc1d_backward_args){
        .size = sizeof(cc1d_backward_args),
        .dout = call->given[CC1D_DOUT],
        .x = call->given[CC1D_X],
        .weight = call->given[CC1D_WEIGHT],
        .bias = call->given[CC1D_BIAS],
        .seq_idx = call->given[CC1D_SEQ_IDX],
        .cu_seqlens = call->given[CC1D_CU],
        .initial_states = call->given[CC1D_INITIAL],
        .dfinal_states = call->given[CC1D_DFINAL],
        .dx = call->given[CC1D_DX],
        .dweight = call->given[CC1D_DWEIGHT],
        .dbias = call->given[CC1D_DBIAS],
        .dinitial_states = call->given[CC1D_DINITIAL],
        .activation = (int32_t)call->number[CC1D_ACTIVATION],
        .scratch = call->scratch,
        .scratch_size = call->scratch_size,
    };
}

cc1d_update_args cc1d_update_args_of(const cc1d_call *call) {
    return (cc1d_update_args){
        .size = sizeof(cc1d_update_args),
        .x = call->given[CC1D_X],
        .conv_state = call->given[CC1D_STATE],
        .weight = call->given[CC1D_WEIGHT],
        .bias = call->given[CC1D_BIAS],
        .cache_seqlens = call->given[CC1D_CACHE],
        .conv_state_indices = call->given[CC1D_INDICES],
        .num_accepted_tokens = call->given[CC1D_ACCEPTED],
        .out = call->given[CC1D_OUT],
        .pad_slot_id = call->number[CC1D_PAD_SLOT_ID],
        .activation = (int32_t)call->number[CC1D_ACTIVATION],
    };
}

cc1d_varlen_states_args cc1d_varlen_states_args_of(const cc1d_call *call) {
    return (cc1d_varlen_states_args){
        .size = sizeof(cc1d_varlen_states_args),
        .x = call->given[CC1D_X],
        .cu_seqlens = call->given[CC1D_CU],
        .states = call->given[CC1D_FINAL],
    };
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
