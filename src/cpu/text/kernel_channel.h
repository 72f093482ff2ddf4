/* kernel_channel.h - part of the kernel text: forward where channels are contiguous in memory. A
 * vector holds channels of one step. */

/* ---- REALs: one loop, which is bound by memory ------------------------------------------------------- */

/* `count` adjacent vectors of channels of `rows` successive steps. x: the oldest tap of the first. The few
 * steps at a time keep memory accesses apart: with a power of two of channels all steps' addresses share
 * their low bits, and compete for the same few places of the first-level cache. */
SIMD_INLINE void NAME(forward_channels)(const REAL *weights, int64_t pitch, cc1d_column x,
                                        cc1d_column residual, cc1d_column out, int64_t width,
                                        cc1d_activation activation, int rows, int count) {
    const int64_t vector = LANES * (int64_t)sizeof(REAL);
    VEC y[SIMD_VECTORS];
    SIMD_EACH (i, rows * count) /* processors do not foresee such steps themselves */
        __builtin_prefetch(
            x.base + (width - 1 + CC1D_PREFETCH_STEPS + i / count) * x.pitch + i % count * vector, 0, 2);
    SIMD_EACH (i, rows * count) y[i] = LOAD(weights + width * pitch + i % count * LANES, DTYPE);
    SIMD_UNROLL
    for (int64_t k = 0; k < width; k++) {
        SIMD_EACH (i, rows * count)
            y[i] = FMA(LOAD(weights + k * pitch + i % count * LANES, DTYPE),
                       LOAD(x.base + (k + i / count) * x.pitch + i % count * vector, DTYPE), y[i]);
    }
    NAME(activate)(y, activation, NAME(LONG), rows * count);
    if (residual.base) {
        SIMD_EACH (i, rows * count)
            y[i] = ADD(y[i], LOAD(residual.base + i / count * residual.pitch + i % count * vector, DTYPE));
    }
    SIMD_EACH (i, rows * count) STORE(out.base + i / count * out.pitch + i % count * vector, DTYPE, y[i]);
}

/* `rows` direct steps of n >= LANES channels. x: the oldest tap of the first. */
SIMD_INLINE void NAME(forward_rows)(const REAL *weights, int64_t pitch, cc1d_column x, cc1d_column residual,
                                    cc1d_column out, int64_t n, int64_t width, cc1d_activation activation,
                                    int rows) {
    const int64_t item = (int64_t)sizeof(REAL);
    int64_t c = 0;
#define FORWARD_CHANNELS(count)                                                     \
    NAME(forward_channels)                                                          \
    (weights + c, pitch, cc1d_beside(x, c * item), cc1d_beside(residual, c * item), \
     cc1d_beside(out, c * item), width, activation, rows, count)
    if (rows < SIMD_VECTORS)
        for (; n - c >= SIMD_VECTORS / rows * LANES; c += SIMD_VECTORS / rows * LANES)
            FORWARD_CHANNELS(SIMD_VECTORS / rows);
    while (c < n) {
        if (n - c < LANES) c = n - LANES; /* the last ones again */
        FORWARD_CHANNELS(1);
        c += LANES;
    }
#undef FORWARD_CHANNELS
}

/* x: the oldest tap of the first step; count steps of n >= LANES channels. */
typedef void NAME(forward_steps_fn)(const REAL *weights, int64_t pitch, cc1d_column x, cc1d_column residual,
                                    cc1d_column out, int64_t count, int64_t n, int64_t width,
                                    cc1d_activation activation);

