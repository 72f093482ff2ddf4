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
    return role == CC1D_OUT || role == CC1D_FINAL || role == CC1D_STATE ||
           (role >= CC1D_DX && role <= CC1D_DINITIAL);
}

void cc1d_clear(cc1d_call *call) { memset(call, 0, offsetof(cc1d_call, tensor)); }

static void given(cc1d_call *call, int role, PyObject *object) {
    call->given[role] = &call->tensor[role];
    call->object[role] = object;
}

int cc1d_give(cc1d_call *call, cc1d_operation op, cc1d_role role, PyObject *object) {
    if (cc1d_borrow(object, cc1d_role_name(op, role), is_written(role), &call->tensor[role],
                    &call->keep[role]))
        return -1;
    given(call, role, object);
    return 0;
}

int cc1d_unpack(const cc1d_signature *signature, PyObject *const *arguments, Py_ssize_t count, bool on_metal,
                cc1d_call *call) {
    cc1d_clear(call);
    if (count != signature->count) {
        PyErr_Format(PyExc_TypeError, "expected %d positional arguments, got %zd", signature->count, count);
        return -1;
    }
    for (int i = 0; i < signature->count; i++) {
        const int kind = signature->argument[i];
        if (kind == ALLOC) {
            call->alloc = arguments[i];
        } else if (kind >= FIRST_NUMBER) {
            call->number[kind - FIRST_NUMBER] = PyLong_AsLongLong(arguments[i]);
            if (PyErr_Occurred()) return -1;
            const int number = kind - FIRST_NUMBER;
            if (number != CC1D_PAD_SLOT_ID && call->number[number] != (int32_t)call->number[number]) {
                PyErr_SetString(PyExc_OverflowError, "activation and num_threads: expected 32-bit numbers");
                return -1;
            }
        } else if (arguments[i] != Py_None) {
            if (!on_metal) {
                if (cc1d_give(call, signature->op, (cc1d_role)kind, arguments[i])) return -1;
                continue;
            }
            const char *name = cc1d_role_name(signature->op, (cc1d_role)kind);
            if (cc1d_describe(arguments[i], name, &call->tensor[kind])) return -1;
            given(call, kind, arguments[i]);
        }
    }
    return 0;
}

void cc1d_release(cc1d_call *call) {
    for (int i = 0; i < CC1D_ROLES; i++) Py_XDECREF(call->keep[i]);
    Py_XDECREF(call->scratch_keep);
    Py_XDECREF(call->scratch_object);
}

int cc1d_allocate_scratch(cc1d_call *call) {
    if (call->scratch_size == 0) return 0;
    call->scratch_object = PyObject_CallFunction(call->alloc, "n", (Py_ssize_t)call->scratch_size);
    if (!call->scratch_object) return -1;
    return cc1d_borrow(call->scratch_object, "scratch", true, &call->scratch, &call->scratch_keep);
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
        .scratch = call->scratch_object ? (char *)call->scratch.data + call->scratch.byte_offset : NULL,
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
