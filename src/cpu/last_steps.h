/* last_steps.h - copying the last steps of sequences: final_states of forward, and varlen_states. No
 * arithmetic, so there is one version for every instruction set. */
#ifndef CC1D_CPU_LAST_STEPS_H
#define CC1D_CPU_LAST_STEPS_H

#include "kernels.h"

/* The last step of batch row b whose seq_idx is no padding; -1: none. */
int64_t cc1d_cpu_last_step(const cc1d_problem *problem, int64_t b);

/* Fills channels d0..d1-1 of this row of view[CC1D_FINAL]. */
void cc1d_cpu_final_states(const cc1d_problem *problem, const cc1d_segment *segment, int64_t row);

#endif
