/* kernel_tile.h - part of the kernel text: what forward and backward share where channels are contiguous in
 * memory. */

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

/* Step `step` of channels d..d+n-1 as a tap of step t. */
SIMD_TARGET static VEC NAME(column_tap)(const cc1d_problem *p, const cc1d_segment *s, int64_t d, int64_t t,
                                        int64_t step, int n) {
    const char *tap = cc1d_tap(p, s, d, t, step);
    REAL gathered[LANES];
    if (!tap) return SET(0);
    if (step >= s->start) return LOAD_N(tap, p->view[CC1D_X].dtype, n);
    NAME(gather)(gathered, s->past, cc1d_past_element(p, s, d, step), s->past->stride[1], n);
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
