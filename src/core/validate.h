/* validate.h - every rule about arguments, once: a call's tensors and numbers in, cc1d_problem out.
 *
 * Shapes agree, dtypes are supported together, outputs overlap nothing, and sizes are such that no count of
 * elements, bytes or work overflows. Whatever the tensors say, this takes no longer than a microsecond or so:
 * memory is not looked at. On a CPU the values that steer memory accesses come next (values.h); GPU kernels
 * guard themselves. */
#ifndef CC1D_VALIDATE_H
#define CC1D_VALIDATE_H

#include "arguments.h"
#include "status.h"

cc1d_status cc1d_validate(const cc1d_arguments *arguments, cc1d_problem *problem);

#endif