#define FORWARD_LOOP(constant, of)                                                                \
    SIMD_TARGET static void NAME(forward_loop_##constant##_##of)(                                 \
        const REAL *weights, int64_t pitch, cc1d_column x, cc1d_column residual, cc1d_column out, \
        int64_t count, int64_t n, int64_t width, cc1d_activation activation) {                    \
        int64_t t = 0;                                                                            \
        (void)activation;                                                                         \
        for (; count - t >= SIMD_VECTORS; t += SIMD_VECTORS) NAME(forward_rows)                   \
        (weights, pitch, cc1d_later(x, t), cc1d_later(residual, t), cc1d_later(out, t), n,        \
         constant ? constant : width, CC1D_ACTIVATION_##of, SIMD_VECTORS);                        \
        for (; t < count; t++) NAME(forward_rows)                                                 \
        (weights, pitch, cc1d_later(x, t), cc1d_later(residual, t), cc1d_later(out, t), n,        \
         constant ? constant : width, CC1D_ACTIVATION_##of, 1);                                   \
    }
#define FORWARD_LOOPS(of, name) CC1D_EACH_WIDTH_OR_ANY(FORWARD_LOOP, of)
CC1D_EACH_ACTIVATION(FORWARD_LOOPS)
#undef FORWARD_LOOP
#undef FORWARD_LOOPS

#if IS_FLOAT
/* ---- 16-bit elements: stages
 * ------------------------------------------------------------------------------------- */

/* The results of a block that holds rows of n channels, `count` elements in all. A function of its own for
 * all widths. */
#define FINISH_ROWS(as)                                                                                  \
    SIMD_TARGET static void NAME(finish_rows_##as)(NAME(block) * block, cc1d_column residual,            \
                                                   cc1d_column out, int64_t n, int64_t count,            \
                                                   cc1d_activation activation) {                         \
        NAME(block_activate)(block, count, activation, NAME(form_of)(CC1D_##as, residual.base != NULL)); \
        for (int64_t at = 0; at < count; at += n) {                                                      \
            NAME(block_finish)(block, at, residual.base, out.base, n, CC1D_##as, 0);                     \
            residual = cc1d_later(residual, 1), out = cc1d_later(out, 1);                                \
        }                                                                                                \
    }
CC1D_EACH_HALF(FINISH_ROWS)
#undef FINISH_ROWS

/* `steps` direct steps of n channels, whole vectors, that fit a block. x: the oldest tap of the first. */
SIMD_INLINE void NAME(forward_patch)(const REAL *weights, int64_t pitch, cc1d_column x, cc1d_column residual,
                                     cc1d_column out, int64_t n, int64_t width, int dtype,
                                     cc1d_activation activation, int steps) {
    NAME(block) block;
    NAME(prefetch_steps)(cc1d_later(x, width - 1), n, dtype, steps);
    NAME(convolve_steps)(block.acc, NULL, weights, pitch, x, n, width, dtype, steps);
#define FINISH_ROWS(as) \
    if (dtype == CC1D_##as) NAME(finish_rows_##as)(&block, residual, out, n, steps * n, activation);
    CC1D_EACH_HALF(FINISH_ROWS)
#undef FINISH_ROWS
}

/* The same of n >= LANES channels. */
SIMD_INLINE void NAME(forward_patches)(const REAL *weights, int64_t pitch, cc1d_column x,
                                       cc1d_column residual, cc1d_column out, int64_t n, int64_t width,
                                       int dtype, cc1d_activation activation, int steps) {
    const int64_t item = (int64_t)cc1d_itemsize(dtype);
    for (int64_t c = 0, m; c < n; c += m) {
        m = n - c < CC1D_BLOCK_CHANNELS ? (n - c) / LANES * LANES : CC1D_BLOCK_CHANNELS;
        if (m == 0) c = n - LANES, m = LANES; /* the last ones again */
        NAME(forward_patch)
        (weights + c, pitch, cc1d_beside(x, c * item), cc1d_beside(residual, c * item),
         cc1d_beside(out, c * item), m, width, dtype, activation, steps);
    }
}

#define FORWARD_STEPS(constant, as)                                                               \
    SIMD_TARGET static void NAME(forward_steps_##constant##_##as)(                                \
        const REAL *weights, int64_t pitch, cc1d_column x, cc1d_column residual, cc1d_column out, \
        int64_t count, int64_t n, int64_t width, cc1d_activation activation) {                    \
        int64_t t = 0;                                                                            \
        for (; count - t >= CC1D_BLOCK_STEPS; t += CC1D_BLOCK_STEPS) NAME(forward_patches)        \
        (weights, pitch, cc1d_later(x, t), cc1d_later(residual, t), cc1d_later(out, t), n,        \
         constant ? constant : width, CC1D_##as, activation, CC1D_BLOCK_STEPS);                   \
        for (; t < count; t++) NAME(forward_patches)                                              \
        (weights, pitch, cc1d_later(x, t), cc1d_later(residual, t), cc1d_later(out, t), n,        \
         constant ? constant : width, CC1D_##as, activation, 1);                                  \
    }
#define FORWARD_STEPS_OF(as) CC1D_EACH_WIDTH_OR_ANY(FORWARD_STEPS, as)
CC1D_EACH_HALF(FORWARD_STEPS_OF)
#undef FORWARD_STEPS
#undef FORWARD_STEPS_OF
#endif

static NAME(forward_steps_fn) * NAME(pick_forward_steps)(const cc1d_problem *p) {
#define LOOP(constant, of)                                                           \
    if (cc1d_is_kernel(p, DTYPE, constant) && p->activation == CC1D_ACTIVATION_##of) \
        return NAME(forward_loop_##constant##_##of);
#define LOOPS(of, name) CC1D_EACH_WIDTH_OR_ANY(LOOP, of)
    CC1D_EACH_ACTIVATION(LOOPS)
#undef LOOP
#undef LOOPS
#if IS_FLOAT
#define STEPS(constant, as) \
    if (cc1d_is_kernel(p, CC1D_##as, constant)) return NAME(forward_steps_##constant##_##as);
#define STEPS_OF(as) CC1D_EACH_WIDTH_OR_ANY(STEPS, as)
    CC1D_EACH_HALF(STEPS_OF)
#undef STEPS
#undef STEPS_OF
#endif
    return NULL;
}

SIMD_TARGET static void NAME(forward_collected_column)(const cc1d_problem *p, const cc1d_segment *s,
                                                       const NAME(tile) * tile, int64_t c, int64_t t, int n) {
    const cc1d_view *residual = &p->view[CC1D_RESIDUAL], *out = &p->view[CC1D_OUT];
    const int64_t d = tile->d + c;
    VEC y = SET(0);
    if (cc1d_sequence_id(p, s, t) >= 0) {
        y = NAME(convolve_column)(p, s, tile, c, t, false, n);
        NAME(activate)(&y, p->activation, NAME(form_of)(out->dtype, residual->present), 1);
        if (residual->present) y = ADD(y, LOAD_N(cc1d_element(residual, s->b, d, t), residual->dtype, n));
    }
    STORE_N(cc1d_element(out, s->b, d, t), out->dtype, y, n);
}

SIMD_TARGET static void NAME(forward_tile)(const cc1d_problem *p, const cc1d_segment *s, cc1d_span span,
                                           NAME(forward_steps_fn) * steps, const NAME(tile) * tile) {
    if (span.direct && tile->count >= LANES) {
        steps(tile->weights, tile->pitch,
              cc1d_column_of(&p->view[CC1D_X], s->b, tile->d, span.t0 - (p->width - 1)),
              cc1d_column_of(&p->view[CC1D_RESIDUAL], s->b, tile->d, span.t0),
              cc1d_column_of(&p->view[CC1D_OUT], s->b, tile->d, span.t0), span.t1 - span.t0, tile->count,
              p->width, p->activation);
        return;
    }
    for (int64_t t = span.t0; t < span.t1; t++)
        for (int64_t c = 0; c < tile->count; c += LANES) NAME(forward_collected_column)
    (p, s, tile, c, t, tile->count - c < LANES ? (int)(tile->count - c) : LANES);
}

SIMD_TARGET static void NAME(forward_channel)(const cc1d_problem *p, const cc1d_segment *s) {
    NAME(forward_steps_fn) *steps = NAME(pick_forward_steps)(p);
    _Alignas(64) char weights[CC1D_TILE_BYTES];
    NAME(tile) tile = {.weights = (REAL *)(void *)weights};
    cc1d_spans spans;
    for (int64_t d = s->d0; d < s->d1; d += tile.count) {
        NAME(load_tile)(p, d, s->d1, &tile);
        for (int64_t t = s->t0; t < s->t1; t = spans.t1) {
            cc1d_cpu_spans(p, s, t, s->t1, 1, p->width - 1, 0, &spans);
            for (int i = 0; i < spans.count; i++)
                NAME(forward_tile)(p, s, cc1d_span_at(&spans, i), steps, &tile);
        }
    }
}
