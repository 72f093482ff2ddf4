/* threads.h - running independent tasks on the caller's parallel-for or on the library's own pool. */
#ifndef CC1D_CPU_THREADS_H
#define CC1D_CPU_THREADS_H

#include "causal_conv1d.h"

/* Runs task(context, i) once for every i in [0, count), in the kernels' floating-point mode (fpmode.h), and
 * returns when all are done. Never fails: where threads cannot be had, the calling thread does the work. */
void cc1d_parallel(const cc1d_exec *exec, int64_t count, void (*task)(void *context, int64_t index),
                   void *context);

#endif
