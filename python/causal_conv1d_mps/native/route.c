/* route.c - see route.h. */
#include "route.h"

#include "call.h"
#include "numbers.h"
#include "torch.h"

/* ---- Steps of a call
 * ------------------------------------------------------------------------------------------------ */

/* What becomes of a call: it goes on, the operators have to serve it, or an exception is set. */
typedef enum step { GO_ON, WATCHED, FAILED } step;

static step unless(int failed) { return failed ? FAILED : GO_ON; }

static PyObject *kept(PyObject *object) {
    Py_INCREF(object);
    return object;
}

/* Ends a call. result: a new reference or NULL, of a call that went on. */
static PyObject *finish(cc1d_call *call, step last, PyObject *result) {
    cc1d_release(call);
    if (last == WATCHED && !PyErr_Occurred()) return kept(Py_NotImplemented);
    return last == GO_ON ? result : NULL;
}

static int expect(Py_ssize_t count, int expected) {
    if (count == expected) return 0;
    PyErr_Format(PyExc_TypeError, "expected %d arguments, got %zd", expected, count);
    return -1;
}

/* Whether the call is plain: what is required is there, all are plain tensors, and nothing watches. */
static step look_around(const cc1d_call *call) {
    const cc1d_table *table = call->table;
    for (int i = 0; i < table->count; i++) {
        PyObject *object = call->object[table->argument[i].role];
        const bool missing = !table->argument[i].optional && i < table->inputs;
        if (object ? !cc1d_is_plain(object) : missing) return WATCHED;
    }
    /* An operator returns new results: only the kernels write to the caller's, and refuse what overlaps. */
    const bool writes = call->object[CC1D_OUT] || call->object[CC1D_FINAL] || call->object[CC1D_DX];
    return cc1d_is_watched() || (!writes && cc1d_is_profiled()) ? WATCHED : GO_ON;
}

static step take_plain(cc1d_call *call, PyObject *tensors) {
    return cc1d_take(call, tensors) ? FAILED : look_around(call);
}

/* With the tensors that autocast wants instead. */
static step follow_autocast(cc1d_call *call) {
    if (!cc1d_is_autocasting()) return GO_ON;
    if (PyErr_Occurred()) return FAILED;
    PyObject *tensors =
        PyObject_CallFunction(cc1d_torch(CC1D_PY_AUTOCAST), "sO", call->table->name, call->tensors);
    const int failed = !tensors || cc1d_take(call, tensors);
    Py_XDECREF(tensors);
    return unless(failed);
}

/* Whether autograd has to know of the call. */
static step ask_whether_recorded(const cc1d_call *call, bool *recorded) {
    *recorded = false;
    if (!cc1d_grad_is_enabled()) return GO_ON;
    for (int i = 0; i < call->table->count && !PyErr_Occurred() && !*recorded; i++) {
        const cc1d_argument *a = &call->table->argument[i];
        if (call->object[a->role] && a->kind != CC1D_KIND_INDEX)
            *recorded = cc1d_requires_grad(call->object[a->role]);
    }
    return unless(PyErr_Occurred() != NULL);
}

/* Of what the caller wants written. Python knows the reasons. */
static step check_targets(const cc1d_call *call, bool recorded) {
    for (int i = 0; i < call->table->count; i++) {
        const cc1d_argument *a = &call->table->argument[i];
        PyObject *object = a->written ? call->object[a->role] : NULL;
        if (!object || (!recorded && cc1d_is_writable(object))) continue;
        if (PyErr_Occurred()) return FAILED;
        PyObject *none = PyObject_CallFunction(cc1d_torch(CC1D_PY_CHECK_TARGETS), "sOi", call->table->name,
                                               call->tensors, (int)recorded);
        Py_XDECREF(none);
        return unless(!none);
    }
    return GO_ON;
}

/* The inputs and what the caller wants written, in the table's order; None where there is none. */
static PyObject *given_tensors(const cc1d_call *call) {
    PyObject *tuple = PyTuple_New(call->table->count);
    for (int i = 0; tuple && i < call->table->count; i++) {
        const int role = call->table->argument[i].role;
        PyObject *object = call->object[role];
        PyTuple_SetItem(tuple, i, kept(object && !call->made[role] ? object : Py_None));
    }
    return tuple;
}

