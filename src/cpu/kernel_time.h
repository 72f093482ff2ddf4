/* kernel_time.h - part of kernel_text.h: forward where the steps of a channel are contiguous in
 * memory, or have been packed so. A vector holds consecutive steps. */

/* `count` vectors of steps; a single one may have less than LANES lanes, n. Tap k of the first step lies at
 * x + k * tap_step. */
SIMD_INLINE void NAME(forward_vectors)(const REAL *weights, const char *x, int64_t tap_step,
                                       const char *residual, char *out, int64_t width, int dtype, int silu,
                                       int n, int count) {
    VEC y[SIMD_VECTORS], tap[SIMD_VECTORS];
    SIMD_EACH(i, count)
    y[i] = SET(weights[width]);
    SIMD_UNROLL
    for (int64_t k = 0; k < width; k++) {
        NAME(load_row)(tap, x + k * tap_step, dtype, n, count);
        SIMD_EACH(i, count)
        y[i] = FMA(SET(weights[k]), tap[i], y[i]);
    }
    NAME(activate)(y, silu, count);
    if (residual) {
        NAME(load_row)(tap, residual, dtype, n, count);
        SIMD_EACH(i, count)
        y[i] = ADD(y[i], tap[i]);
    }
    if (n == LANES)
        STORE_ANY(out, dtype, y, count);
    else
        STORE_N(out, dtype, y[0], n);
}

/* n direct steps. x: the oldest tap of the first. */
SIMD_INLINE void NAME(forward_run)(const REAL *weights, const char *x, const char *residual, char *out,
                                   int64_t n, int64_t width, int dtype, int silu) {
    const int64_t item = (int64_t)cc1d_itemsize(dtype);
    int64_t i = 0;
#define FORWARD_STEPS(lanes, count)                                                                          \
    NAME(forward_vectors)                                                                                    \
    (weights, x + i * item, item, residual ? residual + i * item : NULL, out + i * item, width, dtype, silu, \
     lanes, count)
    for (; n - i >= SIMD_VECTORS * LANES; i += SIMD_VECTORS * LANES) FORWARD_STEPS(LANES, SIMD_VECTORS);
    for (; n - i >= LANES; i += LANES) FORWARD_STEPS(LANES, 1);
    if (i < n) FORWARD_STEPS((int)(n - i), 1);
#undef FORWARD_STEPS
}

typedef void NAME(forward_run_fn)(const REAL *weights, const char *x, const char *residual, char *out,
                                  int64_t n, int64_t width);

