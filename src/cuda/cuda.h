/* cuda.h - what the CUDA backend takes from the binding. */
#ifndef CC1D_CUDA_H
#define CC1D_CUDA_H

/* Sets the files to try first as NVRTC (libnvrtc.so.*), best first, by their absolute paths (others are
 * passed over); they are copied. It replaces the list of an earlier call, and has no effect once NVRTC is
 * open. Any thread, any time. */
void cc1d_cuda_set_nvrtc_paths(const char *const *paths, int count);

/* How many texts of the kernel of this name are compiled and loaded, in all contexts. Any thread, any time.
 */
int cc1d_cuda_kernel_count(const char *kernel);

#endif
