/* kernel_time.h - part of the kernel text: forward where the steps of a channel are contiguous in
 * memory, or have been packed so. A vector holds consecutive steps. */

/* ---- Where memory holds what is computed in: one loop, which is bound by memory ---------------------- */

SIMD_INLINE void NAME(forward_at)(const REAL *weights, const char *x, const char *residual, char *out,
                                  int64_t width, cc1d_activation activation, int64_t at, int count) {
    const int64_t bytes = at * (int64_t)sizeof(REAL), vector = LANES * (int64_t)sizeof(REAL);
    VEC y[SIMD_VECTORS];
    NAME(convolve)(y, weights, x + bytes, width, DTYPE, count);
    NAME(activate)(y, activation, NAME(LONG), count);
    if (residual) {
        SIMD_EACH (i, count) y[i] = ADD(y[i], LOAD(residual + bytes + i * vector, DTYPE));
    }
    SIMD_EACH (i, count) STORE(out + bytes + i * vector, DTYPE, y[i]);
}

SIMD_INLINE void NAME(forward_as)(const REAL *weights, const char *x, const char *residual, char *out,
                                  int64_t n, int64_t width, cc1d_activation activation) {
#define FORWARD(constant)  \
    if (width == constant) \
    EACH_VECTORS(n, 1, NAME(forward_at), weights, x, residual, out, constant, activation) else
    CC1D_EACH_WIDTH(FORWARD)
    EACH_VECTORS(n, 1, NAME(forward_at), weights, x, residual, out, width, activation)
#undef FORWARD
}

