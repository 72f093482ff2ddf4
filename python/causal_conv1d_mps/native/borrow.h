/* borrow.h - looking at a Python tensor's memory without copying it. */
#ifndef CC1D_BORROW_H
#define CC1D_BORROW_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030A0000
#include <Python.h>
#include <stdbool.h>

#include "causal_conv1d.h"

/* Says which type PyTorch's tensors have. Only such objects are asked through the DLPack exchange table of
 * that type (PyTorch >= 2.10): no other one's memory is believed to hold functions. */
void cc1d_set_tensor_type(PyObject *type);

/* Whether the object is one that the table serves. */
bool cc1d_has_exchange(PyObject *object);

/* Fills *tensor through the table, for an object that has it. Runs no Python code. Valid while the object
 * lives and nobody resizes its storage. name is the argument's, for messages. Returns 0, or -1 with an
 * exception. */
int cc1d_borrow(PyObject *object, const char *name, cc1d_tensor *tensor);

/* The same for any other object, through __dlpack__, which may run any Python code. Valid while *keep lives,
 * a new reference. */
int cc1d_borrow_capsule(PyObject *object, const char *name, bool writable, cc1d_tensor *tensor,
                        PyObject **keep);

/* The same for a PyTorch tensor of any device, from its attributes: data is where its storage lies (on Metal
 * the buffer, which is no address), byte_offset where the tensor starts in it. For Metal launches, where
 * PyTorch binds the memory. */
int cc1d_describe(PyObject *object, const char *name, cc1d_tensor *tensor);

/* What cc1d_borrow has found, of a tensor whose device does not read addresses: PyTorch gives where its first
 * element is; here become of it the storage's beginning and an offset. */
int cc1d_find_offset(PyObject *object, cc1d_tensor *tensor);

/* A device by the name of its type in PyTorch, or -1. */
int32_t cc1d_device_named(PyObject *type);

/* Whether the object says that it is on such a device. */
bool cc1d_has_device(PyObject *object, cc1d_device device);

/* The stream that the framework of a CUDA tensor is using on its device. Returns 0, or -1 with an exception.
 */
int cc1d_current_stream(PyObject *object, int32_t device_index, void **stream);

#endif
