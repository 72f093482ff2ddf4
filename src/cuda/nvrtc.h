/* nvrtc.h - the CUDA run-time compiler: where it is, and text in, machine code out. */
#ifndef CC1D_CUDA_NVRTC_H
#define CC1D_CUDA_NVRTC_H

#include "core/status.h"

/* One line on the compiler, opened for a driver of this CUDA version (1000 * major + 10 * minor):
 * its version and path. Returns 0, and why not, if none can be used; the next call tries again. */
int cc1d_nvrtc_describe(int driver_version, char *text, size_t size);

/* The compute capability that code for a device of capability sm is compiled for; 0: none. */
int cc1d_nvrtc_target(int sm, int driver_version);

/* Compiles source for compute capability sm (90 for 9.0). *code is what cuModuleLoadData takes, to
 * be freed by the caller. name is the kernel's, for messages. */
cc1d_status cc1d_nvrtc_compile(const char *name, const char *source, int sm, int driver_version, char **code);

#endif
