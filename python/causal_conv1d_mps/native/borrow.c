/* borrow.c - see borrow.h. Everything here runs with the GIL held. */
#include "borrow.h"

#include <string.h>

#include "core/dtype.h"
#include "dlpack.h"

/* ---- The exchange table of PyTorch's tensors
 * -------------------------------------------------------------------- */

static PyTypeObject *tensor_type;
static const dl_exchange *table; /* that type's; NULL: it has none */

/* The table that a type offers, of DLPack major version 1; NULL where there is none. Clears exceptions. */
static const dl_exchange *look_up_exchange(PyObject *type) {
    PyObject *capsule = PyObject_GetAttrString(type, "__dlpack_c_exchange_api__");
    const dl_exchange *exchange = capsule ? PyCapsule_GetPointer(capsule, "dlpack_exchange_api") : NULL;
    while (exchange && exchange->version.major > 1) exchange = exchange->previous;
    if (exchange && (exchange->version.major != 1 || !exchange->tensor_from_object)) exchange = NULL;
    Py_XDECREF(capsule); /* the table itself lives as long as the framework */
    PyErr_Clear();
    return exchange;
}

void cc1d_set_tensor_type(PyObject *type) {
    PyObject *before = (PyObject *)tensor_type;
    Py_INCREF(type);
    tensor_type = (PyTypeObject *)type;
    table = look_up_exchange(type);
    Py_XDECREF(before);
}

bool cc1d_has_exchange(PyObject *object) {
    return table && (Py_TYPE(object) == tensor_type || PyType_IsSubtype(Py_TYPE(object), tensor_type));
}

/* ---- DLPack to cc1d_tensor
 * --------------------------------------------------------------------------------------- */

/* -1 where the dtype is none that has a name in the C API; validation refuses it. */
static int32_t dtype_of(const dl_tensor *t) {
#define COMPARE(dtype_, name, bytes, use, kind) \
    if (t->dtype.code == (kind) && t->dtype.bits == 8 * (bytes) && t->dtype.lanes == 1) return dtype_;
    CC1D_EACH_DTYPE(COMPARE)
#undef COMPARE
    return -1;
}

static int convert(const dl_tensor *from, const char *name, cc1d_tensor *to) {
    memset(to, 0, sizeof *to);
    switch (from->device.type) {
    case DL_CPU:
    case DL_CUDA_HOST: to->device = CC1D_CPU; break;
    case DL_CUDA:
    case DL_CUDA_MANAGED: to->device = CC1D_CUDA; break;
    case DL_METAL: to->device = CC1D_METAL; break;
    default:
        PyErr_Format(PyExc_NotImplementedError,
                     "%s: expected a tensor on cpu, cuda or mps, got DLPack device type %d", name,
                     (int)from->device.type);
        return -1;
    }
    if (from->ndim < 0 || (from->ndim > 0 && !from->shape) || from->byte_offset > PTRDIFF_MAX) {
        PyErr_Format(PyExc_ValueError,
                     "%s: expected a DLPack tensor with a shape and a byte_offset below 2^63, got %d "
                     "dimensions, a shape at %p and byte_offset %llu",
                     name, (int)from->ndim, (void *)from->shape, (unsigned long long)from->byte_offset);
        return -1;
    }
    to->device_index = to->device == CC1D_CPU ? 0 : from->device.id;
    to->data = from->data;
    to->byte_offset = from->byte_offset;
    to->dtype = dtype_of(from);
    to->ndim = from->ndim;
    if (from->ndim > CC1D_MAX_DIMS) return 0; /* refused by its number of dimensions, which may be a lie */
    uint64_t contiguous = 1;                  /* modulo 2^64: sizes are checked later */
    for (int32_t i = from->ndim - 1; i >= 0; i--) {
        to->shape[i] = from->shape[i];
        to->strides[i] = from->strides ? from->strides[i] : (int64_t)contiguous;
        contiguous *= (uint64_t)from->shape[i];
    }
    return 0;
}

/* ---- The __dlpack__ protocol
 * --------------------------------------------------------------------------------------- */

static int not_a_tensor(PyObject *object, const char *name) {
    PyObject *type_name = PyObject_GetAttrString((PyObject *)Py_TYPE(object), "__name__");
    if (type_name) PyErr_Format(PyExc_TypeError, "%s: expected a tensor, got %U", name, type_name);
    Py_XDECREF(type_name);
    return -1;
}

