/* kernel_channel.h - part of kernel_text.h: forward where channels are contiguous in memory. A
 * vector holds channels of one step. */

/* Weights of `count` channels from d on: coefficient k (W: the bias) of channel d + i lies at
 * weights[k * pitch + i]. */
typedef struct NAME(tile) {
    int64_t d, count, pitch;
    REAL weights[CC1D_TILE_WEIGHTS];
} NAME(tile);

SIMD_TARGET static void NAME(load_tile)(const cc1d_problem *p, int64_t d, int64_t limit,
                                        NAME(tile) *tile) {
    const cc1d_view *weight = &p->view[CC1D_WEIGHT], *bias = &p->view[CC1D_BIAS];
    const int64_t most = CC1D_TILE_WEIGHTS / (p->width + 1) / LANES * LANES;
    tile->d = d;
    tile->pitch = most < CC1D_TILE_CHANNELS ? most : CC1D_TILE_CHANNELS;
    tile->count = limit - d < tile->pitch ? limit - d : tile->pitch;
    if (tile->pitch == CC1D_TILE_CHANNELS) tile->pitch += 16;
    for (int64_t k = 0; k < p->width; k++)
        NAME(gather)(tile->weights + k * tile->pitch, weight,
                     d * weight->stride[0] + k * weight->stride[1], weight->stride[0],
                     tile->count);
    REAL *to = tile->weights + p->width * tile->pitch;
    memset(to, 0, (size_t)tile->count * sizeof(REAL));
    if (bias->present)
        NAME(gather)(to, bias, d * bias->stride[0], bias->stride[0], tile->count);
}

/* acc of `count` successive steps of one vector of channels. x: the oldest tap of the first. */
SIMD_INLINE void NAME(convolve_steps)(VEC *acc, const REAL *weights, int64_t pitch, cc1d_column x,
                                      int64_t width, int constant, int dtype, int count) {
    const VEC bias = LOAD(weights + width * pitch, DTYPE);
    SIMD_EACH(i, count)
    acc[i] = bias;
    if (constant) { /* each step is loaded once */
        SIMD_EACH(j, constant + count - 1) {
            const VEC tap = LOAD(x.base + j * x.pitch, dtype);
            SIMD_EACH(i, count)
            if (i <= j && j < i + constant)
                acc[i] = FMA(LOAD(weights + (j - i) * pitch, DTYPE), tap, acc[i]);
        }
        return;
    }
    for (int64_t k = 0; k < width; k++) {
        const VEC weight = LOAD(weights + k * pitch, DTYPE);
        SIMD_EACH(i, count)
        acc[i] = FMA(weight, LOAD(x.base + (k + i) * x.pitch, dtype), acc[i]);
    }
}

SIMD_INLINE void NAME(forward_steps)(const REAL *weights, int64_t pitch, cc1d_column x,
                                     cc1d_column residual, cc1d_column out, int64_t width,
                                     int constant, int dtype, int silu, int count) {
    VEC y[SIMD_VECTORS];
    NAME(convolve_steps)(y, weights, pitch, x, width, constant, dtype, count);
    NAME(activate)(y, silu, count);
    if (residual.base) {
        SIMD_EACH(i, count)
        y[i] = ADD(y[i], LOAD(residual.base + i * residual.pitch, dtype));
    }
    SIMD_EACH(i, count)
    STORE(out.base + i * out.pitch, dtype, y[i]);
}

/* `steps` direct steps of one vector of channels. x: the oldest tap of the first. */
SIMD_INLINE void NAME(forward_walk)(const REAL *weights, int64_t pitch, cc1d_column x,
                                    cc1d_column residual, cc1d_column out, int64_t steps,
                                    int64_t width, int constant, int dtype, int silu) {
    int64_t t = 0;
    for (; steps - t >= SIMD_VECTORS; t += SIMD_VECTORS)
        NAME(forward_steps)(weights, pitch, cc1d_later(x, t), cc1d_later(residual, t),
                            cc1d_later(out, t), width, constant, dtype, silu, SIMD_VECTORS);
    for (; t < steps; t++)
        NAME(forward_steps)(weights, pitch, cc1d_later(x, t), cc1d_later(residual, t),
                            cc1d_later(out, t), width, constant, dtype, silu, 1);
}

