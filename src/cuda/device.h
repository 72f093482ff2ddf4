/* device.h - the CUDA devices of the process and their contexts. */
#ifndef CC1D_CUDA_DEVICE_H
#define CC1D_CUDA_DEVICE_H

#include "driver.h"

#include <stdbool.h>

#define CC1D_CUDA_DEVICES 64 /* at most */

typedef struct cc1d_cuda_device {
    cu_device handle;
    cu_context primary; /* the context that PyTorch and the CUDA runtime use; held for good */
    int sm;             /* compute capability: 90 for 9.0 */
    char architecture[12];
} cc1d_cuda_device;

/* The device with this ordinal, ready for use. After the first call it is one load. */
cc1d_status cc1d_cuda_device_get(const cc1d_driver *driver, int ordinal, const cc1d_cuda_device **device);

/* A context of a device, current on the calling thread. */
typedef struct cc1d_cuda_scope {
    uint64_t context_id; /* unlike a handle, never used again for another context */
    bool pushed;
} cc1d_cuda_scope;

/* Makes a context of the device current: stays in the thread's own if that is one, else enters
 * the primary one. Every success is followed by a leave. */
cc1d_status cc1d_cuda_enter(const cc1d_driver *driver, const cc1d_cuda_device *device,
                            cc1d_cuda_scope *scope);
void cc1d_cuda_leave(const cc1d_driver *driver, const cc1d_cuda_scope *scope);

#endif
