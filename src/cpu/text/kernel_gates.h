/* kernel_gates.h - part of the kernel text: calls with gates. Of each window (window.h) the taps, pre_gate *
 * x, are computed into a buffer; the kernels for calls without gates run on the buffer, whose elements are
 * REALs whatever x's dtype is; and their results, once more in a buffer, become the call's. */

#include "kernel_gather.h"

/* ---- Products of rows
 * ---------------------------------------------------------------------------------------- */

/* n <= CC1D_PACK_STEPS elements times a gate, if there is one, as REALs; rounded: to the dtype first. */
SIMD_INLINE void NAME(multiply_as)(REAL *to, const char *from, const char *gate, int64_t n, int dtype,
                                   bool rounded) {
    const int64_t item = (int64_t)cc1d_itemsize(dtype);
    _Alignas(64) char narrow[CC1D_PACK_STEPS * sizeof(REAL)];
    for (int64_t i = 0; i < n; i += LANES) {
        const int lanes = n - i < LANES ? (int)(n - i) : LANES;
        const bool whole = lanes == LANES;
        VEC v = whole ? LOAD(from + i * item, dtype) : LOAD_N(from + i * item, dtype, lanes);
        if (gate) v = MUL(v, whole ? LOAD(gate + i * item, dtype) : LOAD_N(gate + i * item, dtype, lanes));
        if (rounded && dtype != DTYPE)
            STORE(narrow + i * item, dtype, v);
        else if (whole)
            STORE(to + i, DTYPE, v);
        else
            STORE_N(to + i, DTYPE, v, lanes);
    }
    if (!rounded || dtype == DTYPE) return;
    for (int64_t i = 0; i < n; i += LANES) {
        const VEC v = LOAD(narrow + i * item, dtype);
        if (n - i < LANES)
            STORE_N(to + i, DTYPE, v, (int)(n - i));
        else
            STORE(to + i, DTYPE, v);
    }
}

/* n elements of dtype: REALs times a factor, plus an addend, where there are such. */
SIMD_INLINE void NAME(finish_as)(char *to, const REAL *from, const char *factor, const char *addend,
                                 int64_t n, int dtype) {
    const int64_t item = (int64_t)cc1d_itemsize(dtype);
    for (int64_t i = 0; i < n; i += LANES) {
        const int lanes = n - i < LANES ? (int)(n - i) : LANES;
        const bool whole = lanes == LANES;
        VEC v = whole ? LOAD(from + i, DTYPE) : LOAD_N(from + i, DTYPE, lanes);
        if (factor) /* an fma, so that no compiler makes another one of it and the sum */
            v = FMA(v, whole ? LOAD(factor + i * item, dtype) : LOAD_N(factor + i * item, dtype, lanes),
                    SET((REAL)-0.0));
        if (addend)
            v = ADD(v, whole ? LOAD(addend + i * item, dtype) : LOAD_N(addend + i * item, dtype, lanes));
        if (whole)
            STORE(to + i * item, dtype, v);
        else
            STORE_N(to + i * item, dtype, v, lanes);
    }
}

