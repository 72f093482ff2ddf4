/* validate_values.h - the values inside index tensors, and rules on them; CPU only, because reading them
 * elsewhere would wait for the device. */
#ifndef CC1D_VALIDATE_VALUES_H
#define CC1D_VALIDATE_VALUES_H

#include "problem.h"
#include "status.h"

enum { CC1D_FEW_VALUES = 128 };

/* The values that steer memory (cu_seqlens, cache_seqlens, conv_state_indices, num_accepted_tokens) as they
 * were when the call began: another thread may change the tensors at any time. (seq_idx is only compared.) */
typedef struct cc1d_values {
    int64_t *many; /* allocated; NULL where `few` do */
    int64_t few[CC1D_FEW_VALUES];
} cc1d_values;

/* Copies the values, has the problem's views look at the copies, and checks those: cu_seqlens non-decreasing
 * inside 0..T, from 0 to T but for varlen_states; cache_seqlens >= 0; 1 <= num_accepted_tokens <= T; indices
 * inside the pool and live ones unique. cc1d_free_values after use, whatever the status. */
cc1d_status cc1d_take_values(cc1d_problem *problem, cc1d_values *values);
void cc1d_free_values(cc1d_values *values);

#endif
