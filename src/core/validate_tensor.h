/* validate_tensor.h - the rules on one tensor of a call: dtype, device, sizes, memory. */
#ifndef CC1D_VALIDATE_TENSOR_H
#define CC1D_VALIDATE_TENSOR_H

#include "arguments.h"
#include "status.h"

/* No tensor has more bytes than 2^62, counting sizes of 0 as 1, nor lie its first and last element further
 * apart: sums and products of sizes and strides, and differences of addresses, fit into 64 bits. */
#define CC1D_MOST_BYTES 0x1p62

/* Checks dtype, device and sizes of one tensor, in its canonical form, and stores its view; strides of
 * dimensions with at most one element become 0. x must be stored before the others. */
cc1d_status cc1d_take_tensor(cc1d_problem *problem, const cc1d_argument *argument, const cc1d_tensor *tensor);

/* Returns from the calling function with the status of a check that failed. */
#define CC1D_CHECK(expression)                    \
    do {                                          \
        const cc1d_status status_ = (expression); \
        if (status_) return status_;              \
    } while (0)

#endif