SIMD_TARGET static void NAME(multiply_row)(REAL *to, const char *from, const char *gate, int64_t n, int dtype,
                                           bool rounded) {
#define MULTIPLY(as)                                            \
    if (dtype == CC1D_##as && gate && rounded)                  \
        NAME(multiply_as)(to, from, gate, n, CC1D_##as, true);  \
    else if (dtype == CC1D_##as && gate)                        \
        NAME(multiply_as)(to, from, gate, n, CC1D_##as, false); \
    else if (dtype == CC1D_##as)                                \
        NAME(multiply_as)(to, from, NULL, n, CC1D_##as, false);
    EACH_DTYPE(MULTIPLY)
#undef MULTIPLY
}

SIMD_TARGET static void NAME(finish_row)(char *to, const REAL *from, const char *factor, const char *addend,
                                         int64_t n, int dtype) {
#define FINISH(as)                                               \
    if (dtype == CC1D_##as && factor && addend)                  \
        NAME(finish_as)(to, from, factor, addend, n, CC1D_##as); \
    else if (dtype == CC1D_##as && factor)                       \
        NAME(finish_as)(to, from, factor, NULL, n, CC1D_##as);   \
    else if (dtype == CC1D_##as)                                 \
        NAME(finish_as)(to, from, NULL, addend, n, CC1D_##as);
    EACH_DTYPE(FINISH)
#undef FINISH
}

/* ---- Windows
 * ------------------------------------------------------------------------------------------------- */

/* Steps t0..t1-1 of channels d0..d1-1 of batch row b. inner: the dimension that rows run along. */
typedef struct NAME(part) {
    int64_t b, d0, d1, t0, t1;
    int inner;
} NAME(part);

/* Where REALs of a window lie: a buffer whose first element is step t of channel d. */
static cc1d_view NAME(buffer_view)(const REAL *buffer, int inner, int64_t pitch, int64_t d, int64_t t) {
    cc1d_view v = {.dtype = DTYPE, .present = true, .stride = {0, pitch, 1}};
    if (inner == 1) v.stride[1] = 1, v.stride[2] = pitch;
    const int64_t before = d * v.stride[1] + t * v.stride[2];
    v.data = (char *)((uintptr_t)buffer - (uintptr_t)before * sizeof(REAL));
    return v;
}

/* n elements of a row from (d, t) on: where they lie, or packed; NULL where there is no such tensor. */
static const char *NAME(row_of)(const cc1d_view *v, const NAME(part) * part, int64_t d, int64_t t, int64_t n,
                                char *packed) {
    if (!v || !v->present) return NULL;
    const char *from = cc1d_element(v, part->b, d, t);
    const int64_t item = (int64_t)cc1d_itemsize(v->dtype);
    if (v->stride[part->inner] == 1) {
        if (part->inner == 1) /* as in forward_channels */
            for (int64_t at = 0; at < n * item; at += 64)
                __builtin_prefetch(from + CC1D_PREFETCH_STEPS * v->stride[2] * item + at, 0, 2);
        return from;
    }
    cc1d_copy(packed, 1, from, v->stride[part->inner], n, item);
    return packed;
}

/* DO(d, t, n) for stretches of the rows of a part. */
#define EACH_STRETCH(part, DO)                                                                         \
    {                                                                                                  \
        const int64_t rows = (part)->inner == 1 ? (part)->t1 - (part)->t0 : (part)->d1 - (part)->d0;   \
        const int64_t length = (part)->inner == 1 ? (part)->d1 - (part)->d0 : (part)->t1 - (part)->t0; \
        for (int64_t row = 0; row < rows; row++)                                                       \
            for (int64_t at = 0; at < length; at += CC1D_PACK_STEPS) {                                 \
                const int64_t d = (part)->d0 + ((part)->inner == 1 ? at : row);                        \
                const int64_t t = (part)->t0 + ((part)->inner == 1 ? row : at);                        \
                DO(d, t, length - at < CC1D_PACK_STEPS ? length - at : CC1D_PACK_STEPS);               \
            }                                                                                          \
    }

/* to, a buffer's: from * gate. */
SIMD_TARGET static void NAME(multiply_part)(const cc1d_view *to, const cc1d_view *from, const cc1d_view *gate,
                                            const NAME(part) * part, bool rounded) {
    _Alignas(64) char packed[2][CC1D_PACK_STEPS * sizeof(REAL)];
#define MULTIPLY(d, t, n)                                                                     \
    NAME(multiply_row)                                                                        \
    ((REAL *)(void *)cc1d_element(to, 0, d, t), NAME(row_of)(from, part, d, t, n, packed[0]), \
     NAME(row_of)(gate, part, d, t, n, packed[1]), n, from->dtype, rounded)
    EACH_STRETCH(part, MULTIPLY)
#undef MULTIPLY
}

/* to: from, a buffer's, * factor + addend; 0 at padding. */
SIMD_TARGET static void NAME(finish_part)(const cc1d_problem *p, const cc1d_segment *s, const cc1d_view *to,
                                          const cc1d_view *from, const cc1d_view *factor,
                                          const cc1d_view *addend, const NAME(part) * part) {
    _Alignas(64) char packed[3][CC1D_PACK_STEPS * sizeof(REAL)];
    const int64_t item = (int64_t)cc1d_itemsize(to->dtype), stride = to->stride[part->inner];
    const double zero = 0;
#define FINISH(d, t, n)                                                                                     \
    {                                                                                                       \
        char *const at_last = cc1d_element(to, part->b, d, t);                                              \
        NAME(finish_row)                                                                                    \
        (stride == 1 ? at_last : packed[0], (const REAL *)(void *)cc1d_element(from, 0, d, t),              \
         NAME(row_of)(factor, part, d, t, n, packed[1]), NAME(row_of)(addend, part, d, t, n, packed[2]), n, \
         to->dtype);                                                                                        \
        if (stride != 1) cc1d_copy(at_last, stride, packed[0], 1, n, item);                                 \
    }
    EACH_STRETCH(part, FINISH)
#undef FINISH
    for (int64_t t = part->t0; t < part->t1 && cc1d_has_ids(p); t++)
        if (cc1d_sequence_id(p, s, t) < 0)
            cc1d_copy(cc1d_element(to, part->b, part->d0, t), to->stride[1], (const char *)&zero, 0,
                      part->d1 - part->d0, item);
}

/* ---- What a window is worked on with
 * --------------------------------------------------------------------------- */

typedef struct NAME(gated) {
    const cc1d_problem *p;
    cc1d_problem inside; /* the call as the kernels see it: without gates, on buffers */
    cc1d_segment segment;
    cc1d_path path; /* of the buffers */
    cc1d_window size;
    cc1d_view past;
    REAL *buffer[4], *past_steps;
    bool direct; /* whether kernels can take a tensor that is no product as it lies */
} NAME(gated);

static void NAME(open)(NAME(gated) * g, const cc1d_problem *p, cc1d_path path, void *space) {
    g->p = p;
    g->inside = *p;
    g->inside.view[CC1D_PRE_GATE].present = g->inside.view[CC1D_POST_GATE].present = false;
    g->path = path == CC1D_PATH_CHANNEL ? path : CC1D_PATH_TIME;
    g->size = cc1d_cpu_window(p, path);
    g->direct = path == g->path && p->view[CC1D_X].dtype == DTYPE;
    g->past_steps = space;
    for (int i = 0; i < 4; i++)
        g->buffer[i] = g->past_steps + g->size.past + i * ((g->size.buffer + 15) / 16 * 16);
}

static int NAME(inner)(const NAME(gated) * g) { return g->path == CC1D_PATH_CHANNEL ? 1 : 2; }

static NAME(part) NAME(part_of)(const NAME(gated) * g, int64_t t0, int64_t t1) {
    const cc1d_segment *s = &g->segment;
    return (NAME(part)){.b = s->b, .d0 = s->d0, .d1 = s->d1, .t0 = t0, .t1 = t1, .inner = NAME(inner)(g)};
}

/* Makes buffer i the window's view of a role from step t on; returns the view. */
static cc1d_view *NAME(buffer_of)(NAME(gated) * g, cc1d_role role, int i, int64_t t) {
    g->inside.view[role] = NAME(buffer_view)(g->buffer[i], NAME(inner)(g), g->size.pitch, g->segment.d0, t);
    return &g->inside.view[role];
}

/* Window `index` of segment s; false past the end. */
static bool NAME(enter)(NAME(gated) * g, const cc1d_segment *s, int64_t index) {
    const int64_t d_count = (s->d1 - s->d0 + g->size.channels - 1) / g->size.channels;
    const int64_t t_count = (s->t1 - s->t0 + g->size.steps - 1) / g->size.steps;
    if (index >= d_count * t_count) return false;
    const bool along = g->path == CC1D_PATH_CHANNEL; /* in the order of memory */
    const int64_t d = along ? index % d_count : index / t_count,
                  t = along ? index / d_count : index % t_count;
    cc1d_segment *to = &g->segment;
    *to = *s;
    to->d0 = s->d0 + d * g->size.channels, to->t0 = s->t0 + t * g->size.steps;
    if (to->d1 - to->d0 > g->size.channels) to->d1 = to->d0 + g->size.channels;
    if (to->t1 - to->t0 > g->size.steps) to->t1 = to->t0 + g->size.steps;
    return true;
}

/* The taps of the window's steps, and of those up to end. */
SIMD_TARGET static void NAME(lay_taps)(NAME(gated) * g, int64_t end) {
    const int64_t back = g->p->width - 1;
    cc1d_segment *s = &g->segment;
    const int64_t first = s->t0 - back > s->start ? s->t0 - back : s->start;
    if (!g->direct || cc1d_has(g->p, CC1D_PRE_GATE)) {
        const NAME(part) part = NAME(part_of)(g, first, end);
        NAME(multiply_part)
        (NAME(buffer_of)(g, CC1D_X, 0, first), &g->p->view[CC1D_X], &g->p->view[CC1D_PRE_GATE], &part, true);
    }
    if (!s->past || s->t0 - back >= s->start) return;
    /* Kernels copy what came before bit by bit into x's place. */
    for (int64_t d = s->d0; d < s->d1; d++) NAME(gather)
    (g->past_steps + (d - s->d0) * back, s->past, cc1d_past_element(g->p, s, d, s->start - back),
     s->past->stride[2], back);
    g->past = NAME(buffer_view)(g->past_steps, 2, back, s->d0, 0);
    s->past = &g->past;
    s->past_row = s->past_column = 0;
}

SIMD_TARGET static void NAME(gated_forward)(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s,
                                            void *workspace) {
    NAME(gated) g;
    NAME(open)(&g, p, path, workspace);
    const bool staged = !g.direct || cc1d_has(p, CC1D_POST_GATE);
    if (staged) g.inside.view[CC1D_RESIDUAL].present = false;
    for (int64_t i = 0; NAME(enter)(&g, s, i); i++) {
        const NAME(part) part = NAME(part_of)(&g, g.segment.t0, g.segment.t1);
        NAME(lay_taps)(&g, part.t1);
        if (staged) NAME(buffer_of)(&g, CC1D_OUT, 1, part.t0);
        SIMD_ENTRY(forward)(&g.inside, g.path, &g.segment);
        if (staged) NAME(finish_part)
        (p, s, &p->view[CC1D_OUT], &g.inside.view[CC1D_OUT], &p->view[CC1D_POST_GATE],
         &p->view[CC1D_RESIDUAL], &part);
    }
}

/* What the gradient of the taps becomes: that of x and of its gate. */
SIMD_TARGET static void NAME(finish_gradients)(const NAME(gated) * g, const NAME(part) * part) {
    const cc1d_problem *p = g->p;
    const cc1d_view *from = &g->inside.view[CC1D_DX], *dx = &p->view[CC1D_DX],
                    *dgate = &p->view[CC1D_DPRE_GATE];
    if (dx->present) NAME(finish_part)
    (p, &g->segment, dx, from, &p->view[CC1D_PRE_GATE], NULL, part);
    if (dgate->present) NAME(finish_part)(p, &g->segment, dgate, from, &p->view[CC1D_X], NULL, part);
}

SIMD_TARGET static void NAME(gated_backward)(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s,
                                             double *partial, void *workspace) {
    const cc1d_view *dout = &p->view[CC1D_DOUT], *gate = &p->view[CC1D_POST_GATE];
    const bool wanted = cc1d_has(p, CC1D_DX) || cc1d_has(p, CC1D_DPRE_GATE);
    NAME(gated) g;
    NAME(open)
    (&g, p, path, (char *)workspace + cc1d_cpu_workspace(p, path) - cc1d_cpu_window_space(p, path));
    const bool staged = wanted && (!g.direct || cc1d_has(p, CC1D_PRE_GATE));
    for (int64_t i = 0; NAME(enter)(&g, s, i); i++) {
        const NAME(part) part = NAME(part_of)(&g, g.segment.t0, g.segment.t1);
        const int64_t back = p->width - 1, end = s->end - part.t1 < back ? s->end : part.t1 + back;
        NAME(lay_taps)(&g, end);
        if (!g.direct || gate->present) {
            const NAME(part) reached = NAME(part_of)(&g, part.t0, end);
            NAME(multiply_part)(NAME(buffer_of)(&g, CC1D_DOUT, 1, part.t0), dout, gate, &reached, false);
        }
        if (staged) NAME(buffer_of)(&g, CC1D_DX, 2, part.t0);
        SIMD_ENTRY(backward)
        (&g.inside, g.path, &g.segment, partial ? partial + (part.d0 - s->d0) : NULL, workspace);
        if (staged) NAME(finish_gradients)(&g, &part);
        if (!cc1d_has(p, CC1D_DPOST_GATE)) continue;
        NAME(buffer_of)(&g, CC1D_OUT, 3, part.t0);
        SIMD_ENTRY(forward)(&g.inside, g.path, &g.segment);
        NAME(finish_part)
        (p, s, &p->view[CC1D_DPOST_GATE], &g.inside.view[CC1D_OUT], dout, NULL, &part);
    }
}
