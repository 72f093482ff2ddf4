/* index.h - reading int32 or int64 index tensors on the host. */
#ifndef CC1D_INDEX_H
#define CC1D_INDEX_H

#include <string.h>

#include "problem.h"

static inline int64_t cc1d_index_at(const cc1d_view *v, int64_t i, int64_t j) {
    const int64_t element = i * v->stride[0] + j * v->stride[1];
    if (v->dtype == CC1D_INT64) {
        int64_t value;
        memcpy(&value, v->data + element * (int64_t)sizeof value, sizeof value);
        return value;
    }
    int32_t value;
    memcpy(&value, v->data + element * (int64_t)sizeof value, sizeof value);
    return value;
}

#endif
