/* spans.h - which steps of a segment have plain neighbourhoods.
 *
 * A vector kernel wants to read taps straight from memory. It may where all of them are steps of
 * the same sequence; elsewhere (the start of a sequence) they are collected one by one. */
#ifndef CC1D_CPU_SPANS_H
#define CC1D_CPU_SPANS_H

#include "kernels.h"

enum { CC1D_SPAN_UNITS = 512 }; /* most units that one list covers where there is a seq_idx */

/* Direct spans and others, in turn. */
typedef struct cc1d_spans {
    int64_t t0, t1; /* the list covers steps t0..t1-1 */
    int count;
    bool first_direct;
    int32_t end[CC1D_SPAN_UNITS]; /* from t0; an item is shorter (split.c) */
} cc1d_spans;

typedef struct cc1d_span {
    int64_t t0, t1;
    bool direct;
} cc1d_span;

static inline cc1d_span cc1d_span_at(const cc1d_spans *spans, int i) {
    return (cc1d_span){.t0 = spans->t0 + (i > 0 ? spans->end[i - 1] : 0),
                       .t1 = spans->t0 + spans->end[i],
                       .direct = i % 2 == 0 ? spans->first_direct : !spans->first_direct};
}

/* The part of span i in t0..t1-1; empty (t0 >= t1) where there is none. */
static inline cc1d_span cc1d_span_within(const cc1d_spans *spans, int i, int64_t t0, int64_t t1) {
    cc1d_span span = cc1d_span_at(spans, i);
    if (span.t0 < t0) span.t0 = t0;
    if (span.t1 > t1) span.t1 = t1;
    return span;
}

/* Lists the spans from t0 on: to limit, or where there is a seq_idx at most CC1D_SPAN_UNITS units.
 * Spans that are not direct are cut in units of `unit` steps from t0, so that they are whole vectors.
 * Direct: each step and the `back` before it and the `ahead` after it lie inside the segment's
 * sequence, have the same seq_idx, and are no padding. */
void cc1d_cpu_spans(const cc1d_problem *p, const cc1d_segment *s, int64_t t0, int64_t limit, int64_t unit,
                    int64_t back, int64_t ahead, cc1d_spans *spans);

#endif