SIMD_TARGET static void NAME(forward_reals)(const REAL *weights, const char *x, const char *residual,
                                            char *out, int64_t n, int64_t width, cc1d_activation activation) {
#define FORWARD_AS(constant, name)                \
    if (activation == CC1D_ACTIVATION_##constant) \
        NAME(forward_as)(weights, x, residual, out, n, width, CC1D_ACTIVATION_##constant);
    CC1D_EACH_ACTIVATION(FORWARD_AS)
#undef FORWARD_AS
}

#if IS_FLOAT
/* ---- 16-bit elements: stages ------------------------------------------------------------------------- */

/* Two vectors of steps in the order of LOAD_ANY, where that is pairs: an odd step's tap is the even step's
 * next one, so each is loaded once. x: as it lies in memory. */
SIMD_INLINE void NAME(convolve_pairs_at)(REAL *acc, const REAL *weights, const char *x, int64_t width,
                                         int64_t at, int count) {
    enum { ITEM = 2 };
    VEC even[SIMD_VECTORS / 2], odd[SIMD_VECTORS / 2], tap[2], next[2];
    SIMD_EACH (i, count / 2) {
        const char *from = x + (at + 2 * i * LANES) * ITEM;
        even[i] = odd[i] = SET(weights[width]);
        LOAD_ANY(tap, from, CC1D_BFLOAT16, 2);
        SIMD_UNROLL
        for (int64_t k = 0; k < width; k += 2) { /* no further than the last tap, which is k + 1 or k */
            even[i] = FMA(SET(weights[k]), tap[0], even[i]);
            odd[i] = FMA(SET(weights[k]), tap[1], odd[i]);
            if (k + 1 == width) break;
            LOAD_ANY(next, from + (k + 2 < width ? k + 2 : k + 1) * ITEM, CC1D_BFLOAT16, 2);
            even[i] = FMA(SET(weights[k + 1]), tap[1], even[i]);
            odd[i] = FMA(SET(weights[k + 1]), k + 2 < width ? next[0] : next[1], odd[i]);
            tap[0] = next[0], tap[1] = next[1];
        }
    }
    SIMD_EACH (i, count / 2) {
        STORE(acc + at + 2 * i * LANES, DTYPE, even[i]);
        STORE(acc + at + (2 * i + 1) * LANES, DTYPE, odd[i]);
    }
}

SIMD_TARGET static void NAME(convolve_pairs)(REAL *acc, const REAL *weights, const char *x, int64_t n,
                                             int64_t width) {
#define CONVOLVE(constant) \
    if (width == constant) EACH_VECTORS(n, 2, NAME(convolve_pairs_at), acc, weights, x, constant) else
    CC1D_EACH_WIDTH(CONVOLVE)
    EACH_VECTORS(n, 2, NAME(convolve_pairs_at), acc, weights, x, width)
#undef CONVOLVE
}

/* n whole vectors, or pairs of them where that is the order. */
SIMD_INLINE void NAME(forward_halves)(const REAL *weights, const char *x, const char *residual, char *out,
                                      int64_t n, int64_t width, int dtype, cc1d_activation activation) {
    enum { ITEM = 2 };
    NAME(block) block;
    for (int64_t i = 0, m; i < n; i += m) {
        m = n - i < CC1D_BLOCK ? n - i : CC1D_BLOCK;
        for (int64_t at = 0; at < m * ITEM; at += 64)
            __builtin_prefetch(x + (i + 2 * CC1D_BLOCK) * ITEM + at, 0, 3);
        /* Not through a buffer: loads across two vectors that have just been stored would wait for both, and
         * those for the results before them to leave for memory. */
        if (IS_PAIRS(dtype, 2))
            NAME(convolve_pairs)(block.acc, weights, x + i * ITEM, m, width);
        else
            NAME(convolve_as)(block.acc, weights, x + i * ITEM, m, width, dtype);
        NAME(block_activate)(&block, m, activation, NAME(form_of)(dtype, residual != NULL));
        NAME(block_finish)
        (&block, 0, residual ? residual + i * ITEM : NULL, out + i * ITEM, m, dtype, IS_PAIRS(dtype, 2));
    }
}

#define FORWARD_HALVES(as)                                                                               \
    SIMD_TARGET static void NAME(forward_##as)(const REAL *weights, const char *x, const char *residual, \
                                               char *out, int64_t n, int64_t width,                      \
                                               cc1d_activation activation) {                             \
        NAME(forward_halves)(weights, x, residual, out, n, width, CC1D_##as, activation);                \
    }
CC1D_EACH_HALF(FORWARD_HALVES)
#undef FORWARD_HALVES
#endif

/* n direct steps. x: the oldest tap of the first. */
SIMD_TARGET static void NAME(forward_run)(const cc1d_problem *p, const REAL *weights, const char *x,
                                          const char *residual, char *out, int64_t n) {
    const int dtype = p->view[CC1D_X].dtype;
    const int64_t item = (int64_t)cc1d_itemsize(dtype), unit = IS_PAIRS(dtype, 2) ? 2 * LANES : LANES;
    int64_t i = n / unit * unit;
    if (dtype == DTYPE) NAME(forward_reals)(weights, x, residual, out, i, p->width, p->activation);
#if IS_FLOAT
#define FORWARD_HALVES(as) \
    if (dtype == CC1D_##as) NAME(forward_##as)(weights, x, residual, out, i, p->width, p->activation);
    CC1D_EACH_HALF(FORWARD_HALVES)
#undef FORWARD_HALVES
#endif
    for (; i < n; i += LANES) {
        const int lanes = n - i < LANES ? (int)(n - i) : LANES;
        VEC y = NAME(convolve_lanes)(weights, x + i * item, 1, p->width, dtype, lanes);
        NAME(activate)(&y, p->activation, NAME(form_of)(dtype, residual != NULL), 1);
        if (residual) y = ADD(y, LOAD_N(residual + i * item, dtype, lanes));
        STORE_N(out + i * item, dtype, y, lanes);
    }
}

/* What a channel's steps are made of. */
typedef struct NAME(row) {
    REAL weights[CC1D_MAX_WIDTH + 1];
    int64_t d;
    cc1d_line x, residual, out;
} NAME(row);

/* The taps of n <= LANES steps from t on near the start of their sequence, without a seq_idx. */
SIMD_INLINE void NAME(lay_start)(const cc1d_problem *p, const cc1d_segment *s, const NAME(row) * row,
                                 int64_t t, int n, REAL *taps) {
    const int dtype = p->view[CC1D_X].dtype;
    const int64_t back = p->width - 1,
                  before = s->start - (t - back); /* taps from before the sequence, >= 1 */
    for (int64_t i = 0; i < before; i += LANES) STORE(taps + i, DTYPE, SET(0));
    if (s->past)
        NAME(gather)(taps, s->past, cc1d_past_element(p, s, row->d, t - back), s->past->stride[2], before);
    NAME(widen_row)
    (taps + before, cc1d_at(row->x, s->start, (int64_t)cc1d_itemsize(dtype)), back + n - before, dtype);
}

/* These steps of some channels. The taps of all are laid out before any is used: loads across two vectors
 * that have just been stored would wait for both. */
SIMD_TARGET static void NAME(forward_starts)(const cc1d_problem *p, const cc1d_segment *s,
                                             const NAME(row) * rows, int count, int64_t t, int n) {
    const int dtype = p->view[CC1D_X].dtype;
    const int64_t item = (int64_t)cc1d_itemsize(dtype);
    const bool add = p->view[CC1D_RESIDUAL].present;
    _Alignas(64) REAL taps[SIMD_VECTORS][CC1D_MAX_WIDTH + 3 * LANES];
    VEC y[SIMD_VECTORS];
    for (int i = 0; i < count; i++) NAME(lay_start)(p, s, &rows[i], t, n, taps[i]);
    SIMD_EACH (i, SIMD_VECTORS) {
        y[i] = SET(0);
        if (i >= count) continue;
        y[i] = SET(rows[i].weights[p->width]);
        for (int64_t k = 0; k < p->width; k++)
            y[i] = FMA(SET(rows[i].weights[k]), LOAD(taps[i] + k, DTYPE), y[i]);
    }
    NAME(activate)(y, p->activation, NAME(form_of)(dtype, add), SIMD_VECTORS);
    SIMD_EACH (i, SIMD_VECTORS) {
        if (i >= count) continue;
        if (add) y[i] = ADD(y[i], LOAD_N(cc1d_at(rows[i].residual, t, item), dtype, n));
        STORE_N(cc1d_at(rows[i].out, t, item), dtype, y[i], n);
    }
}

/* The pre-activation of n <= LANES steps from t on, with a seq_idx. */
SIMD_TARGET static VEC NAME(convolve_mixed)(const cc1d_problem *p, const cc1d_segment *s, const REAL *weights,
                                            int64_t d, int64_t t, int n) {
    _Alignas(64) char taps[LANES * sizeof(REAL)];
    VEC acc = SET(weights[p->width]);
    for (int64_t k = 0; k < p->width; k++) {
        cc1d_collect_tap(p, s, d, t, n, k, taps);
        acc = FMA(SET(weights[k]), LOAD_N(taps, p->view[CC1D_X].dtype, n), acc);
    }
    return acc;
}

/* One vector of steps that see several sequences. */
SIMD_TARGET static void NAME(forward_mixed)(const cc1d_problem *p, const cc1d_segment *s,
                                            const NAME(row) * row, int64_t t, int n) {
    const int dtype = p->view[CC1D_X].dtype;
    const int64_t item = (int64_t)cc1d_itemsize(dtype);
    const bool add = p->view[CC1D_RESIDUAL].present;
    VEC y = NAME(convolve_mixed)(p, s, row->weights, row->d, t, n);
    NAME(activate)(&y, p->activation, NAME(form_of)(dtype, add), 1);
    if (add) y = ADD(y, LOAD_N(cc1d_at(row->residual, t, item), dtype, n));
    REAL padding[LANES];
    for (int i = 0; i < n; i++) padding[i] = cc1d_sequence_id(p, s, t + i) < 0 ? 1 : 0;
    y = SELECT_LESS(SET(0), LOAD_N(padding, DTYPE, n), SET(0), y);
    STORE_N(cc1d_at(row->out, t, item), dtype, y, n);
}

/* Some channels' steps of the spans. */
SIMD_TARGET static void NAME(forward_lines)(const cc1d_problem *p, const cc1d_segment *s,
                                            const cc1d_spans *spans, const NAME(row) * rows, int count) {
    const int64_t item = (int64_t)cc1d_itemsize(p->view[CC1D_X].dtype);
    const bool add = p->view[CC1D_RESIDUAL].present;
    for (int i = 0; i < spans->count; i++) {
        const cc1d_span span = cc1d_span_at(spans, i);
        const int64_t step = span.direct ? span.t1 - span.t0 : LANES;
        for (int64_t t = span.t0; t < span.t1; t += step) {
            const int64_t n = span.t1 - t < step ? span.t1 - t : step;
            if (!span.direct && !cc1d_has_ids(p)) {
                NAME(forward_starts)(p, s, rows, count, t, (int)n);
                continue;
            }
            for (const NAME(row) *row = rows; row < rows + count; row++) {
                const char *residual = add ? cc1d_at(row->residual, t, item) : NULL;
                if (!span.direct)
                    NAME(forward_mixed)(p, s, row, t, (int)n);
                else
                    NAME(forward_run)
                (p, row->weights, cc1d_at(row->x, t - (p->width - 1), item), residual,
                 cc1d_at(row->out, t, item), n);
            }
        }
    }
}

SIMD_TARGET static void NAME(forward_time)(const cc1d_problem *p, const cc1d_segment *s) {
    NAME(row) rows[SIMD_VECTORS];
    cc1d_spans spans;
    for (int64_t t = s->t0; t < s->t1; t = spans.t1) {
        cc1d_cpu_spans(p, s, t, s->t1, LANES, p->width - 1, 0, &spans);
        for (int64_t d = s->d0; d < s->d1; d += SIMD_VECTORS) {
            const int count = s->d1 - d < SIMD_VECTORS ? (int)(s->d1 - d) : SIMD_VECTORS;
            for (int i = 0; i < count; i++) {
                NAME(row_weights)(p, d + i, rows[i].weights);
                rows[i].d = d + i;
                rows[i].x = cc1d_line_of(&p->view[CC1D_X], s->b, d + i);
                rows[i].residual = cc1d_line_of(&p->view[CC1D_RESIDUAL], s->b, d + i);
                rows[i].out = cc1d_line_of(&p->view[CC1D_OUT], s->b, d + i);
            }
            NAME(forward_lines)(p, s, &spans, rows, count);
        }
    }
}

SIMD_TARGET static void NAME(forward_general)(const cc1d_problem *p, const cc1d_segment *s) {
    enum { STEPS = CC1D_PACK_STEPS };
    _Alignas(64) char x[(CC1D_MAX_WIDTH + STEPS) * sizeof(REAL)];
    _Alignas(64) char residual[STEPS * sizeof(REAL)], out[STEPS * sizeof(REAL)];
    const cc1d_view *to = &p->view[CC1D_OUT];
    NAME(row) row;
    cc1d_spans spans;
    for (int64_t t = s->t0; t < s->t1; t = spans.t1) {
        const int64_t limit = s->t1 - t < STEPS ? s->t1 : t + STEPS;
        const int64_t first = t - (p->width - 1) > s->start ? t - (p->width - 1) : s->start;
        cc1d_cpu_spans(p, s, t, limit, LANES, p->width - 1, 0, &spans);
        for (int64_t d = s->d0; d < s->d1; d++) {
            NAME(row_weights)(p, d, row.weights);
            row.d = d;
            row.x = cc1d_pack(&p->view[CC1D_X], s->b, d, first, limit, x);
            row.residual = cc1d_pack(&p->view[CC1D_RESIDUAL], s->b, d, t, limit, residual);
            row.out = (cc1d_line){out, t};
            NAME(forward_lines)(p, s, &spans, &row, 1);
            cc1d_copy(cc1d_element(to, s->b, d, t), to->stride[2], out, 1, limit - t,
                      (int64_t)cc1d_itemsize(to->dtype));
        }
    }
}
