/* kernel_backward_channel.h - part of the kernel text: backward where channels are contiguous in memory. One
 * pass over the steps: at step u the gradient of its pre-activation is computed, and then dx of step u -
 * (W-1), which needs nothing later. */

/* What a tile of channels carries from step to step. Rows of `pitch` channels, in the workspace. */
typedef struct NAME(carry) {
    REAL *sums;    /* W + 1 rows: the weight gradients' sums of the present run */
    REAL *earlier; /* W - 1 rows: the pre-activation's gradients of the last W-1 steps, the oldest first */
} NAME(carry);

/* ---- REALs: one loop, which is bound by memory ------------------------------------------------------- */

/* `count` direct steps of one vector of channels, from the step of dout on. x: the oldest tap of the first
 * step. dx: of the step W-1 before it. sums, earlier: rows of `pitch`. sums may be NULL, dx without a base.
 */
SIMD_INLINE void NAME(backward_vector)(const REAL *weights, int64_t pitch, cc1d_column x, cc1d_column dout,
                                       cc1d_column dx, REAL *sums, REAL *earlier, int width,
                                       cc1d_activation activation, int count) {
    VEC acc[SIMD_VECTORS], all[SIMD_VECTORS + CC1D_MOST_BACK], *now = all + width - 1;
    SIMD_EACH (i, count) /* as in forward_channels */
        __builtin_prefetch(x.base + (width - 1 + CC1D_PREFETCH_STEPS + i) * x.pitch, 0, 2);
    SIMD_EACH (i, count) __builtin_prefetch(dout.base + (CC1D_PREFETCH_STEPS + i) * dout.pitch, 0, 2);
    SIMD_EACH (i, count) acc[i] = LOAD(weights + width * pitch, DTYPE);
    SIMD_EACH (j, width + count - 1) { /* each step is loaded once */
        const VEC tap = LOAD(x.base + j * x.pitch, DTYPE);
        SIMD_EACH (i, count)
            if (i <= j && j < i + width) acc[i] = FMA(LOAD(weights + (j - i) * pitch, DTYPE), tap, acc[i]);
    }
    SIMD_EACH (i, count) now[i] = LOAD(dout.base + i * dout.pitch, DTYPE);
    NAME(deactivate)(now, acc, activation, count);
    if (sums) {
        SIMD_EACH (k, width) {
            VEC sum = LOAD(sums + k * pitch, DTYPE);
            SIMD_EACH (i, count) sum = FMA(now[i], LOAD(x.base + (k + i) * x.pitch, DTYPE), sum);
            STORE(sums + k * pitch, DTYPE, sum);
        }
        VEC sum = LOAD(sums + width * pitch, DTYPE);
        SIMD_EACH (i, count) /* an fma, so that no compiler makes another one of it and a product above */
            sum = FMA(now[i], SET(1), sum);
        STORE(sums + width * pitch, DTYPE, sum);
    }
    SIMD_EACH (j, width - 1) all[j] = LOAD(earlier + j * pitch, DTYPE);
    if (dx.base) {
        SIMD_EACH (i, count) {
            VEC y = SET(0);
            SIMD_EACH (k, width) y = FMA(LOAD(weights + k * pitch, DTYPE), all[i + width - 1 - k], y);
            STORE(dx.base + i * dx.pitch, DTYPE, y);
        }
    }
    SIMD_EACH (j, width - 1) STORE(earlier + j * pitch, DTYPE, all[j + count]);
}

/* The same of n channels, whole vectors. */
SIMD_INLINE void NAME(backward_rows)(const REAL *weights, int64_t pitch, cc1d_column x, cc1d_column dout,
                                     cc1d_column dx, REAL *sums, REAL *earlier, int64_t n, int width,
                                     cc1d_activation activation, int count) {
    for (int64_t c = 0; c < n; c += LANES) {
        const int64_t bytes = c * (int64_t)sizeof(REAL);
        NAME(backward_vector)
        (weights + c, pitch, cc1d_beside(x, bytes), cc1d_beside(dout, bytes), cc1d_beside(dx, bytes),
         sums ? sums + c : NULL, earlier + c, width, activation, count);
    }
}

