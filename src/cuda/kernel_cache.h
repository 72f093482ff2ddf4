/* kernel_cache.h - the compiled kernels of the process. */
#ifndef CC1D_CUDA_KERNEL_CACHE_H
#define CC1D_CUDA_KERNEL_CACHE_H

#include "device.h"
#include "gpu/plan/plan.h"

/* The kernel of a launch in the current context, whose number is context_id: compiled and loaded
 * on first use, then found without a lock. Kernels stay for the life of the process. Threads that
 * want the same kernel at once wait for one compilation; other kernels are not held up. */
cc1d_status cc1d_cuda_kernel(const cc1d_driver *driver, const cc1d_cuda_device *device, uint64_t context_id,
                             const cc1d_launch *launch, cu_function *function);

#endif
