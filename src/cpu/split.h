/* split.h - how a CPU call is cut into items of independent work. A function of shapes, strides and dtypes
 * alone, so the order of every sum is the same on every machine and for every number of threads. */
#ifndef CC1D_CPU_SPLIT_H
#define CC1D_CPU_SPLIT_H

#include "kernels.h"

/* Item i covers batch rows [b, b + b_chunk), channels [d, d + d_chunk), steps [t, t + t_chunk), cut at the
 * ends. */
typedef struct cc1d_split {
    int64_t b_chunk, d_chunk, t_chunk;
    int64_t b_count, d_count, t_count;
    int64_t items;
    int64_t
        tasks; /* items are dealt out in this many contiguous runs; each running task has its own workspace */
} cc1d_split;

typedef struct cc1d_item {
    int64_t b0, b1, d0, d1, t0, t1;
} cc1d_item;

/* How a call of forward or backward runs: the cut, and where the parts of its scratch memory begin (after
 * alignment to a cache line; the partial sums lie at 0). */
typedef struct cc1d_cpu_how {
    cc1d_path path;
    cc1d_split split;
    int64_t last, workspaces, end;
    size_t workspace_size; /* of each task */
} cc1d_cpu_how;

cc1d_path cc1d_cpu_path(const cc1d_problem *problem);
cc1d_split cc1d_cpu_split(const cc1d_problem *problem, cc1d_path path);
cc1d_item cc1d_cpu_item(const cc1d_problem *problem, const cc1d_split *split, cc1d_path path, int64_t index);

/* Rows of sums that an item adds into: (b chunk, t chunk) pairs, in the order of their reduction. */
static inline int64_t cc1d_cpu_partial_row(const cc1d_split *split, const cc1d_item *item) {
    return item->b0 / split->b_chunk * split->t_count + item->t0 / split->t_chunk;
}

/* Bytes of workspace that one running backward task needs; a multiple of 64. */
size_t cc1d_cpu_workspace(const cc1d_problem *problem, cc1d_path path);

#endif
