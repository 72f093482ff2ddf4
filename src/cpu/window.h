/* window.h - how calls with gates are cut once more: into windows whose taps and results, as what is computed
 * in, stay in the cache between the product, the convolution, and the other product. */
#ifndef CC1D_CPU_WINDOW_H
#define CC1D_CPU_WINDOW_H

#include "kernels.h"

/* At most so many channels and steps. Steps are whole blocks or runs of the weight gradients' sums, or all.
 */
typedef struct cc1d_window {
    int64_t channels, steps;
    int64_t pitch;  /* elements from one row of a buffer to the next: of channels, or of steps */
    int64_t buffer; /* elements of a buffer: a window with the W-1 steps before it and after it */
    int64_t past;   /* elements of W-1 steps of the channels */
} cc1d_window;

/* For W <= CC1D_MAX_WIDTH, as all of this. */
cc1d_window cc1d_cpu_window(const cc1d_problem *p, cc1d_path path);

/* Bytes for all buffers of a window; a multiple of 64. None for longer filters. */
size_t cc1d_cpu_window_space(const cc1d_problem *p, cc1d_path path);

#endif
