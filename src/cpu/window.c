/* window.c - see window.h. */
#include "window.h"

#include "convert.h"

enum {
    FORWARD_ELEMENTS = 1 << 15,  /* of a window along channels: its buffers fit the second-level cache, */
    BACKWARD_ELEMENTS = 1 << 13, /* and longer rows are read faster */
    TIME_ELEMENTS = 1 << 12,     /* along time: rows are read in order: it fits the first-level one */
    FORWARD_BUFFERS = 2,         /* taps, results */
    BACKWARD_BUFFERS = 4         /* taps, their gradients, the gradients and the values of the activation */
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t round_up(int64_t a, int64_t unit) { return (a + unit - 1) / unit * unit; }

cc1d_window cc1d_cpu_window(const cc1d_problem *p, cc1d_path path) {
    const int64_t back = p->width - 1, dim = larger(p->dim, 1), seqlen = larger(p->seqlen, 1);
    const int64_t elements = p->op == CC1D_OP_FORWARD ? FORWARD_ELEMENTS : BACKWARD_ELEMENTS;
    cc1d_window w;
    if (path == CC1D_PATH_CHANNEL) {
        const int64_t least = smaller(seqlen, round_up(larger(back, 1), CC1D_DW_RUN));
        w.channels = smaller(dim, elements / larger(least, CC1D_DW_RUN));
        w.steps = smaller(seqlen, larger(least, elements / w.channels / CC1D_DW_RUN * CC1D_DW_RUN));
        /* 16: the rows' addresses do not share their low bits. */
        w.pitch = round_up(w.channels, 16) + 16;
        w.buffer = w.pitch * (w.steps + 2 * back);
    } else {
        w.steps = smaller(seqlen, TIME_ELEMENTS / 2);
        w.channels = smaller(dim, TIME_ELEMENTS / w.steps);
        w.pitch = round_up(w.steps + 2 * back, 16) + 16;
        w.buffer = w.pitch * w.channels;
    }
    w.past = round_up(w.channels * back, 16);
    return w;
}

size_t cc1d_cpu_window_space(const cc1d_problem *p, cc1d_path path) {
    if (p->width > CC1D_MAX_WIDTH) return 0;
    const cc1d_window w = cc1d_cpu_window(p, path);
    const int64_t buffers = p->op == CC1D_OP_FORWARD ? FORWARD_BUFFERS : BACKWARD_BUFFERS;
    const int64_t count = buffers * round_up(w.buffer, 16) + w.past;
    return (size_t)count * (cc1d_is_double(p->view[CC1D_X].dtype) ? sizeof(double) : sizeof(float));
}
