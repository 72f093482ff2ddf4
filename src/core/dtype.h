/* dtype.h - every element type once: its name, its size, and what tensors of it are for. */
#ifndef CC1D_DTYPE_H
#define CC1D_DTYPE_H

#include <stddef.h>
#include <stdint.h>

#include "causal_conv1d.h"

typedef enum cc1d_dtype_use {
    CC1D_USE_NONE,    /* only named, so that an error can say what came */
    CC1D_USE_NUMBERS, /* what is computed with */
    CC1D_USE_INDICES
} cc1d_dtype_use;

/* DO(dtype, name, bytes, use, code), code being DLPack's of its kind. */
#define CC1D_EACH_DTYPE(DO)                                       \
    DO(CC1D_FLOAT32, "float32", 4, CC1D_USE_NUMBERS, DL_FLOAT)    \
    DO(CC1D_FLOAT16, "float16", 2, CC1D_USE_NUMBERS, DL_FLOAT)    \
    DO(CC1D_BFLOAT16, "bfloat16", 2, CC1D_USE_NUMBERS, DL_BFLOAT) \
    DO(CC1D_FLOAT64, "float64", 8, CC1D_USE_NUMBERS, DL_FLOAT)    \
    DO(CC1D_INT32, "int32", 4, CC1D_USE_INDICES, DL_INT)          \
    DO(CC1D_INT64, "int64", 8, CC1D_USE_INDICES, DL_INT)          \
    DO(CC1D_BOOL, "bool", 1, CC1D_USE_NONE, DL_BOOL)              \
    DO(CC1D_UINT8, "uint8", 1, CC1D_USE_NONE, DL_UINT)            \
    DO(CC1D_INT8, "int8", 1, CC1D_USE_NONE, DL_INT)               \
    DO(CC1D_INT16, "int16", 2, CC1D_USE_NONE, DL_INT)             \
    DO(CC1D_COMPLEX64, "complex64", 8, CC1D_USE_NONE, DL_COMPLEX) \
    DO(CC1D_COMPLEX128, "complex128", 16, CC1D_USE_NONE, DL_COMPLEX)

/* Bytes of an element; 0 for a number that is no dtype. */
static inline size_t cc1d_itemsize(int32_t dtype) {
    switch (dtype) {
#define CC1D_CASE(value, name, bytes, use, code) \
    case value: return bytes;
        CC1D_EACH_DTYPE(CC1D_CASE)
#undef CC1D_CASE
    default: return 0;
    }
}

static inline cc1d_dtype_use cc1d_use_of(int32_t dtype) {
    switch (dtype) {
#define CC1D_CASE(value, name, bytes, use, code) \
    case value: return use;
        CC1D_EACH_DTYPE(CC1D_CASE)
#undef CC1D_CASE
    default: return CC1D_USE_NONE;
    }
}

#endif
