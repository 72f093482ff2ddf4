/* kernel_channel.h - part of kernel_text.h: forward where channels are contiguous in memory. A
 * vector holds channels of one step. */

/* Weights of `count` channels from d on: coefficient k (W: the bias) of channel d + i lies at
 * weights[k * pitch + i]. */
typedef struct NAME(tile) {
    int64_t d, count, pitch;
    REAL *weights; /* room for CC1D_TILE_BYTES */
} NAME(tile);

SIMD_TARGET static void NAME(load_tile)(const cc1d_problem *p, int64_t d, int64_t limit, NAME(tile) * tile) {
    const cc1d_view *weight = &p->view[CC1D_WEIGHT], *bias = &p->view[CC1D_BIAS];
    const int64_t most = CC1D_TILE_BYTES / (int64_t)sizeof(REAL) / (p->width + 1) / LANES * LANES;
    tile->d = d;
    tile->count = p->dim < CC1D_TILE_CHANNELS ? p->dim : CC1D_TILE_CHANNELS;
    tile->pitch = (tile->count + LANES - 1) / LANES * LANES + 16;
    if (tile->pitch > most) tile->count = tile->pitch = most;
    if (tile->count > limit - d) tile->count = limit - d;
    for (int64_t k = 0; k < p->width; k++) NAME(gather)
    (tile->weights + k * tile->pitch, weight, d * weight->stride[0] + k * weight->stride[1],
     weight->stride[0], tile->count);
    REAL *to = tile->weights + p->width * tile->pitch;
    memset(to, 0, (size_t)tile->count * sizeof(REAL));
    if (bias->present) NAME(gather)(to, bias, d * bias->stride[0], bias->stride[0], tile->count);
}

/* ---- REALs: one loop, which is bound by memory ------------------------------------------------------- */

/* `count` adjacent vectors of channels of `rows` successive steps. x: the oldest tap of the first. The few
 * steps at a time keep memory accesses apart: with a power of two of channels all steps' addresses share
 * their low bits, and compete for the same few places of the first-level cache. */
SIMD_INLINE void NAME(forward_channels)(const REAL *weights, int64_t pitch, cc1d_column x,
                                        cc1d_column residual, cc1d_column out, int64_t width, int silu,
                                        int rows, int count) {
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
    NAME(activate)(y, silu, NAME(LONG), rows * count);
    if (residual.base) {
        SIMD_EACH (i, rows * count)
            y[i] = ADD(y[i], LOAD(residual.base + i / count * residual.pitch + i % count * vector, DTYPE));
    }
    SIMD_EACH (i, rows * count) STORE(out.base + i / count * out.pitch + i % count * vector, DTYPE, y[i]);
}

/* `rows` direct steps of n >= LANES channels. x: the oldest tap of the first. */
SIMD_INLINE void NAME(forward_rows)(const REAL *weights, int64_t pitch, cc1d_column x, cc1d_column residual,
                                    cc1d_column out, int64_t n, int64_t width, int silu, int rows) {
    const int64_t item = (int64_t)sizeof(REAL);
    int64_t c = 0;
#define FORWARD_CHANNELS(count)                                                     \
    NAME(forward_channels)                                                          \
    (weights + c, pitch, cc1d_beside(x, c * item), cc1d_beside(residual, c * item), \
     cc1d_beside(out, c * item), width, silu, rows, count)
    for (; n - c >= SIMD_VECTORS / rows * LANES; c += SIMD_VECTORS / rows * LANES)
        FORWARD_CHANNELS(SIMD_VECTORS / rows);
    while (c < n) {
        if (n - c < LANES) c = n - LANES; /* the last ones again */
        FORWARD_CHANNELS(1);
        c += LANES;
    }
#undef FORWARD_CHANNELS
}

/* ---- 16-bit elements: stages; and what backward takes from them ------------------------------------- */

/* The pre-activations of n channels, whole vectors, of `steps` successive steps, in rows of n. x: the oldest
 * tap of the first step; each step is read once. taps: NULL, or where the steps are kept as REALs, in rows of
 * n. */