/* After a call was refused: PyTorch may know more about the reason, or that the operators are to be asked. */
static step explain(const cc1d_call *call) {
    if (!PyErr_ExceptionMatches(PyExc_TypeError) && !PyErr_ExceptionMatches(PyExc_ValueError) &&
        !PyErr_ExceptionMatches(PyExc_RuntimeError) && !PyErr_ExceptionMatches(PyExc_BufferError))
        return FAILED;
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    PyObject *answer = PyObject_CallFunction(cc1d_torch(CC1D_PY_EXPLAIN), "sNO", call->table->name,
                                             given_tensors(call), error);
    const step result = answer == Py_NotImplemented ? WATCHED : FAILED;
    if (answer && result == FAILED) {
        PyErr_Restore(type, error, traceback);
    } else {
        Py_XDECREF(type);
        Py_XDECREF(error);
        Py_XDECREF(traceback);
    }
    Py_XDECREF(answer);
    return result;
}

/* A tensor of zeros that PyTorch never allocated, or one whose storage was freed. */
static bool lacks_memory(const cc1d_call *call) {
    for (int role = 0; role < CC1D_ROLES; role++) {
        const cc1d_tensor *tensor = call->arguments.tensor[role];
        if (!tensor || tensor->data || tensor->ndim > CC1D_MAX_DIMS) continue;
        bool empty = false;
        for (int i = 0; i < tensor->ndim && !empty; i++) empty = tensor->shape[i] == 0;
        if (!empty) return true;
    }
    return false;
}

/* Makes the results that are wanted, borrows and runs. state_len: of varlen_states. */
static step execute(cc1d_call *call, PyObject *state_len) {
    if (cc1d_make_results(call, state_len)) return explain(call);
    if (cc1d_borrow_all(call)) return explain(call);
    if (lacks_memory(call)) return WATCHED;
    return cc1d_run_borrowed(call) ? explain(call) : GO_ON;
}

/* Tells autograd what the call has written of the caller's. */
static step bump_versions(const cc1d_call *call) {
    for (int i = 0; i < call->table->count; i++) {
        const cc1d_argument *a = &call->table->argument[i];
        if (a->written && call->object[a->role] && !call->made[a->role] &&
            cc1d_bump_version(call->object[a->role]))
            return FAILED;
    }
    return GO_ON;
}

/* The results in the table's order. */
static PyObject *results_of(const cc1d_call *call) {
    const cc1d_table *table = call->table;
    PyObject *tuple = PyTuple_New(table->count - table->inputs);
    for (int i = table->inputs; tuple && i < table->count; i++) {
        PyObject *object = call->object[table->argument[i].role];
        PyTuple_SetItem(tuple, i - table->inputs, kept(object ? object : Py_None));
    }
    return tuple;
}

/* ---- Forward
 * -------------------------------------------------------------------------------------------------------- */

/* Of a call without a pool of states. */
static int pure_inputs(const cc1d_table *table) {
    int count = 0;
    while (!table->argument[count].written) count++;
    return count;
}

/* (y, final_states) as results of the operation, for autograd: y or both. */
static PyObject *record(const cc1d_call *call) {
    const cc1d_table *table = call->table;
    const int all = pure_inputs(table);
    int count = 3; /* an argument costs time in both passes */
    for (int i = count; i < all; i++)
        if (call->object[table->argument[i].role]) count = all;
    PyObject *final_states = call->object[CC1D_FINAL];
    PyObject *ready = Py_BuildValue("(OOi)", call->object[CC1D_OUT], final_states ? final_states : Py_None,
                                    (int)call->arguments.activation);
    PyObject *arguments = ready ? PyTuple_New(count + 1) : NULL;
    if (!arguments) {
        Py_XDECREF(ready);
        return NULL;
    }
    PyTuple_SetItem(arguments, 0, ready);
    for (int i = 0; i < count; i++) {
        PyObject *object = call->object[table->argument[i].role];
        PyTuple_SetItem(arguments, i + 1, kept(object ? object : Py_None));
    }
    PyObject *recorded = PyObject_CallObject(cc1d_torch(CC1D_PY_RECORD), arguments);
    Py_DECREF(arguments);
    return recorded;
}

