/* sequences.h - where each sequence of a call lies, and what comes before it: a batch row, or one of packed
 * ones, from an initial state, a row of a pool, or nothing. */
#ifndef CC1D_CPU_SEQUENCES_H
#define CC1D_CPU_SEQUENCES_H

#include "kernels.h"

/* Sequence n into a segment: b, n, start, end, last and past. Steps behind its end, up to where the next one
 * starts, are padding; so are all steps of a padding slot of a pool, which is given none (false). */
bool cc1d_cpu_sequence(const cc1d_problem *problem, int64_t n, cc1d_segment *segment);

/* The first sequence that ends after step t of a call with cu_seqlens; N where all end before. */
int64_t cc1d_cpu_sequence_at(const cc1d_problem *problem, int64_t t);

/* Where the sequence after n starts: what lies between is n's. */
int64_t cc1d_cpu_sequence_stop(const cc1d_problem *problem, int64_t n);

#endif
