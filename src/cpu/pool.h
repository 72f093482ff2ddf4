/* pool.h - the rows of a pool of states after a forward pass. No arithmetic but rounding, so there is one
 * version for every instruction set. */
#ifndef CC1D_CPU_POOL_H
#define CC1D_CPU_POOL_H

#include "kernels.h"

/* Whether the call may write a row at all: rows that are written are distinct, so one index for all sequences
 * is that of padding. */
bool cc1d_cpu_writes_pool(const cc1d_problem *problem);

/* Writes channels d0..d1-1 of the row of a sequence that is no padding: the last S steps of what came before
 * it (the row that it reads, or zeros) and its own. */
void cc1d_cpu_pool_row(const cc1d_problem *problem, const cc1d_segment *segment);

#endif