/* acc of `count` adjacent vectors of channels. x: the oldest tap of the first. */
SIMD_INLINE void NAME(convolve_vectors)(VEC *acc, const REAL *weights, int64_t pitch, cc1d_column x, int64_t width,
                                        int dtype, int count) {
    const int64_t vector = LANES * (int64_t)cc1d_itemsize(dtype);
    SIMD_EACH(i, count)
    acc[i] = LOAD(weights + width * pitch + i * LANES, DTYPE);
    SIMD_UNROLL
    for (int64_t k = 0; k < width; k++) {
        SIMD_EACH(i, count)
        acc[i] = FMA(LOAD(weights + k * pitch + i * LANES, DTYPE), LOAD(x.base + k * x.pitch + i * vector, dtype),
                     acc[i]);
    }
}

SIMD_INLINE void NAME(forward_vectors_of)(const REAL *weights, int64_t pitch, cc1d_column x, const char *residual,
                                          char *out, int64_t width, int dtype, int silu, int count) {
    const int64_t vector = LANES * (int64_t)cc1d_itemsize(dtype);
    VEC y[SIMD_VECTORS];
    NAME(convolve_vectors)(y, weights, pitch, x, width, dtype, count);
    NAME(activate)(y, silu, count);
    if (residual) {
        SIMD_EACH(i, count)
        y[i] = ADD(y[i], LOAD(residual + i * vector, dtype));
    }
    SIMD_EACH(i, count)
    STORE(out + i * vector, dtype, y[i]);
}

/* One direct step of n >= LANES channels. x: its oldest tap. */
SIMD_INLINE void NAME(forward_step)(const REAL *weights, int64_t pitch, cc1d_column x, const char *residual,
                                    char *out, int64_t n, int64_t width, int dtype, int silu) {
    const int64_t item = (int64_t)cc1d_itemsize(dtype);
    int64_t c = 0;
#define FORWARD_STEP(count)                                                                                    \
    NAME(forward_vectors_of)(weights + c, pitch, (cc1d_column){x.base + c * item, x.pitch},                    \
                             residual ? residual + c * item : NULL, out + c * item, width, dtype, silu, count)
    for (; n - c >= SIMD_VECTORS * LANES; c += SIMD_VECTORS * LANES) FORWARD_STEP(SIMD_VECTORS);
    while (c < n) {
        if (n - c < LANES) c = n - LANES; /* the last ones again */
        FORWARD_STEP(1);
        c += LANES;
    }
#undef FORWARD_STEP
}

typedef void NAME(forward_walk_fn)(const REAL *weights, int64_t pitch, cc1d_column x,
                                   cc1d_column residual, cc1d_column out, int64_t steps,
                                   int64_t width);
typedef void NAME(forward_step_fn)(const REAL *weights, int64_t pitch, cc1d_column x, const char *residual, char *out, int64_t n, int64_t width);

