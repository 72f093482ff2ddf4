/* validate_tensor.h - the rules on one tensor of a call: dtype, device, sizes, memory. */
#ifndef CC1D_VALIDATE_TENSOR_H
#define CC1D_VALIDATE_TENSOR_H

#include "problem.h"
#include "status.h"

typedef enum cc1d_dtype_rule {
    CC1D_ANY_FLOAT,
    CC1D_LIKE_X,
    CC1D_INDEX,
    CC1D_PARAMETER /* any float, but float64 only beside float64 x */
} cc1d_dtype_rule;

/* No tensor has more bytes than 2^62, counting sizes of 0 as 1, nor lie its first and last element further
 * apart: sums and products of sizes and strides, and differences of addresses, fit into 64 bits. */
#define CC1D_MOST_BYTES 0x1p62

/* Checks dtype, device and sizes of one tensor and stores its canonical view; strides of dimensions with at
 * most one element become 0. x must be stored before the others. */
cc1d_status cc1d_take_tensor(cc1d_problem *problem, cc1d_role role, const cc1d_tensor *tensor,
                             cc1d_dtype_rule rule);

/* The shape that a tensor must have, in the words of the documentation and in numbers. */
cc1d_status cc1d_check_shape(const cc1d_problem *problem, cc1d_role role, const cc1d_tensor *tensor,
                             int32_t ndim, const char *letters, int64_t n0, int64_t n1, int64_t n2);

cc1d_status cc1d_check_ndim(const cc1d_problem *problem, cc1d_role role, const cc1d_tensor *tensor,
                            int32_t ndim, const char *letters);

/* Returns from the calling function with the status of a check that failed. */
#define CC1D_CHECK(expression)                    \
    do {                                          \
        const cc1d_status status_ = (expression); \
        if (status_) return status_;              \
    } while (0)

#endif
