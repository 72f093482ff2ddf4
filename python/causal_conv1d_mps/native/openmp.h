/* openmp.h - how the kernels are run on threads. */
#ifndef CC1D_PY_OPENMP_H
#define CC1D_PY_OPENMP_H

#include "causal_conv1d.h"

/* Called once, when the module is loaded: a child of a fork must know that it is one. */
void cc1d_watch_forks(void);

/* On at most so many threads: those of the OpenMP runtime that PyTorch runs on, where there is one of GNU's
 * interface in the process, otherwise the library's own. */
cc1d_exec cc1d_exec_on(int32_t num_threads);

#endif