/* Direct steps of n channels, whole vectors; arguments as above. */
typedef void NAME(backward_steps_fn)(const REAL *weights, int64_t pitch, cc1d_column x, cc1d_column dout,
                                     cc1d_column dx, REAL *sums, REAL *earlier, int64_t count, int64_t n,
                                     cc1d_activation activation);

#define BACKWARD_LOOP(constant, of)                                                                      \
    SIMD_TARGET static void NAME(backward_loop_##constant##_##of)(                                       \
        const REAL *weights, int64_t pitch, cc1d_column x, cc1d_column dout, cc1d_column dx, REAL *sums, \
        REAL *earlier, int64_t count, int64_t n, cc1d_activation activation) {                           \
        int64_t t = 0;                                                                                   \
        (void)activation;                                                                                \
        for (; count - t >= CC1D_BLOCK_STEPS; t += CC1D_BLOCK_STEPS) NAME(backward_rows)                 \
        (weights, pitch, cc1d_later(x, t), cc1d_later(dout, t), cc1d_later(dx, t), sums, earlier, n,     \
         constant, CC1D_ACTIVATION_##of, CC1D_BLOCK_STEPS);                                              \
        for (; t < count; t++) NAME(backward_rows)                                                       \
        (weights, pitch, cc1d_later(x, t), cc1d_later(dout, t), cc1d_later(dx, t), sums, earlier, n,     \
         constant, CC1D_ACTIVATION_##of, 1);                                                             \
    }
#define BACKWARD_LOOPS(of, name) CC1D_EACH_WIDTH_OF(BACKWARD_LOOP, of)
CC1D_EACH_ACTIVATION(BACKWARD_LOOPS)
#undef BACKWARD_LOOP
#undef BACKWARD_LOOPS

#if IS_FLOAT
/* ---- 16-bit elements: stages ------------------------------------------------------------------------- */

/* The sums of `steps` direct steps of n channels, whole vectors, and dx of the steps W-1 before. taps,
 * gradient: rows of n. sums, earlier: rows of `pitch`. sums may be NULL, dx without a base. */
SIMD_INLINE void NAME(spread)(const REAL *weights, int64_t pitch, const REAL *taps, const REAL *gradient,
                              REAL *sums, REAL *earlier, cc1d_column dx, int64_t n, int width, int dtype,
                              int steps) {
    for (int64_t c = 0; c < n; c += LANES) {
        /* The gradients of the W-1 earlier steps and of these; their taps. */
        VEC all[CC1D_BLOCK_STEPS + CC1D_MOST_BACK], tap[CC1D_BLOCK_STEPS + CC1D_MOST_BACK], weight[4];
        SIMD_EACH (i, steps) all[width - 1 + i] = LOAD(gradient + i * n + c, DTYPE);
        SIMD_EACH (j, width + steps - 1) tap[j] = LOAD(taps + j * n + c, DTYPE);
        if (sums)
            SIMD_EACH (k, width + 1) {
                VEC sum = LOAD(sums + k * pitch + c, DTYPE);
                SIMD_EACH (i, steps)
                    sum =
                        k == width ? ADD(all[width - 1 + i], sum) : FMA(all[width - 1 + i], tap[k + i], sum);
                STORE(sums + k * pitch + c, DTYPE, sum);
            }
        SIMD_EACH (j, width - 1) all[j] = LOAD(earlier + j * pitch + c, DTYPE);
        SIMD_EACH (j, width - 1) STORE(earlier + j * pitch + c, DTYPE, all[j + steps]);
        if (!dx.base) continue;
        SIMD_EACH (k, width) weight[k] = LOAD(weights + k * pitch + c, DTYPE);
        SIMD_EACH (i, steps) {
            VEC y = SET(0);
            SIMD_EACH (k, width) y = FMA(weight[k], all[i + width - 1 - k], y);
            STORE(dx.base + i * dx.pitch + c * (int64_t)cc1d_itemsize(dtype), dtype, y);
        }
    }
}

/* `steps` direct steps of n channels, whole vectors, that fit a block. x: the oldest tap of the first; dx: of
 * the step W-1 before it. */
SIMD_INLINE void NAME(backward_patch)(const REAL *weights, int64_t pitch, cc1d_column x, cc1d_column dout,
                                      cc1d_column dx, REAL *sums, REAL *earlier, int64_t n, int width,
                                      int dtype, cc1d_activation activation, int steps) {
    _Alignas(64) REAL taps[(CC1D_BLOCK_STEPS + CC1D_MOST_BACK) * CC1D_BLOCK_CHANNELS], gradient[CC1D_BLOCK];
    NAME(block) block;
    NAME(prefetch_steps)(cc1d_later(x, width - 1), n, dtype, steps);
    NAME(prefetch_steps)(dout, n, dtype, steps);
    NAME(convolve_steps)(block.acc, taps, weights, pitch, x, n, width, dtype, steps);
    NAME(block_prepare)(&block, steps * n, activation, NAME(SLOPE));
    for (int i = 0; i < steps; i++)
        NAME(block_slopes)(&block, i * n, cc1d_later(dout, i).base, gradient + i * n, n, dtype, activation);
    NAME(spread)(weights, pitch, taps, gradient, sums, earlier, dx, n, width, dtype, steps);
}

/* The same of any number of channels. */
SIMD_INLINE void NAME(backward_patches)(const REAL *weights, int64_t pitch, cc1d_column x, cc1d_column dout,
                                        cc1d_column dx, REAL *sums, REAL *earlier, int64_t n, int width,
                                        int dtype, cc1d_activation activation, int steps) {
    for (int64_t c = 0; c < n; c += CC1D_BLOCK_CHANNELS) {
        const int64_t bytes = c * (int64_t)cc1d_itemsize(dtype);
        NAME(backward_patch)
        (weights + c, pitch, cc1d_beside(x, bytes), cc1d_beside(dout, bytes), cc1d_beside(dx, bytes),
         sums ? sums + c : NULL, earlier + c, n - c < CC1D_BLOCK_CHANNELS ? n - c : CC1D_BLOCK_CHANNELS,
         width, dtype, activation, steps);
    }
}

#define BACKWARD_STEPS(constant, as)                                                                     \
    SIMD_TARGET static void NAME(backward_steps_##constant##_##as)(                                      \
        const REAL *weights, int64_t pitch, cc1d_column x, cc1d_column dout, cc1d_column dx, REAL *sums, \
        REAL *earlier, int64_t count, int64_t n, cc1d_activation activation) {                           \
        int64_t t = 0;                                                                                   \
        for (; count - t >= CC1D_BLOCK_STEPS; t += CC1D_BLOCK_STEPS) NAME(backward_patches)              \
        (weights, pitch, cc1d_later(x, t), cc1d_later(dout, t), cc1d_later(dx, t), sums, earlier, n,     \
         constant, CC1D_##as, activation, CC1D_BLOCK_STEPS);                                             \
        for (; t < count; t++) NAME(backward_patches)                                                    \
        (weights, pitch, cc1d_later(x, t), cc1d_later(dout, t), cc1d_later(dx, t), sums, earlier, n,     \
         constant, CC1D_##as, activation, 1);                                                            \
    }
#define BACKWARD_STEPS_OF(as) CC1D_EACH_WIDTH_OF(BACKWARD_STEPS, as)
CC1D_EACH_HALF(BACKWARD_STEPS_OF)
#undef BACKWARD_STEPS
#undef BACKWARD_STEPS_OF
#endif

/* NULL: this width goes step by step. */
static NAME(backward_steps_fn) * NAME(pick_backward_steps)(const cc1d_problem *p) {
#define LOOP(constant, of)                                                           \
    if (cc1d_is_kernel(p, DTYPE, constant) && p->activation == CC1D_ACTIVATION_##of) \
        return NAME(backward_loop_##constant##_##of);
#define LOOPS(of, name) CC1D_EACH_WIDTH_OF(LOOP, of)
    CC1D_EACH_ACTIVATION(LOOPS)
#undef LOOP
#undef LOOPS
#if IS_FLOAT
#define STEPS(constant, as) \
    if (cc1d_is_kernel(p, CC1D_##as, constant)) return NAME(backward_steps_##constant##_##as);
#define STEPS_OF(as) CC1D_EACH_WIDTH_OF(STEPS, as)
    CC1D_EACH_HALF(STEPS_OF)
#undef STEPS
#undef STEPS_OF
#endif
    return NULL;
}

/* dx of step t = u - (W-1), whose neighbours may belong to other sequences. gradient: of step u. */
SIMD_TARGET static VEC NAME(dx_column)(const cc1d_problem *p, const cc1d_segment *s, const NAME(tile) * tile,
                                       const REAL *earlier, int64_t c, int64_t t, VEC gradient, bool direct,
                                       int n) {
    const cc1d_view *dfinal = &p->view[CC1D_DFINAL];
    const int64_t id = cc1d_sequence_id(p, s, t), back = p->width - 1;
    REAL seed[LANES] = {0};
    if (id < 0) return SET(0);
    const int64_t j = direct || !dfinal->present ? -1 : cc1d_state_column(p, s, t);
    if (j >= 0) NAME(gather)
    (seed, dfinal, s->n * dfinal->stride[0] + (tile->d + c) * dfinal->stride[1] + j * dfinal->stride[2],
     dfinal->stride[1], n);
    VEC sum = LOAD(seed, DTYPE);
    for (int64_t k = 0; k <= back; k++) {
        const int64_t step = t + back - k;
        VEC counted = k == 0 ? gradient : LOAD_N(earlier + (back - k) * tile->pitch + c, DTYPE, n);
        if (!direct && step < s->end && cc1d_sequence_id(p, s, step) != id) counted = SET(0);
        sum = FMA(LOAD_N(tile->weights + k * tile->pitch + c, DTYPE, n), counted, sum);
    }
    return sum;
}

/* Step u of n channels from the tile's channel c on: its gradient, its part of the sums if it is a step of
 * the segment, and dx of the step W-1 before if that is one. */
SIMD_TARGET static void NAME(backward_column)(const cc1d_problem *p, const cc1d_segment *s,
                                              const NAME(tile) * tile, NAME(carry) carry, int64_t c,
                                              int64_t u, bool direct, int n) {
    const cc1d_view *dout = &p->view[CC1D_DOUT], *dx = &p->view[CC1D_DX], *x = &p->view[CC1D_X];
    const int64_t d = tile->d + c, back = p->width - 1;
    VEC gradient = SET(0);
    if (u < s->end && cc1d_sequence_id(p, s, u) >= 0) {
        VEC acc = NAME(convolve_column)(p, s, tile, c, u, direct, n);
        gradient = LOAD_N(cc1d_element(dout, s->b, d, u), dout->dtype, n);
        NAME(deactivate)(&gradient, &acc, p->activation, 1);
    }
    for (int64_t k = 0; k <= p->width && u < s->t1; k++) {
        REAL *sum = carry.sums + k * tile->pitch + c;
        VEC tap = SET(1);
        if (k < p->width && direct)
            tap = LOAD_N(cc1d_element(x, s->b, d, u - back + k), x->dtype, n);
        else if (k < p->width)
            tap = NAME(column_tap)(p, s, d, u, u - back + k, n);
        STORE_N(sum, DTYPE, FMA(gradient, tap, LOAD_N(sum, DTYPE, n)), n);
    }
    if (dx->present && u - back >= s->t0)
        STORE_N(cc1d_element(dx, s->b, d, u - back), dx->dtype,
                NAME(dx_column)(p, s, tile, carry.earlier, c, u - back, gradient, direct, n), n);
    for (int64_t j = 0; j < back; j++) {
        REAL *to = carry.earlier + j * tile->pitch + c;
        STORE_N(to, DTYPE, j + 1 < back ? LOAD_N(to + tile->pitch, DTYPE, n) : gradient, n);
    }
}

/* Steps u0..u1-1 of all channels of the tile. */
SIMD_TARGET static void NAME(backward_tile)(const cc1d_problem *p, const cc1d_segment *s,
                                            const NAME(tile) * tile, NAME(carry) carry,
                                            NAME(backward_steps_fn) * steps, int64_t u0, int64_t u1,
                                            bool direct) {
    const int64_t back = p->width - 1;
    int64_t c = 0;
    if (steps && direct) { /* not past the end of the sequence, then */
        cc1d_column dx = {NULL, 0};
        if (u0 - back >= s->t0) dx = cc1d_column_of(&p->view[CC1D_DX], s->b, tile->d, u0 - back);
        c = tile->count / LANES * LANES;
        steps(tile->weights, tile->pitch, cc1d_column_of(&p->view[CC1D_X], s->b, tile->d, u0 - back),
              cc1d_column_of(&p->view[CC1D_DOUT], s->b, tile->d, u0), dx, u0 < s->t1 ? carry.sums : NULL,
              carry.earlier, u1 - u0, c, p->activation);
    }
    for (; c < tile->count; c += LANES)
        for (int64_t u = u0; u < u1; u++) NAME(backward_column)
    (p, s, tile, carry, c, u, direct, tile->count - c < LANES ? (int)(tile->count - c) : LANES);
}

/* Adds the sums of a run to partial and clears them. */
SIMD_TARGET static void NAME(end_run)(const cc1d_problem *p, const NAME(tile) * tile, NAME(carry) carry,
                                      double *partial) {
    for (int64_t k = 0; k <= p->width; k++) {
        REAL *sums = carry.sums + k * tile->pitch;
        int64_t c = 0;
        for (; partial && c + LANES <= tile->count; c += LANES)
            ACCUMULATE(partial + k * p->dim + c, LOAD(sums + c, DTYPE));
        for (; partial && c < tile->count; c++) partial[k * p->dim + c] += (double)sums[c];
        memset(sums, 0, (size_t)tile->count * sizeof(REAL));
    }
}

static int64_t NAME(earliest)(int64_t a, int64_t b) { return a < b ? a : b; }

SIMD_TARGET static void NAME(backward_channel)(const cc1d_problem *p, const cc1d_segment *s, double *partial,
                                               void *workspace) {
    NAME(backward_steps_fn) *steps = NAME(pick_backward_steps)(p);
    const int64_t back = p->width - 1, limit = cc1d_has(p, CC1D_DX) ? s->t1 + back : s->t1;
    NAME(tile) tile = {.weights = workspace};
    cc1d_spans spans;
    for (int64_t d = s->d0; d < s->d1; d += tile.count) {
        double *to = partial ? partial + (d - s->d0) : NULL;
        NAME(load_tile)(p, d, s->d1, &tile);
        REAL *rows = tile.weights + (p->width + 1) * tile.pitch;
        const NAME(carry) carry = {rows, rows + (p->width + 1) * tile.pitch};
        memset(rows, 0, (size_t)(2 * p->width * tile.pitch) * sizeof(REAL));
        for (int64_t t = s->t0; t < limit; t = spans.t1) {
            cc1d_cpu_spans(p, s, t, limit, 1, back, 0, &spans);
            for (int i = 0; i < spans.count; i++) {
                const cc1d_span span = cc1d_span_at(&spans, i);
                for (int64_t u = span.t0, next; u < span.t1; u = next) {
                    /* A piece ends with a run, the segment, or where dx begins. */
                    next = s->t0 + ((u - s->t0) / CC1D_DW_RUN + 1) * CC1D_DW_RUN;
                    next = NAME(earliest)(next, span.t1);
                    if (u < s->t1) next = NAME(earliest)(next, s->t1);
                    if (u < s->t0 + back) next = NAME(earliest)(next, s->t0 + back);
                    NAME(backward_tile)(p, s, &tile, carry, steps, u, next, span.direct);
                    if (next == s->t1 || (next < s->t1 && (next - s->t0) % CC1D_DW_RUN == 0))
                        NAME(end_run)(p, &tile, carry, to);
                }
            }
        }
    }
}
