/* spans.c - see spans.h. */
#include "spans.h"

#include "taps.h"

static void append(cc1d_spans *spans, int64_t t0, int64_t t1, bool direct) {
    if (t0 >= t1) return;
    if (spans->count == 0) spans->first_direct = direct;
    if (spans->count == 0 || cc1d_span_at(spans, spans->count - 1).direct != direct) spans->count++;
    spans->end[spans->count - 1] = (int32_t)(t1 - spans->t0);
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* a rounded up to t0 + a multiple of unit, but at most limit. */
static int64_t next_unit(int64_t a, int64_t t0, int64_t unit, int64_t limit) {
    return a <= t0 ? t0 : smaller(t0 + (a - t0 + unit - 1) / unit * unit, limit);
}

static int64_t id_or_none(const cc1d_problem *p, const cc1d_segment *s, int64_t step) {
    return step < s->start || step >= s->end ? -1 : cc1d_sequence_id(p, s, step);
}

/* A unit is direct if `run`, the number of equal ids that end at its last neighbour, covers all of
 * its neighbourhood. */
static void spans_by_id(const cc1d_problem *p, const cc1d_segment *s, int64_t t0, int64_t unit, int64_t back,
                        int64_t ahead, cc1d_spans *spans) {
    int64_t step = t0 - back, id = id_or_none(p, s, step), run = 1;
    for (int64_t t = t0; t < spans->t1; t += unit) {
        const int64_t t1 = smaller(t + unit, spans->t1);
        while (step < t1 - 1 + ahead) {
            const int64_t next = id_or_none(p, s, ++step);
            run = next == id ? run + 1 : 1;
            id = next;
        }
        append(spans, t, t1, id >= 0 && run >= back + t1 - t + ahead);
    }
}

void cc1d_cpu_spans(const cc1d_problem *p, const cc1d_segment *s, int64_t t0, int64_t limit, int64_t unit,
                    int64_t back, int64_t ahead, cc1d_spans *spans) {
    spans->count = 0;
    spans->t0 = t0;
    if (cc1d_has_ids(p)) {
        spans->t1 = smaller(limit, t0 + CC1D_SPAN_UNITS * unit);
        spans_by_id(p, s, t0, unit, back, ahead, spans);
        return;
    }
    spans->t1 = limit;
    const int64_t first = next_unit(s->start + back, t0, unit, limit);
    /* The last whole unit whose neighbours end inside the sequence. */
    int64_t last = smaller(s->end - ahead, limit);
    if (last < limit) last = last > t0 ? t0 + (last - t0) / unit * unit : t0;
    append(spans, t0, first, false);
    append(spans, first, last, true);
    append(spans, last > first ? last : first, limit, false);
}
