/* numbers.c - see numbers.h. */
#include "numbers.h"

#include "core/names.h"
#include "torch.h"

int cc1d_read_code(PyObject *object, cc1d_call *call) {
    const long code = PyLong_AsLong(object);
    call->arguments.activation = (int32_t)code;
    if (code == call->arguments.activation) return PyErr_Occurred() ? -1 : 0;
    PyErr_SetString(PyExc_OverflowError, "activation: expected a 32-bit number");
    return -1;
}

int cc1d_read_activation(PyObject *object, cc1d_call *call) {
    const char *name = PyUnicode_Check(object) ? PyUnicode_AsUTF8AndSize(object, NULL) : NULL;
    const int32_t number = name ? cc1d_activation_named(name) : -1;
    call->arguments.activation = number > CC1D_ACTIVATION_NONE ? number : CC1D_ACTIVATION_NONE;
    if (object == Py_None || number > CC1D_ACTIVATION_NONE) return 0;
    PyErr_Clear();
    PyObject *code = cc1d_ask_torch(CC1D_PY_ACTIVATION, object, NULL); /* raises, or knows better */
    const int failed = !code || cc1d_read_code(code, call);
    Py_XDECREF(code);
    return failed ? -1 : 0;
}

int cc1d_read_slot_id(PyObject *object, cc1d_call *call) {
    call->arguments.pad_slot_id = PyLong_AsLongLong(object);
    PyObject *indices = call->object[call->object[CC1D_INDICES] ? CC1D_INDICES : CC1D_OUT_INDICES];
    if (call->arguments.pad_slot_id == -1 ? !PyErr_Occurred() : indices != NULL) return 0;
    PyErr_Clear();
    PyObject *number = cc1d_ask_torch(CC1D_PY_SLOT_ID, object, indices ? indices : Py_None, NULL);
    call->arguments.pad_slot_id = number ? PyLong_AsLongLong(number) : -1;
    Py_XDECREF(number);
    return PyErr_Occurred() ? -1 : 0;
}

int cc1d_read_max_seqlen(PyObject *object, cc1d_call *call) {
    PyObject *cu_seqlens = call->object[CC1D_CU];
    if (object == Py_None && !cu_seqlens) return 0;
    PyObject *number = cc1d_ask_torch(CC1D_PY_MAX_SEQLEN, object, cu_seqlens ? cu_seqlens : Py_None, NULL);
    call->arguments.max_seqlen = number ? PyLong_AsLongLong(number) : 0;
    Py_XDECREF(number);
    return PyErr_Occurred() ? -1 : 0;
}