/* What a recorded call returns. target: the caller's tensor for the states, which autograd then knows. */
static PyObject *recorded_results(const cc1d_call *call, PyObject *target, bool with_states) {
    PyObject *recorded = record(call);
    if (!recorded || !target) return recorded;
    PyObject *states = PyObject_CallMethod(target, "copy_", "O", PyTuple_GetItem(recorded, 1) /* borrowed */);
    PyObject *y = PyTuple_GetItem(recorded, 0);
    PyObject *result = !states ? NULL : with_states ? PyTuple_Pack(2, y, states) : kept(y);
    Py_XDECREF(states);
    Py_DECREF(recorded);
    return result;
}

/* y of a call that has changed a state, which has no backward pass. */
static PyObject *pooled_result(const cc1d_call *call, bool recorded) {
    PyObject *y = call->object[CC1D_OUT];
    return recorded ? cc1d_ask_torch(CC1D_PY_WITHOUT_DERIVATIVE, y, NULL) : kept(y);
}

PyObject *cc1d_py_forward(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    if (count != 4 && expect(count, 3)) return NULL;
    const bool with_states = arguments[2] != Py_False && PyObject_IsTrue(arguments[2]);
    cc1d_call call;
    cc1d_clear(&call, CC1D_OP_FORWARD);
    bool recorded = false;
    step step = unless(PyErr_Occurred() || cc1d_read_activation(arguments[1], &call));
    if (step == GO_ON) step = unless(cc1d_take(&call, arguments[0]));
    if (step == GO_ON && count > 3) step = unless(cc1d_read_slot_id(arguments[3], &call));
    if (step == GO_ON) step = look_around(&call);
    if (step == GO_ON) step = follow_autocast(&call);
    if (step == GO_ON) step = ask_whether_recorded(&call, &recorded);
    if (step == GO_ON) step = check_targets(&call, recorded);
    if (step != GO_ON) return finish(&call, step, NULL);
    const bool pooled = call.object[CC1D_STATE] != NULL;
    PyObject *target = call.object[CC1D_FINAL];
    call.wanted[CC1D_OUT] = !call.object[CC1D_OUT];
    call.wanted[CC1D_FINAL] = target ? recorded && !pooled : with_states;
    step = execute(&call, NULL);
    if (step == GO_ON && (pooled || !recorded)) step = bump_versions(&call);
    if (step != GO_ON) return finish(&call, step, NULL);
    PyObject *result = pooled        ? pooled_result(&call, recorded)
                       : recorded    ? recorded_results(&call, target, with_states)
                       : with_states ? results_of(&call)
                                     : kept(call.object[CC1D_OUT]);
    return finish(&call, GO_ON, result);
}

/* ---- States
 * ---------------------------------------------------------------------------------------------------------
 */

PyObject *cc1d_py_update(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    if (expect(count, 4)) return NULL;
    cc1d_call call;
    cc1d_clear(&call, CC1D_OP_UPDATE);
    bool recorded = false;
    step step = unless(cc1d_read_activation(arguments[1], &call) || cc1d_take(&call, arguments[0]) ||
                       cc1d_read_slot_id(arguments[2], &call) || cc1d_read_max_seqlen(arguments[3], &call));
    if (step == GO_ON) step = look_around(&call);
    if (step == GO_ON) step = follow_autocast(&call);
    if (step == GO_ON) step = ask_whether_recorded(&call, &recorded);
    if (step == GO_ON) step = check_targets(&call, recorded);
    if (step != GO_ON) return finish(&call, step, NULL);
    call.wanted[CC1D_OUT] = !call.object[CC1D_OUT];
    step = execute(&call, NULL);
    if (step == GO_ON) step = bump_versions(&call);
    if (step != GO_ON) return finish(&call, step, NULL);
    return finish(&call, GO_ON, pooled_result(&call, recorded));
}

PyObject *cc1d_py_varlen_states(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    if (expect(count, 2)) return NULL;
    cc1d_call call;
    cc1d_clear(&call, CC1D_OP_VARLEN_STATES);
    bool recorded = false;
    step step = take_plain(&call, arguments[0]);
    if (step == GO_ON) step = ask_whether_recorded(&call, &recorded);
    if (step == GO_ON) step = check_targets(&call, recorded);
    if (step != GO_ON) return finish(&call, step, NULL);
    call.wanted[CC1D_FINAL] = !call.object[CC1D_FINAL];
    step = execute(&call, arguments[1]);
    if (step == GO_ON) step = bump_versions(&call);
    return finish(&call, step, step == GO_ON ? kept(call.object[CC1D_FINAL]) : NULL);
}

