/* validate.h - every rule about arguments, once: public args structs in, cc1d_problem out.
 *
 * Shapes agree, dtypes are supported together, outputs overlap nothing, and sizes are such that no count of
 * elements, bytes or work overflows. Whatever the tensors say, this takes no longer than a microsecond or so:
 * memory is not looked at. On a CPU the values that steer memory accesses come next (values.h); GPU kernels
 * guard themselves. The structs are complete ones (sized.h). */
#ifndef CC1D_VALIDATE_H
#define CC1D_VALIDATE_H

#include "problem.h"
#include "status.h"

cc1d_status cc1d_validate_forward(const cc1d_forward_args *args, cc1d_problem *problem);
cc1d_status cc1d_validate_backward(const cc1d_backward_args *args, cc1d_problem *problem);
cc1d_status cc1d_validate_update(const cc1d_update_args *args, cc1d_problem *problem);
cc1d_status cc1d_validate_varlen_states(const cc1d_varlen_states_args *args, cc1d_problem *problem);

#endif