SIMD_INLINE void NAME(convolve_steps)(REAL *acc, REAL *taps, const REAL *weights, int64_t pitch,
                                      cc1d_column x, int64_t n, int64_t width, int dtype, int steps) {
    for (int64_t c = 0; c < n; c += LANES, x.base += LANES * (int64_t)cc1d_itemsize(dtype)) {
        VEC sum[CC1D_BLOCK_STEPS], weight[4];
        SIMD_EACH (i, steps) sum[i] = LOAD(weights + width * pitch + c, DTYPE);
        if (width <= 4) {
            SIMD_EACH (k, width) weight[k] = LOAD(weights + k * pitch + c, DTYPE);
        }
        SIMD_UNROLL
        for (int64_t j = 0; j < width + steps - 1; j++) {
            const VEC tap = LOAD(x.base + j * x.pitch, dtype);
            if (taps) STORE(taps + j * n + c, DTYPE, tap);
            SIMD_EACH (i, steps) {
                if (i > j || j >= i + width) continue;
                sum[i] =
                    FMA(width <= 4 ? weight[j - i] : LOAD(weights + (j - i) * pitch + c, DTYPE), tap, sum[i]);
            }
        }
        SIMD_EACH (i, steps) STORE(acc + i * n + c, DTYPE, sum[i]);
    }
}

/* Asks for n channels of `steps` steps, some steps ahead. */
SIMD_INLINE void NAME(prefetch_steps)(cc1d_column from, int64_t n, int dtype, int steps) {
    from = cc1d_later(from, CC1D_PREFETCH_STEPS);
    for (int i = 0; i < steps; i++)
        for (int64_t at = 0; at < n * (int64_t)cc1d_itemsize(dtype); at += 64)
            __builtin_prefetch(from.base + i * from.pitch + at, 0, 2);
}

/* `steps` direct steps of n channels, whole vectors, that fit a block. x: the oldest tap of the first. */
SIMD_INLINE void NAME(forward_patch)(const REAL *weights, int64_t pitch, cc1d_column x, cc1d_column residual,
                                     cc1d_column out, int64_t n, int64_t width, int dtype, int silu,
                                     int steps) {
    NAME(block) block;
    NAME(prefetch_steps)(cc1d_later(x, width - 1), n, dtype, steps);
    NAME(convolve_steps)(block.acc, NULL, weights, pitch, x, n, width, dtype, steps);
    NAME(block_activate)(&block, steps * n, silu, NAME(form_of)(dtype, residual.base != NULL));
    for (int i = 0; i < steps; i++) NAME(block_finish)
    (&block, i * n, cc1d_later(residual, i).base, cc1d_later(out, i).base, n, dtype, 0);
}

/* Direct steps of n >= LANES channels of 16-bit elements, in patches. */
SIMD_INLINE void NAME(forward_patches)(const REAL *weights, int64_t pitch, cc1d_column x,
                                       cc1d_column residual, cc1d_column out, int64_t count, int64_t n,
                                       int64_t width, int dtype, int silu) {
    const int64_t item = (int64_t)cc1d_itemsize(dtype);
#define FORWARD_PATCH(steps)                                                                           \
    for (int64_t c = 0, m; c < n; c += m) {                                                            \
        m = n - c < CC1D_BLOCK_CHANNELS ? (n - c) / LANES * LANES : CC1D_BLOCK_CHANNELS;               \
        if (m == 0) c = n - LANES, m = LANES; /* the last ones again */                                \
        NAME(forward_patch)                                                                            \
        (weights + c, pitch, cc1d_beside(cc1d_later(x, t), c * item),                                  \
         cc1d_beside(cc1d_later(residual, t), c * item), cc1d_beside(cc1d_later(out, t), c * item), m, \
         width, dtype, silu, steps);                                                                   \
    }
    int64_t t = 0;
    for (; count - t >= CC1D_BLOCK_STEPS; t += CC1D_BLOCK_STEPS) FORWARD_PATCH(CC1D_BLOCK_STEPS)
    for (; t < count; t++) FORWARD_PATCH(1)
#undef FORWARD_PATCH
}

/* Direct steps of n >= LANES channels of REALs. */
SIMD_INLINE void NAME(forward_loop)(const REAL *weights, int64_t pitch, cc1d_column x, cc1d_column residual,
                                    cc1d_column out, int64_t count, int64_t n, int64_t width, int silu) {
    int64_t t = 0;
    for (; count - t >= SIMD_VECTORS; t += SIMD_VECTORS) NAME(forward_rows)
    (weights, pitch, cc1d_later(x, t), cc1d_later(residual, t), cc1d_later(out, t), n, width, silu,
     SIMD_VECTORS);
    for (; t < count; t++) NAME(forward_rows)
    (weights, pitch, cc1d_later(x, t), cc1d_later(residual, t), cc1d_later(out, t), n, width, silu, 1);
}