#define FORWARD_STEP(dtype, constant, silu) \
    SIMD_TARGET static void NAME(forward_step_##dtype##_##constant##_##silu)( \
        const REAL *weights, int64_t pitch, cc1d_column x, const char *residual, char *out, int64_t n, int64_t width) { \
        NAME(forward_step)(weights, pitch, x, residual, out, n, constant ? constant : width, CC1D_##dtype, silu); }
EACH_KERNEL(FORWARD_STEP, 0)
EACH_KERNEL(FORWARD_STEP, 1)
#undef FORWARD_STEP
static NAME(forward_step_fn) *NAME(pick_forward_step)(const cc1d_problem *p) {
#define FORWARD_STEP(dtype, constant, silu)                       \
    if (cc1d_is_kernel(p, CC1D_##dtype, constant) && cc1d_is_silu(p) == silu)          \
        return NAME(forward_step_##dtype##_##constant##_##silu);
    EACH_KERNEL(FORWARD_STEP, 0)
    EACH_KERNEL(FORWARD_STEP, 1)
#undef FORWARD_STEP
    return NULL;
}
#define FORWARD_WALK(dtype, constant, silu)                                                  \
    SIMD_TARGET static void NAME(forward_walk_##dtype##_##constant##_##silu)(                \
        const REAL *weights, int64_t pitch, cc1d_column x, cc1d_column residual,             \
        cc1d_column out, int64_t steps, int64_t width) {                                     \
        NAME(forward_walk)(weights, pitch, x, residual, out, steps, constant ? constant : width, \
                           constant, CC1D_##dtype, silu);                                    \
    }
EACH_KERNEL(FORWARD_WALK, 0)
EACH_KERNEL(FORWARD_WALK, 1)
#undef FORWARD_WALK

static NAME(forward_walk_fn) *NAME(pick_forward_walk)(const cc1d_problem *p) {
#define FORWARD_WALK(dtype, constant, silu)                       \
    if (cc1d_is_kernel(p, CC1D_##dtype, constant) && cc1d_is_silu(p) == silu)          \
        return NAME(forward_walk_##dtype##_##constant##_##silu);
    EACH_KERNEL(FORWARD_WALK, 0)
EACH_KERNEL(FORWARD_WALK, 1)
#undef FORWARD_WALK
    return NULL;
}

/* Step `step` of channels d..d+n-1 as a tap of step t. */
SIMD_TARGET static VEC NAME(column_tap)(const cc1d_problem *p, const cc1d_segment *s, int64_t d,
                                        int64_t t, int64_t step, int n) {
    const cc1d_view *initial = &p->view[CC1D_INITIAL];
    const char *tap = cc1d_tap(p, s, d, t, step);
    REAL gathered[LANES];
    if (!tap)
        return SET(0);
    if (step >= s->start)
        return LOAD_N(tap, p->view[CC1D_X].dtype, n);
    const int64_t j = step - s->start + p->width - 1;
    NAME(gather)(gathered, initial,
                 s->n * initial->stride[0] + d * initial->stride[1] + j * initial->stride[2],
                 initial->stride[1], n);
    return LOAD_N(gathered, DTYPE, n);
}

/* acc of one step, n channels from the tile's channel c on. */
SIMD_TARGET static VEC NAME(convolve_column)(const cc1d_problem *p, const cc1d_segment *s,
                                             const NAME(tile) *tile, int64_t c, int64_t t, bool direct, int n) {
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
                                                       const NAME(tile) *tile, int64_t c, int64_t t,
                                                       int n) {
    const cc1d_view *residual = &p->view[CC1D_RESIDUAL], *out = &p->view[CC1D_OUT];
    const int64_t d = tile->d + c;
    VEC y = SET(0);
    if (cc1d_sequence_id(p, s, t) >= 0) {
        y = NAME(convolve_column)(p, s, tile, c, t, false, n);
        NAME(activate)(&y, cc1d_is_silu(p), 1);
        if (residual->present)
            y = ADD(y, LOAD_N(cc1d_element(residual, s->b, d, t), residual->dtype, n));
    }
    STORE_N(cc1d_element(out, s->b, d, t), out->dtype, y, n);
}

SIMD_TARGET static void NAME(forward_tile)(const cc1d_problem *p, const cc1d_segment *s, cc1d_span span,
                                           NAME(forward_step_fn) *step, const NAME(tile) *tile) {
    const cc1d_view *residual = &p->view[CC1D_RESIDUAL];
    for (int64_t t = span.t0; t < span.t1; t++) {
        if (span.direct && tile->count >= LANES) {
            step(tile->weights, tile->pitch, cc1d_column_of(&p->view[CC1D_X], s->b, tile->d, t - (p->width - 1)),
                 residual->present ? cc1d_element(residual, s->b, tile->d, t) : NULL,
                 cc1d_element(&p->view[CC1D_OUT], s->b, tile->d, t), tile->count, p->width);
            continue;
        }
        for (int64_t c = 0; c < tile->count; c += LANES)
            NAME(forward_collected_column)(p, s, tile, c, t, tile->count - c < LANES ? (int)(tile->count - c) : LANES);
    }
}

SIMD_TARGET static void NAME(forward_channel)(const cc1d_problem *p, const cc1d_segment *s) {
    NAME(forward_step_fn) *step = NAME(pick_forward_step)(p);
    NAME(tile) tile;
    cc1d_spans spans;
    for (int64_t d = s->d0; d < s->d1; d += tile.count) {
        NAME(load_tile)(p, d, s->d1, &tile);
        for (int64_t t = s->t0; t < s->t1; t = spans.t1) {
            cc1d_cpu_spans(p, s, t, s->t1, 1, p->width - 1, 0, &spans);
            for (int i = 0; i < spans.count; i++)
                NAME(forward_tile)(p, s, cc1d_span_at(&spans, i), step, &tile);
        }
    }
}
