/* kernel_channel.h - part of kernel_text.h: forward where channels are contiguous in memory. A
 * vector holds channels of one step. */

/* Steps that a vector of channels walks before the next one: few, so that memory is read in long
 * stretches; more than one, so that weights and most taps are loaded once for several steps. */
#ifndef CC1D_TILE_STEPS
#define CC1D_TILE_STEPS 8
#define CC1D_TILE_WEIGHTS 4112 /* REALs of weights kept at hand: 16 channels of the longest filter */
#define CC1D_TILE_CHANNELS 512 /* at most */
#endif

/* Weights of `count` channels from d on: coefficient k (W: the bias) of channel d + i at
 * tile[k * pitch + i]. */
typedef struct NAME(tile) {
    int64_t d, count, pitch;
    REAL weights[CC1D_TILE_WEIGHTS];
} NAME(tile);

static int64_t NAME(tile_channels)(const cc1d_problem *p) {
    const int64_t most = CC1D_TILE_WEIGHTS / (p->width + 1) / LANES * LANES;
    return most < CC1D_TILE_CHANNELS ? most : CC1D_TILE_CHANNELS;
}

SIMD_TARGET static void NAME(load_tile)(const cc1d_problem *p, int64_t d, int64_t count,
                                        NAME(tile) *tile) {
    const cc1d_view *weight = &p->view[CC1D_WEIGHT], *bias = &p->view[CC1D_BIAS];
    tile->d = d;
    tile->count = count;
    tile->pitch = NAME(tile_channels)(p);
    for (int64_t k = 0; k < p->width; k++)
        NAME(gather)(tile->weights + k * tile->pitch, weight,
                     d * weight->stride[0] + k * weight->stride[1], weight->stride[0], count);
    REAL *to = tile->weights + p->width * tile->pitch;
    if (bias->present)
        NAME(gather)(to, bias, d * bias->stride[0], bias->stride[0], count);
    else
        memset(to, 0, (size_t)count * sizeof(REAL));
}

/* Memory of one vector of channels: a step's address and the distance to the next one, in bytes. */
typedef struct cc1d_column {
    char *base;
    int64_t pitch;
} NAME(column);