#define FORWARD_RUN(dtype, constant, silu)                                                                \
    SIMD_TARGET static void NAME(forward_##dtype##_##constant##_##silu)(                                  \
        const REAL *weights, const char *x, const char *residual, char *out, int64_t n, int64_t width) {  \
        NAME(forward_run)(weights, x, residual, out, n, constant ? constant : width, CC1D_##dtype, silu); \
    }
EACH_KERNEL(FORWARD_RUN, 0)
EACH_KERNEL(FORWARD_RUN, 1)
#undef FORWARD_RUN

static NAME(forward_run_fn) * NAME(pick_forward_run)(const cc1d_problem *p) {
#define FORWARD_RUN(dtype, constant, silu)                                    \
    if (cc1d_is_kernel(p, CC1D_##dtype, constant) && cc1d_is_silu(p) == silu) \
        return NAME(forward_##dtype##_##constant##_##silu);
    EACH_KERNEL(FORWARD_RUN, 0)
    EACH_KERNEL(FORWARD_RUN, 1)
#undef FORWARD_RUN
    return NULL;
}

/* One vector of steps that are not direct. */
SIMD_TARGET static void NAME(forward_collected)(const cc1d_problem *p, const cc1d_segment *s,
                                                const REAL *weights, cc1d_line x, int64_t d, int64_t t,
                                                const char *residual, char *out, int n) {
    _Alignas(64) char taps[CC1D_MAX_WIDTH * LANES * sizeof(REAL)];
    const int dtype = p->view[CC1D_X].dtype;
    const int64_t item = (int64_t)cc1d_itemsize(dtype);
    const int64_t step = cc1d_collect_taps(p, s, x, d, t, n, taps);
    VEC y;
    NAME(convolve_row)(&y, weights, taps, step * item, p->width, dtype, n, 1);
    NAME(activate)(&y, cc1d_is_silu(p), 1);
    if (residual) y = ADD(y, LOAD_N(residual, dtype, n));
    if (cc1d_has(p, CC1D_SEQ_IDX)) {
        REAL padding[LANES];
        for (int i = 0; i < n; i++) padding[i] = cc1d_sequence_id(p, s, t + i) < 0 ? 1 : 0;
        y = SELECT_LESS(SET(0), LOAD_N(padding, DTYPE, n), SET(0), y);
    }
    STORE_N(out, dtype, y, n);
}

/* One channel's steps of the spans. */
SIMD_TARGET static void NAME(forward_line)(const cc1d_problem *p, const cc1d_segment *s,
                                           const cc1d_spans *spans, NAME(forward_run_fn) * run,
                                           const REAL *weights, int64_t d, cc1d_line x, cc1d_line residual,
                                           cc1d_line out) {
    const int64_t item = (int64_t)cc1d_itemsize(p->view[CC1D_X].dtype);
    for (int i = 0; i < spans->count; i++) {
        const cc1d_span span = cc1d_span_at(spans, i);
        const int64_t step = span.direct ? span.t1 - span.t0 : LANES;
        for (int64_t t = span.t0; t < span.t1; t += step) {
            const int64_t n = span.t1 - t < step ? span.t1 - t : step;
            const char *add = residual.base ? cc1d_at(residual, t, item) : NULL;
            char *to = cc1d_at(out, t, item);
            if (span.direct)
                run(weights, cc1d_at(x, t - (p->width - 1), item), add, to, n, p->width);
            else
                NAME(forward_collected)(p, s, weights, x, d, t, add, to, (int)n);
        }
    }
}

SIMD_TARGET static void NAME(forward_time)(const cc1d_problem *p, const cc1d_segment *s) {
    NAME(forward_run_fn) *run = NAME(pick_forward_run)(p);
    REAL weights[CC1D_MAX_WIDTH + 1];
    cc1d_spans spans;
    for (int64_t t = s->t0; t < s->t1; t = spans.t1) {
        cc1d_cpu_spans(p, s, t, s->t1, LANES, p->width - 1, 0, &spans);
        for (int64_t d = s->d0; d < s->d1; d++) {
            NAME(row_weights)(p, d, weights);
            NAME(forward_line)
            (p, s, &spans, run, weights, d, cc1d_line_of(&p->view[CC1D_X], s->b, d),
             cc1d_line_of(&p->view[CC1D_RESIDUAL], s->b, d), cc1d_line_of(&p->view[CC1D_OUT], s->b, d));
        }
    }
}

SIMD_TARGET static void NAME(forward_general)(const cc1d_problem *p, const cc1d_segment *s) {
    enum { STEPS = CC1D_PACK_STEPS };
    _Alignas(64) char x[(CC1D_MAX_WIDTH + STEPS) * sizeof(REAL)];
    _Alignas(64) char residual[STEPS * sizeof(REAL)], out[STEPS * sizeof(REAL)];
    NAME(forward_run_fn) *run = NAME(pick_forward_run)(p);
    const cc1d_view *to = &p->view[CC1D_OUT];
    REAL weights[CC1D_MAX_WIDTH + 1];
    cc1d_spans spans;
    for (int64_t t = s->t0; t < s->t1; t = spans.t1) {
        const int64_t limit = s->t1 - t < STEPS ? s->t1 : t + STEPS;
        const int64_t first = t - (p->width - 1) > s->start ? t - (p->width - 1) : s->start;
        cc1d_cpu_spans(p, s, t, limit, LANES, p->width - 1, 0, &spans);
        for (int64_t d = s->d0; d < s->d1; d++) {
            NAME(row_weights)(p, d, weights);
            NAME(forward_line)
            (p, s, &spans, run, weights, d, cc1d_pack(&p->view[CC1D_X], s->b, d, first, limit, x),
             cc1d_pack(&p->view[CC1D_RESIDUAL], s->b, d, t, limit, residual), (cc1d_line){out, t});
            cc1d_copy(cc1d_element(to, s->b, d, t), to->stride[2], out, 1, limit - t,
                      (int64_t)cc1d_itemsize(to->dtype));
        }
    }
}