/* ---- Backward
 * ------------------------------------------------------------------------------------------------------- */

PyObject *cc1d_py_backward(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    if (expect(count, 2)) return NULL;
    cc1d_call call;
    cc1d_clear(&call, CC1D_OP_BACKWARD);
    step step = unless(cc1d_read_code(arguments[1], &call));
    if (step == GO_ON) step = take_plain(&call, arguments[0]);
    if (step == GO_ON) step = check_targets(&call, false);
    if (step == GO_ON) step = execute(&call, NULL);
    if (step == GO_ON) step = bump_versions(&call);
    return finish(&call, step, step == GO_ON ? results_of(&call) : NULL);
}

/* The place of a gradient among record's arguments: after the first, in forward's order. */
static int place_of(const cc1d_call *call, const cc1d_argument *gradient) {
    const cc1d_table *forward = &cc1d_tables[CC1D_OP_FORWARD];
    int place = 0;
    while (forward->argument[place].role != call->table->argument[gradient->like].role) place++;
    return place + 1;
}

static bool want_gradients(cc1d_call *call, PyObject *needs) {
    const cc1d_table *table = call->table;
    bool any = false;
    for (int i = table->inputs; i < table->count; i++) {
        const cc1d_argument *a = &table->argument[i];
        const int place = place_of(call, a);
        call->wanted[a->role] = place < PyTuple_Size(needs) && PyTuple_GetItem(needs, place) == Py_True;
        any = any || call->wanted[a->role];
    }
    return any;
}

static PyObject *arrange_gradients(const cc1d_call *call, Py_ssize_t count) {
    const cc1d_table *table = call->table;
    PyObject *tuple = PyTuple_New(count);
    for (Py_ssize_t i = 0; tuple && i < count; i++) PyTuple_SetItem(tuple, i, kept(Py_None));
    for (int i = table->inputs; tuple && i < table->count; i++) {
        const cc1d_argument *a = &table->argument[i];
        if (call->made[a->role]) PyTuple_SetItem(tuple, place_of(call, a), kept(call->object[a->role]));
    }
    return tuple;
}

PyObject *cc1d_py_gradients(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    if (expect(count, 5)) return NULL;
    PyObject *const needs = arguments[3];
    cc1d_call call;
    cc1d_clear(&call, CC1D_OP_FORWARD); /* saved is in its order */
    if (!PyTuple_Check(needs) || cc1d_read_code(arguments[4], &call) || cc1d_take(&call, arguments[0]))
        return finish(&call, FAILED, NULL);
    cc1d_turn_into(&call, CC1D_OP_BACKWARD);
    call.object[CC1D_DOUT] = arguments[1];
    call.object[CC1D_DFINAL] = arguments[2] == Py_None ? NULL : arguments[2];
    step step = GO_ON;
    if (want_gradients(&call, needs)) {
        step = cc1d_grad_is_enabled() ? WATCHED : look_around(&call);
        if (step == GO_ON) step = execute(&call, NULL);
    }
    return finish(&call, step, step == GO_ON ? arrange_gradients(&call, PyTuple_Size(needs)) : NULL);
}

/* ---- For the operators
 * ---------------------------------------------------------------------------------------------- */

PyObject *cc1d_py_run(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    if ((count < 2 || count > 6) && expect(count, 6)) return NULL;
    const int op = cc1d_find_operation(arguments[0]);
    if (op < 0) return NULL;
    cc1d_call call;
    cc1d_clear(&call, (cc1d_operation)op);
    int failed = cc1d_take(&call, arguments[1]) || (count > 2 && cc1d_read_code(arguments[2], &call));
    if (!failed && count > 3) call.arguments.pad_slot_id = PyLong_AsLongLong(arguments[3]);
    if (!failed && !PyErr_Occurred() && count > 4) call.num_threads = (int32_t)PyLong_AsLong(arguments[4]);
    if (!failed && !PyErr_Occurred() && count > 5)
        call.arguments.max_seqlen = PyLong_AsLongLong(arguments[5]);
    failed = failed || PyErr_Occurred() || cc1d_make_results(&call, NULL);
    step step = unless(failed);
    if (step == GO_ON && (cc1d_borrow_all(&call) || cc1d_run_borrowed(&call))) step = explain(&call);
    return finish(&call, step, step == GO_ON ? results_of(&call) : NULL);
}
