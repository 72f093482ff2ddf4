/* states.h - copying the last steps of sequences: final_states of forward, and varlen_states. No arithmetic,
 * so there is one version for every instruction set. */
#ifndef CC1D_CPU_STATES_H
#define CC1D_CPU_STATES_H

#include "../problem.h"

/* Fills view[CC1D_FINAL], channels d0..d1-1 of row n, whose sequence covers steps start..end-1 of batch row
 * b. */
void cc1d_cpu_final_states(const cc1d_problem *problem, int64_t b, int64_t n, int64_t d0, int64_t d1,
                           int64_t start, int64_t end);

#endif