/* x: the oldest tap of the first step. */
typedef void NAME(forward_steps_fn)(const REAL *weights, int64_t pitch, cc1d_column x, cc1d_column residual,
                                    cc1d_column out, int64_t count, int64_t n, int64_t width);

#define FORWARD_STEPS(dtype, constant, silu)                                                                \
    SIMD_TARGET static void NAME(forward_steps_##dtype##_##constant##_##silu)(                              \
        const REAL *weights, int64_t pitch, cc1d_column x, cc1d_column residual, cc1d_column out,           \
        int64_t count, int64_t n, int64_t width) {                                                          \
        if (CC1D_##dtype == DTYPE) NAME(forward_loop)                                                       \
        (weights, pitch, x, residual, out, count, n, constant ? constant : width, silu);                    \
        else NAME(forward_patches)(weights, pitch, x, residual, out, count, n, constant ? constant : width, \
                                   CC1D_##dtype, silu);                                                     \
    }
EACH_KERNEL(FORWARD_STEPS, 0)
EACH_KERNEL(FORWARD_STEPS, 1)
#undef FORWARD_STEPS

static NAME(forward_steps_fn) * NAME(pick_forward_steps)(const cc1d_problem *p) {
#define FORWARD_STEPS(dtype, constant, silu)                                  \
    if (cc1d_is_kernel(p, CC1D_##dtype, constant) && cc1d_is_silu(p) == silu) \
        return NAME(forward_steps_##dtype##_##constant##_##silu);
    EACH_KERNEL(FORWARD_STEPS, 0)
    EACH_KERNEL(FORWARD_STEPS, 1)
#undef FORWARD_STEPS
    return NULL;
}

/* Step `step` of channels d..d+n-1 as a tap of step t. */
SIMD_TARGET static VEC NAME(column_tap)(const cc1d_problem *p, const cc1d_segment *s, int64_t d, int64_t t,
                                        int64_t step, int n) {
    const cc1d_view *initial = &p->view[CC1D_INITIAL];
    const char *tap = cc1d_tap(p, s, d, t, step);
    REAL gathered[LANES];
    if (!tap) return SET(0);
    if (step >= s->start) return LOAD_N(tap, p->view[CC1D_X].dtype, n);
    const int64_t j = step - s->start + p->width - 1;
    NAME(gather)
    (gathered, initial, s->n * initial->stride[0] + d * initial->stride[1] + j * initial->stride[2],
     initial->stride[1], n);
    return LOAD_N(gathered, DTYPE, n);
}

/* acc of one step, n channels from the tile's channel c on. */
SIMD_TARGET static VEC NAME(convolve_column)(const cc1d_problem *p, const cc1d_segment *s,
                                             const NAME(tile) * tile, int64_t c, int64_t t, bool direct,
                                             int n) {
    const cc1d_view *x = &p->view[CC1D_X];
    const REAL *weights = tile->weights + c;
    VEC acc = LOAD_N(weights + p->width * tile->pitch, DTYPE, n);
    for (int64_t k = 0; k < p->width; k++) {
        const int64_t step = t - (p->width - 1) + k;
        const VEC tap = direct ? LOAD_N(cc1d_element(x, s->b, tile->d + c, step), x->dtype, n)
                               : NAME(column_tap)(p, s, tile->d + c, t, step, n);
        acc = FMA(LOAD_N(weights + k * tile->pitch, DTYPE, n), tap, acc);
    }
    return acc;
}

SIMD_TARGET static void NAME(forward_collected_column)(const cc1d_problem *p, const cc1d_segment *s,
                                                       const NAME(tile) * tile, int64_t c, int64_t t, int n) {
    const cc1d_view *residual = &p->view[CC1D_RESIDUAL], *out = &p->view[CC1D_OUT];
    const int64_t d = tile->d + c;
    VEC y = SET(0);
    if (cc1d_sequence_id(p, s, t) >= 0) {
        y = NAME(convolve_column)(p, s, tile, c, t, false, n);
        NAME(activate)(&y, cc1d_is_silu(p), NAME(form_of)(out->dtype, residual->present), 1);
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
              p->width);
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
