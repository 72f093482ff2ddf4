/* boxes.h - tensors for randomised C tests: any strides, any dtype, between two guard pages, so that
 * an access outside of them ends the test. */
#ifndef CC1D_TESTS_BOXES_H
#define CC1D_TESTS_BOXES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "causal_conv1d.h"
#include "cpu/convert.h"

/* ---- Random numbers: the same on every machine --------------------------------------------- */

static uint64_t random_state;

static uint64_t random_bits(void) { /* splitmix64 */
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* From low to high, both included. */
static int64_t random_in(int64_t low, int64_t high) {
    return low + (int64_t)(random_bits() % (uint64_t)(high - low + 1));
}

/* True once in n times. */
static int random_once_in(int n) { return random_in(1, n) == 1; }

static double random_value(void) { return (double)(random_bits() >> 11) * 0x1p-51 - 2.0; }

/* Any sign, any magnitude, and what is no number. */
static double random_extreme(void) {
    switch (random_in(0, 9)) {
    case 0: return INFINITY;
    case 1: return -INFINITY;
    case 2: return NAN;
    case 3: return -0.0;
    case 4: return 1e-41 * random_value();
    case 5: return 3e38 * random_value();
    case 6: return 60 * random_value();
    default: return ldexp(random_value(), (int)random_in(-150, 150));
    }
}

/* ---- Boxes --------------------------------------------------------------------------------- */

typedef struct box {
    char *map; /* NULL: no tensor */
    size_t map_bytes, bytes;
    cc1d_tensor tensor;
} box;

static inline const cc1d_tensor *box_tensor(const box *b) { return b->map ? &b->tensor : NULL; }

static int64_t box_count(const box *b) {
    int64_t count = 1;
    for (int i = 0; i < b->tensor.ndim; i++) count *= b->tensor.shape[i];
    return count;
}

static size_t item_size(int32_t dtype) { return cc1d_itemsize(dtype); }

/* The i-th element in row-major order of the shape. */
static char *box_at(const box *b, int64_t i) {
    int64_t offset = 0;
    for (int d = b->tensor.ndim - 1; d >= 0; i /= b->tensor.shape[d], d--)
        offset += i % b->tensor.shape[d] * b->tensor.strides[d];
    return (char *)b->tensor.data + offset * (int64_t)item_size(b->tensor.dtype);
}

/* Maps `bytes` so that they end at the upper guard page, or begin at the lower one. */
static void box_map(box *b, size_t bytes, int at_end) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t inner = (bytes + page - 1) / page * page;
    b->bytes = bytes;
    b->map_bytes = inner + 2 * page;
    b->map = mmap(NULL, b->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (b->map == MAP_FAILED || mprotect(b->map, page, PROT_NONE) ||
        mprotect(b->map + page + inner, page, PROT_NONE)) {
        perror("mmap");
        exit(2);
    }
    b->tensor.data = b->map + page + (at_end ? inner - bytes : 0);
    memset(b->tensor.data, 0xa5, bytes);
}

static void box_free(box *b) {
    if (b->map) munmap(b->map, b->map_bytes);
    b->map = NULL;
}

/* order: the dimensions from the outermost to the innermost in memory; inner: the stride of the
 * innermost one; gap: elements left out between two runs of it. */
static box box_make(int32_t dtype, int ndim, const int64_t *shape, const int *order, int64_t inner,
                    int64_t gap) {
    box b = {.tensor = {.dtype = dtype, .device = CC1D_CPU, .ndim = ndim}};
    int64_t stride = inner, extent = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        const int d = order[i];
        b.tensor.shape[d] = shape[d];
        b.tensor.strides[d] = stride;
        extent += (shape[d] - 1) * stride;
        stride *= shape[d];
        if (i == ndim - 1) stride += gap;
    }
    for (int d = 0; d < ndim; d++)
        if (shape[d] == 0) extent = 0;
    box_map(&b, (size_t)extent * item_size(dtype), (int)random_in(0, 1));
    return b;
}

/* A box of its own with the same shape and strides, holding the same bytes. */
static inline box box_copy(const box *from) {
    box b = *from;
    if (!from->map) return b;
    box_map(&b, from->bytes, (int)random_in(0, 1));
    memcpy(b.tensor.data, from->tensor.data, from->bytes);
    return b;
}

static void box_fill(const box *b, int extreme) {
    if (!b->map) return;
    for (int64_t i = 0; i < box_count(b); i++)
        cc1d_store_f64(box_at(b, i), b->tensor.dtype,
                       extreme && random_once_in(8) ? random_extreme() : random_value());
}

static inline void box_set_index(const box *b, int64_t i, int64_t value) {
    const int32_t narrow = (int32_t)value;
    const char flag = value != 0;
    if (b->tensor.dtype == CC1D_BOOL)
        memcpy(box_at(b, i), &flag, sizeof flag);
    else if (b->tensor.dtype == CC1D_INT32)
        memcpy(box_at(b, i), &narrow, sizeof narrow);
    else
        memcpy(box_at(b, i), &value, sizeof value);
}

/* The first element whose bits differ, any NaN being equal to any other; -1: none; -2: only bytes
 * that belong to no element. Clears the elements of both. */
static inline int64_t box_difference(const box *a, const box *b) {
    if (!a->map) return -1;
    const size_t item = item_size(a->tensor.dtype);
    int64_t first = -1;
    for (int64_t i = box_count(a) - 1; i >= 0; i--) {
        char *x = box_at(a, i), *y = box_at(b, i);
        const double u = cc1d_load_f64(x, a->tensor.dtype), v = cc1d_load_f64(y, a->tensor.dtype);
        if (memcmp(x, y, item) && !(u != u && v != v)) first = i;
    }
    if (first >= 0) return first;
    for (int64_t i = 0; i < box_count(a); i++) {
        memset(box_at(a, i), 0, item);
        memset(box_at(b, i), 0, item);
    }
    return memcmp(a->tensor.data, b->tensor.data, a->bytes) ? -2 : -1;
}

#endif
