/* torch.h - what the binding needs of PyTorch, and its questions to it.
 *
 * A question that fails counts as answered in the way that leads to the operators, where it will fail again.
 * An interrupt is not forgotten: callers look for an exception when all have been asked. */
#ifndef CC1D_TORCH_H
#define CC1D_TORCH_H

#include "borrow.h"

/* EACH(what, name): what bind_torch takes. */
#define CC1D_TORCH_NEEDS(EACH)                                                                              \
    EACH(TENSOR, "Tensor") /* the two classes without behaviour of their own */                             \
    EACH(PARAMETER, "Parameter")                                                                            \
    EACH(EMPTY_LIKE, "empty_like")                                                                          \
    EACH(EMPTY, "empty")           /* f(size, dtype=, device=) */                                           \
    EACH(UINT8, "uint8")           /* the dtype of scratch */                                               \
    EACH(NEW_STATES, "new_states") /* f(x, weight, cu_seqlens, state_len, positions); None: wrong shapes */ \
    EACH(INCREMENT_VERSION, "increment_version")   /* f((tensor,)) */                                       \
    EACH(RECORD, "record")                         /* f((y, final_states, activation), *inputs) */          \
    EACH(WITHOUT_DERIVATIVE, "without_derivative") /* f(y) */                                               \
    EACH(ACTIVATION, "activation")                 /* f(activation): its code, or raises */                 \
    EACH(SLOT_ID, "slot_id")                       /* f(pad_slot_id, conv_state_indices): or raises */      \
    EACH(MAX_SEQLEN, "max_seqlen")                 /* f(max_seqlen, cu_seqlens): an int, or raises */       \
    EACH(AUTOCAST, "autocast")                     /* f(operation, tensors): as autocast wants them */      \
    EACH(CHECK_TARGETS, "check_targets")           /* f(operation, tensors, recorded): raises, or not */    \
    EACH(EXPLAIN, "explain")                       /* f(operation, tensors, error): raises a better one */  \
    EACH(COMPILE, "compile")                       /* f(place, name, key): a Metal kernel */                \
    EACH(KERNELS, "kernels")                       /* the dict of those that are ready, by place */         \
    EACH(LAUNCHED_DEVICE, "launched_device")       /* type of the device whose kernels PyTorch launches */  \
    EACH(IS_NEG, "is_neg")                                                                                  \
    EACH(INFERENCE_MODE, "inference_mode")                                                                  \
    EACH(FORWARD_AD, "forward_ad") /* the module, whose level changes */                                    \
    EACH(PROFILER, "profiler")     /* the module, which says whether one is on */                           \
    EACH(TRANSFORMS_ACTIVE, "transforms_active")                                                            \
    EACH(DISPATCH_MODES, "dispatch_modes")                                                                  \
    EACH(FUNCTION_MODES, "function_modes")                                                                  \
    EACH(ANOTHER_THAN_DEFAULT_DEVICE, "another_than_default_device")                                        \
    EACH(TRACING, "tracing")                                                                                \
    EACH(ANY_AUTOCAST, "any_autocast")                                                                      \
    EACH(GRAD_ENABLED, "grad_enabled")                                                                      \
    EACH(NUM_THREADS, "num_threads")

#define CC1D_ENTRY(what, name) CC1D_PY_##what,
typedef enum cc1d_bound { CC1D_TORCH_NEEDS(CC1D_ENTRY) CC1D_PY_BOUND } cc1d_bound;
#undef CC1D_ENTRY

/* Takes a dict of these, by these names. */
PyObject *cc1d_py_bind_torch(PyObject *module, PyObject *given);

/* Borrowed; valid once bind_torch has been called. */
PyObject *cc1d_torch(cc1d_bound what);

/* Calls what is bound with these arguments (NULL ends them). A new reference or NULL with an exception. */
#define cc1d_ask_torch(what, ...) PyObject_CallFunctionObjArgs(cc1d_torch(what), __VA_ARGS__)

/* Forgets an error, but not an interrupt. */
void cc1d_forget_error(void);

/* The device whose kernels PyTorch launches. */
cc1d_device cc1d_launched_device(void);

/* Whether anything has to see a call's operator: functorch, a mode, a tracer, forward-mode derivatives. */
bool cc1d_is_watched(void);

/* Whether a profiler is on, which shows operators. */
bool cc1d_is_profiled(void);

/* A tensor of a class without behaviour of its own, whose memory holds its values. */
bool cc1d_is_plain(PyObject *object);

bool cc1d_requires_grad(PyObject *tensor);
bool cc1d_grad_is_enabled(void);
bool cc1d_is_autocasting(void);

/* Whether a tensor may change in place: an inference tensor, which has no version, only in inference mode. */
bool cc1d_is_writable(PyObject *tensor);

/* Tells autograd that a kernel has written into a tensor. Returns 0, or -1 with an exception. */
int cc1d_bump_version(PyObject *tensor);

/* PyTorch's number of threads; -1 with an exception. */
long cc1d_torch_threads(void);

#endif
