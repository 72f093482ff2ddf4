/* values.h - the values inside index tensors that steer memory accesses: read once, checked, and kept. CPU
 * only, because reading them elsewhere would wait for the device. */
#ifndef CC1D_VALUES_H
#define CC1D_VALUES_H

#include "problem.h"
#include "status.h"

enum { CC1D_FEW_VALUES = 128 };

typedef struct cc1d_values {
    int64_t *many; /* where they are more than a few; else NULL */
    int64_t few[CC1D_FEW_VALUES];
} cc1d_values;

/* On a CPU: copies cu_seqlens, the indices of state rows, counts, flags and parents, each element read once,
 * checks the copies, and makes them the problem's views. Whoever writes to the caller's tensors meanwhile can
 * spoil results, but no other memory. (seq_idx is left where it is: it is only compared.) Call
 * cc1d_drop_values whatever comes back. */
cc1d_status cc1d_take_values(cc1d_problem *problem, cc1d_values *values);

void cc1d_drop_values(cc1d_values *values);

#endif
