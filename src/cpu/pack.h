/* pack.h - moving elements, bit for bit, between strided memory and contiguous buffers. */
#ifndef CC1D_CPU_PACK_H
#define CC1D_CPU_PACK_H

#include <stdlib.h>

#include "taps.h"

/* Steps of one channel, contiguous in memory: base is step origin. */
typedef struct cc1d_line {
    char *base;
    int64_t origin;
} cc1d_line;

static inline char *cc1d_at(cc1d_line line, int64_t step, int64_t item) {
    return line.base + (step - line.origin) * item;
}

static inline cc1d_line cc1d_line_of(const cc1d_view *v, int64_t b, int64_t d) {
    return (cc1d_line){v->present ? cc1d_element(v, b, d, 0) : NULL, 0};
}

#define CC1D_COPY(type)                                                                                    \
    for (int64_t i = 0; i < count; i++)                                                                    \
        memcpy(to + i * to_stride * (int64_t)sizeof(type), from + i * from_stride * (int64_t)sizeof(type), \
               sizeof(type));

/* Copies elements of any dtype, bit for bit. Strides are in elements. */
static inline void cc1d_copy(char *to, int64_t to_stride, const char *from, int64_t from_stride,
                             int64_t count, int64_t item) {
    switch (item) {
    case 2: CC1D_COPY(uint16_t) break;
    case 4: CC1D_COPY(uint32_t) break;
    case 8: CC1D_COPY(uint64_t) break;
    default: abort(); /* no element has such a size */
    }
}

#undef CC1D_COPY

/* Steps t0..t1-1 of a channel, packed into buffer. */
static inline cc1d_line cc1d_pack(const cc1d_view *v, int64_t b, int64_t d, int64_t t0, int64_t t1,
                                  char *buffer) {
    if (!v->present) return (cc1d_line){NULL, 0};
    cc1d_copy(buffer, 1, cc1d_element(v, b, d, t0), v->stride[2], t1 - t0, (int64_t)cc1d_itemsize(v->dtype));
    return (cc1d_line){buffer, t0};
}

/* Tap k of n steps from t on of channel d, zero where it does not count. */
static inline void cc1d_collect_tap(const cc1d_problem *p, const cc1d_segment *s, int64_t d, int64_t t, int n,
                                    int64_t k, char *to) {
    const int64_t item = (int64_t)cc1d_itemsize(p->view[CC1D_X].dtype);
    for (int64_t i = 0; i < n; i++, to += item) {
        const char *tap = cc1d_tap(p, s, d, t + i, t + i - (p->width - 1) + k);
        if (tap)
            cc1d_copy(to, 1, tap, 1, 1, item);
        else
            memset(to, 0, (size_t)item);
    }
}

/* The taps of n steps from t on of channel d, for steps that are not direct (spans.h). x: the
 * channel's steps. Tap k of step t + i goes to buffer + (k * step + i) elements, zero where it does
 * not count; returns step. The buffer holds width * n elements, and width + n. */
static inline int64_t cc1d_collect_taps(const cc1d_problem *p, const cc1d_segment *s, cc1d_line x, int64_t d,
                                        int64_t t, int n, char *buffer) {
    const int64_t item = (int64_t)cc1d_itemsize(p->view[CC1D_X].dtype), back = p->width - 1;
    if (cc1d_has_ids(p)) {
        for (int64_t k = 0; k <= back; k++) cc1d_collect_tap(p, s, d, t, n, k, buffer + k * n * item);
        return n;
    }
    int64_t before = s->start - (t - back); /* taps that come from the initial states */
    before = before < 0 ? 0 : before > back + n ? back + n : before;
    if (s->past) { /* of x's dtype: a backward pass has no pool */
        const char *from = s->past->data + cc1d_past_element(p, s, d, t - back) * item;
        cc1d_copy(buffer, 1, from, s->past->stride[2], before, item);
    } else {
        memset(buffer, 0, (size_t)(before * item));
    }
    const char *from = cc1d_at(x, t - back + before, item);
    memcpy(buffer + before * item, from, (size_t)((back + n - before) * item));
    return 1;
}

#endif
