/* validate_values.h - rules on the values inside index tensors; CPU only, because reading them elsewhere
 * would wait for the device. */
#ifndef CC1D_VALIDATE_VALUES_H
#define CC1D_VALIDATE_VALUES_H

#include "problem.h"
#include "status.h"

/* cu_seqlens non-decreasing inside 0..T; exact: it also starts at 0 and ends at T. */
cc1d_status cc1d_check_cu_seqlens(const cc1d_problem *problem, bool exact);

/* cache_seqlens >= 0, 1 <= num_accepted_tokens <= T, indices inside the pool and live ones unique. */
cc1d_status cc1d_check_update_values(const cc1d_problem *problem);

#endif
