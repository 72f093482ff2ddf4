/* validate.h - every rule about arguments, once: public args structs in, cc1d_problem out.
 *
 * A problem that comes back with CC1D_OK is safe to run on its device: shapes agree, dtypes are supported
 * together, outputs overlap nothing, and no product of sizes and strides is out of range. Values inside index
 * tensors are taken after that (validate_values.h). */
#ifndef CC1D_VALIDATE_H
#define CC1D_VALIDATE_H

#include "problem.h"
#include "status.h"

cc1d_status cc1d_validate_forward(const cc1d_forward_args *args, cc1d_problem *problem);
cc1d_status cc1d_validate_backward(const cc1d_backward_args *args, cc1d_problem *problem);
cc1d_status cc1d_validate_update(const cc1d_update_args *args, cc1d_problem *problem);
cc1d_status cc1d_validate_varlen_states(const cc1d_varlen_states_args *args, cc1d_problem *problem);

/* Completes a caller's struct, which begins with its size_t size, to the newest version in `whole`: sizes are
 * those of all versions, the newest last; fields that the caller's version lacks are zero. */
cc1d_status cc1d_take_struct(const char *name, const void *given, void *whole, const size_t *sizes,
                             int versions);

/* What the user calls a role, e.g. "initial_states". */
const char *cc1d_role_name(cc1d_operation op, cc1d_role role);

#endif
