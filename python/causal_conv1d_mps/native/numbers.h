/* numbers.h - what a call has besides tensors, from Python's objects. Each returns 0, or -1 with an exception
 * set. */
#ifndef CC1D_PY_NUMBERS_H
#define CC1D_PY_NUMBERS_H

#include "call.h"

/* The activation, by its code or as users write it. */
int cc1d_read_code(PyObject *object, cc1d_call *call);
int cc1d_read_activation(PyObject *object, cc1d_call *call);

/* pad_slot_id, which indices give a meaning, and max_seqlen, which goes with cu_seqlens: after the tensors.
 */
int cc1d_read_slot_id(PyObject *object, cc1d_call *call);
int cc1d_read_max_seqlen(PyObject *object, cc1d_call *call);

#endif
