/* kernel_forward.h - part of the kernel text: forward. */
#include "kernel_arith.h"

#include "kernel_gather.h"

#include "kernel_taps.h"

#if IS_FLOAT
#include "kernel_block.h"

#include "kernel_finish.h"
#endif

#include "kernel_time.h"

#include "kernel_tile.h"

#include "kernel_channel.h"

SIMD_TARGET static void NAME(forward)(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s) {
    if (path == CC1D_PATH_TIME)
        NAME(forward_time)(p, s);
    else if (path == CC1D_PATH_CHANNEL)
        NAME(forward_channel)(p, s);
    else
        NAME(forward_general)(p, s);
}
