/* split.c - see split.h. */
#include "split.h"

#include "convert.h"
#include "taps.h"
#include "window.h"

enum {
    ITEMS = 64,           /* wanted of a call: enough to balance over many threads */
    ITEM_LEAST = 1 << 14, /* elements of an item: enough to hide that it must be claimed */
    ITEM_MOST = 1 << 17,  /* no more than the second-level cache holds */
    SUM_MOST = 1 << 19,   /* of an item of backward where channels are contiguous: its ends cost more */
    TIME_STEPS = 8192,    /* longest run of steps of one row: memory is read in order */
    MAX_TASKS = 128
};

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t at_least_one(int64_t a) { return a > 0 ? a : 1; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

cc1d_path cc1d_cpu_path(const cc1d_problem *p) {
    static const cc1d_role roles[] = {CC1D_X,        CC1D_OUT,       CC1D_RESIDUAL,  CC1D_DOUT,      CC1D_DX,
                                      CC1D_PRE_GATE, CC1D_POST_GATE, CC1D_DPRE_GATE, CC1D_DPOST_GATE};
    int time = 1, channel = 1;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        const cc1d_view *v = &p->view[roles[i]];
        if (!v->present) continue;
        if (v->stride[2] != 1 && v->shape[2] > 1) time = 0;
        if (v->stride[1] != 1 && v->shape[1] > 1) channel = 0;
    }
    /* A single step or a single channel fits both; take the one with the longer contiguous run. */
    if (time && channel) return p->seqlen >= p->dim ? CC1D_PATH_TIME : CC1D_PATH_CHANNEL;
    return time ? CC1D_PATH_TIME : channel ? CC1D_PATH_CHANNEL : CC1D_PATH_GENERAL;
}

/* Elements of an item. */
static int64_t item_elements(const cc1d_problem *p, int64_t items, int64_t most) {
    const int64_t share = p->batch * p->dim * p->seqlen / items;
    return share < ITEM_LEAST ? ITEM_LEAST : smaller(share, most);
}

cc1d_split cc1d_cpu_split(const cc1d_problem *p, cc1d_path path) {
    const bool backward = p->op == CC1D_OP_BACKWARD;
    const int64_t elements = backward && path == CC1D_PATH_CHANNEL ? item_elements(p, ITEMS / 2, SUM_MOST)
                                                                   : item_elements(p, ITEMS, ITEM_MOST);
    cc1d_split s;
    if (path == CC1D_PATH_CHANNEL) {
        /* Equal shares, whole vectors: a few channels alone would go step by step. */
        const int64_t tiles = at_least_one(ceil_div(p->dim, CC1D_TILE_CHANNELS));
        s.d_chunk = smaller(p->dim, ceil_div(ceil_div(p->dim, tiles), 16) * 16);
        s.t_chunk =
            smaller(p->seqlen, ceil_div(elements / at_least_one(s.d_chunk), CC1D_DW_RUN) * CC1D_DW_RUN);
    } else {
        s.t_chunk = smaller(p->seqlen, TIME_STEPS);
        s.d_chunk = smaller(p->dim, at_least_one(elements / at_least_one(s.t_chunk)));
    }
    s.d_chunk = at_least_one(s.d_chunk);
    s.t_chunk = at_least_one(s.t_chunk);
    /* Short sequences: several batch rows to an item, and to a partial sum. */
    s.b_chunk = smaller(at_least_one(p->batch), at_least_one(elements / (s.d_chunk * s.t_chunk)));
    s.b_count = ceil_div(p->batch, s.b_chunk);
    s.d_count = ceil_div(p->dim, s.d_chunk);
    s.t_count = ceil_div(p->seqlen, s.t_chunk);
    s.items = s.b_count * s.d_count * s.t_count;
    s.tasks = backward || cc1d_has_gates(p) ? smaller(s.items, MAX_TASKS) : s.items;
    return s;
}

cc1d_item cc1d_cpu_item(const cc1d_problem *p, const cc1d_split *s, cc1d_path path, int64_t index) {
    int64_t d, t;
    if (path == CC1D_PATH_CHANNEL) { /* in the order of memory, innermost first */
        d = index % s->d_count, index /= s->d_count;
        t = index % s->t_count, index /= s->t_count;
    } else {
        t = index % s->t_count, index /= s->t_count;
        d = index % s->d_count, index /= s->d_count;
    }
    const int64_t b = index;
    return (cc1d_item){
        .b0 = b * s->b_chunk,
        .b1 = smaller((b + 1) * s->b_chunk, p->batch),
        .d0 = d * s->d_chunk,
        .d1 = smaller((d + 1) * s->d_chunk, p->dim),
        .t0 = t * s->t_chunk,
        .t1 = smaller((t + 1) * s->t_chunk, p->seqlen),
    };
}

static int64_t lines(int64_t count) { return (count + 15) / 16 * 16; }

cc1d_cpu_room cc1d_cpu_room_of(int64_t width) {
    cc1d_cpu_room at;
    const int64_t halo =
        lines(CC1D_DW_BLOCK + width + 16); /* a block, W-1 steps after it, a vector to spare */
    at.weights = halo;
    at.sums = at.weights + lines(width + 1);
    at.collected = at.sums + 16 * (width + 1);
    at.widened = at.collected + 16 * width;
    at.x = at.widened + halo;
    at.dout = at.x + halo + lines(width);
    at.dx = at.dout + halo;
    at.end = at.dx + CC1D_DW_BLOCK;
    return at;
}

size_t cc1d_cpu_workspace(const cc1d_problem *p, cc1d_path path) {
    const int32_t dtype = p->view[CC1D_X].dtype;
    const size_t item = cc1d_is_double(dtype) ? sizeof(double) : sizeof(float);
    const cc1d_cpu_room at = cc1d_cpu_room_of(p->width);
    int64_t count = at.weights; /* all that the scalar kernels need */
    if (p->width <= CC1D_MAX_WIDTH && path == CC1D_PATH_CHANNEL) {
        /* Weights, sums and what a step leaves to the next ones: rows of the channels that are worked on
         * together. */
        const int64_t rows = smaller(3 * CC1D_TILE_BYTES / (int64_t)item,
                                     (3 * p->width + 1) * (smaller(p->dim, CC1D_TILE_CHANNELS) + 32));
        count = count > rows ? count : rows;
    } else if (p->width <= CC1D_MAX_WIDTH) {
        count = path == CC1D_PATH_GENERAL ? at.end : cc1d_itemsize(dtype) < item ? at.x : at.widened;
    }
    const size_t kernels = ((size_t)count * item + 63) / 64 * 64;
    return cc1d_has_gates(p) ? kernels + cc1d_cpu_window_space(p, path) : kernels;
}