/* object.__dlpack__() with the arguments that it understands. A new reference, or NULL with an exception. */
static PyObject *export_capsule(PyObject *object) {
    PyObject *method = PyObject_GetAttrString(object, "__dlpack__");
    if (!method) return NULL;
    PyObject *none = PyTuple_New(0);
    PyObject *options = Py_BuildValue("{s:(ii)}", "max_version", 1, 3);
    PyObject *capsule = none && options ? PyObject_Call(method, none, options) : NULL;
    if (!capsule && PyErr_ExceptionMatches(PyExc_TypeError)) { /* a producer from before DLPack 1.0 */
        PyErr_Clear();
        capsule = PyObject_Call(method, none, NULL);
    }
    Py_XDECREF(options);
    Py_XDECREF(none);
    Py_DECREF(method);
    return capsule;
}

int cc1d_borrow_capsule(PyObject *object, const char *name, bool writable, cc1d_tensor *tensor,
                        PyObject **keep) {
    *keep = NULL;
    if (!PyObject_HasAttrString(object, "__dlpack__")) return not_a_tensor(object, name);
    /* __dlpack__ refuses tensors that require a gradient; the same memory without it is what is needed here.
     */
    PyObject *source =
        PyObject_HasAttrString(object, "detach") ? PyObject_CallMethod(object, "detach", NULL) : object;
    if (!source) return -1;
    PyObject *capsule = export_capsule(source);
    if (source != object) Py_DECREF(source); /* the capsule holds the memory */
    if (!capsule) return -1;
    const dl_tensor *from = NULL;
    bool read_only = false;
    if (PyCapsule_IsValid(capsule, "dltensor_versioned")) {
        const dl_managed_versioned *managed = PyCapsule_GetPointer(capsule, "dltensor_versioned");
        if (managed->version.major == 1) from = &managed->tensor;
        read_only = managed->version.major == 1 && (managed->flags & DL_FLAG_READ_ONLY);
    } else if (PyCapsule_IsValid(capsule, "dltensor")) {
        from = &((const dl_managed *)PyCapsule_GetPointer(capsule, "dltensor"))->tensor;
    }
    int result = -1;
    if (!from)
        PyErr_Format(PyExc_TypeError, "%s: expected a DLPack 0 or 1 tensor, got a capsule of another kind",
                     name);
    else if (read_only && writable)
        PyErr_Format(PyExc_ValueError, "%s: expected writable memory, got a read-only tensor", name);
    else
        result = convert(from, name, tensor);
    if (result == 0)
        *keep = capsule; /* never renamed to "used", so its own destructor frees it */
    else
        Py_DECREF(capsule);
    return result;
}

int cc1d_borrow(PyObject *object, const char *name, cc1d_tensor *tensor) {
    dl_tensor view;
    if (table->tensor_from_object(object, &view)) return -1;
    return convert(&view, name, tensor);
}

/* ---- Attributes
 * ------------------------------------------------------------------------------------------------------ */

static int32_t dtype_from_name(PyObject *dtype) {
    int32_t result = -1;
    PyObject *text = PyObject_Str(dtype);
#define COMPARE(dtype_, name, bytes, use, kind) \
    if (text && PyUnicode_CompareWithASCIIString(text, "torch." name) == 0) result = dtype_;
    CC1D_EACH_DTYPE(COMPARE)
#undef COMPARE
    Py_XDECREF(text);
    return result;
}

static int read_sizes(PyObject *tuple, int32_t ndim, int64_t *sizes) {
    for (int32_t i = 0; i < ndim && i < CC1D_MAX_DIMS; i++) {
        PyObject *item = tuple ? PySequence_GetItem(tuple, i) : NULL;
        sizes[i] = item ? PyLong_AsLongLong(item) : -1;
        Py_XDECREF(item);
        if (PyErr_Occurred()) return -1;
    }
    return 0;
}

int32_t cc1d_device_named(PyObject *type) {
    if (!PyUnicode_Check(type)) return -1;
    if (PyUnicode_CompareWithASCIIString(type, "mps") == 0) return CC1D_METAL;
    if (PyUnicode_CompareWithASCIIString(type, "cpu") == 0) return CC1D_CPU;
    return PyUnicode_CompareWithASCIIString(type, "cuda") == 0 ? CC1D_CUDA : -1;
}

