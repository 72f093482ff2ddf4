/* kernel_backward.h - part of the kernel text: backward. */
#include "kernel_arith.h"

#include "kernel_gather.h"

#include "kernel_taps.h"

#include "kernel_block.h"

#include "kernel_slopes.h"

#include "kernel_backward_time.h"

#include "kernel_tile.h"

#include "kernel_backward_channel.h"

SIMD_TARGET static void NAME(backward)(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s,
                                       double *partial, void *workspace) {
    if (path == CC1D_PATH_TIME)
        NAME(backward_time)(p, s, partial, workspace);
    else if (path == CC1D_PATH_CHANNEL)
        NAME(backward_channel)(p, s, partial, workspace);
    else
        NAME(backward_general)(p, s, partial, workspace);
}