/* The device of a tensor; -1 for any other object. Clears exceptions. */
static int32_t device_of(PyObject *object) {
    PyObject *device = PyObject_GetAttrString(object, "device");
    PyObject *type = device ? PyObject_GetAttrString(device, "type") : NULL;
    const int32_t result = type ? cc1d_device_named(type) : -1;
    PyErr_Clear();
    Py_XDECREF(type);
    Py_XDECREF(device);
    return result;
}

/* Where the tensor's storage lies, and how many bytes into it the tensor starts. */
static int read_place(PyObject *object, cc1d_tensor *tensor) {
    PyObject *storage = PyObject_CallMethod(object, "untyped_storage", NULL);
    PyObject *start = storage ? PyObject_CallMethod(storage, "data_ptr", NULL) : NULL;
    PyObject *offset = start ? PyObject_CallMethod(object, "storage_offset", NULL) : NULL;
    PyObject *size = offset ? PyObject_CallMethod(object, "element_size", NULL) : NULL;
    if (size) {
        tensor->data = PyLong_AsVoidPtr(start);
        tensor->byte_offset = PyLong_AsUnsignedLongLong(offset) * PyLong_AsUnsignedLongLong(size);
    }
    Py_XDECREF(size);
    Py_XDECREF(offset);
    Py_XDECREF(start);
    Py_XDECREF(storage);
    return PyErr_Occurred() ? -1 : 0;
}

bool cc1d_has_device(PyObject *object, cc1d_device device) { return device_of(object) == (int32_t)device; }

int cc1d_find_offset(PyObject *object, cc1d_tensor *tensor) {
    static PyObject *name;
    if (!name && !(name = PyUnicode_InternFromString("storage_offset"))) return -1;
    PyObject *offset = tensor->byte_offset ? NULL : PyObject_CallMethodObjArgs(object, name, NULL);
    if (!offset) return PyErr_Occurred() ? -1 : 0;
    tensor->byte_offset = PyLong_AsUnsignedLongLong(offset) * cc1d_itemsize(tensor->dtype);
    tensor->data = tensor->data ? (char *)tensor->data - tensor->byte_offset : NULL;
    Py_DECREF(offset);
    return PyErr_Occurred() ? -1 : 0;
}

int cc1d_describe(PyObject *object, const char *name, cc1d_tensor *tensor) {
    memset(tensor, 0, sizeof *tensor);
    PyObject *shape = PyObject_GetAttrString(object, "shape");
    PyObject *dtype = shape ? PyObject_GetAttrString(object, "dtype") : NULL;
    PyObject *strides = dtype ? PyObject_CallMethod(object, "stride", NULL) : NULL;
    int result = -1;
    if (strides && read_place(object, tensor) == 0) {
        tensor->ndim = (int32_t)PySequence_Size(shape);
        tensor->dtype = dtype_from_name(dtype);
        tensor->device = device_of(object);
        result = PyErr_Occurred() || read_sizes(shape, tensor->ndim, tensor->shape) ||
                         read_sizes(strides, tensor->ndim, tensor->strides)
                     ? -1
                     : 0;
    } else {
        PyErr_Clear();
        result = not_a_tensor(object, name);
    }
    Py_XDECREF(strides);
    Py_XDECREF(dtype);
    Py_XDECREF(shape);
    return result;
}

/* ---- The stream
 * -------------------------------------------------------------------------------------------------------- */

int cc1d_current_stream(PyObject *object, int32_t device_index, void **stream) {
    if (cc1d_has_exchange(object) && table->current_stream)
        return table->current_stream(DL_CUDA, device_index, stream) ? -1 : 0;
    const int collecting = PyGC_Disable(); /* memory is borrowed */
    PyObject *module = PyImport_ImportModule("torch.cuda");
    PyObject *current = module ? PyObject_CallMethod(module, "current_stream", "i", (int)device_index) : NULL;
    PyObject *handle = current ? PyObject_GetAttrString(current, "cuda_stream") : NULL;
    *stream = handle ? PyLong_AsVoidPtr(handle) : NULL;
    Py_XDECREF(handle);
    Py_XDECREF(current);
    Py_XDECREF(module);
    if (collecting) PyGC_Enable();
    return PyErr_Occurred() ? -1 : 0;
}
