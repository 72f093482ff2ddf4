/* memory.h - lays out the tensors of a case, twice: once for each of the two runs that are compared. */
#ifndef CC1D_FUZZ_MEMORY_H
#define CC1D_FUZZ_MEMORY_H

#include "slots.h"
#include "tensors.h"

typedef struct fuzz_memory {
    fuzz_slot slot[FUZZ_TENSORS];
    cc1d_tensor tensor[FUZZ_TENSORS];
    char *first[FUZZ_TENSORS];  /* of each tensor; NULL: not to be touched */
    char *before[FUZZ_TENSORS]; /* a copy of each slot from before the call */
} fuzz_memory;

static inline char *fuzz_at(const fuzz_memory *m, int i, int64_t element) {
    const cc1d_tensor *t = &m->tensor[i];
    int64_t offset = 0;
    for (int d = t->ndim - 1; d >= 0; element /= t->shape[d], d--)
        offset += element % t->shape[d] * t->strides[d];
    return m->first[i] + offset * fuzz_itemsize(t->dtype);
}

/* Bytes up to the last element where they fit into a slot, else -1. */
static inline int64_t fuzz_bytes(const cc1d_tensor *t, int64_t *count) {
    __int128 elements;
    if (t->ndim < 0 || t->ndim > CC1D_MAX_DIMS) return -1;
    const __int128 bytes = fuzz_extent(t, &elements);
    if (bytes < 0 || bytes > FUZZ_SLOT || t->byte_offset > FUZZ_OFFSET) return -1;
    *count = elements <= FUZZ_SLOT ? (int64_t)elements : -1;
    return (int64_t)bytes;
}

/* False: some tensor is not to be touched, so the call may only be one that is refused. */
static inline bool fuzz_lay_out(const fuzz_case *c, fuzz_memory *m, bool at_end, int pattern) {
    bool touchable = true;
    for (int i = 0; i < c->count; i++) {
        fuzz_slot *slot = &m->slot[i];
        if (!slot->memory) fuzz_slot_map(slot, FUZZ_SLOT);
        m->tensor[i] = c->tensor[i];
        int64_t count, bytes = c->present[i] ? fuzz_bytes(&c->tensor[i], &count) : 0;
        touchable = touchable && bytes >= 0 && (bytes == 0 || !c->null_data[i]);
        m->first[i] = fuzz_slot_take(slot, bytes > 0 ? (size_t)bytes : 0,
                                     (size_t)fuzz_itemsize(c->tensor[i].dtype), at_end, pattern);
        if (bytes < 0) m->first[i] = NULL;
    }
    for (int i = 0; i < c->count; i++) {
        const int other = c->alias[i];
        const int64_t item = fuzz_itemsize(c->tensor[i].dtype), offset = c->alias_offset[i] * item;
        if (other >= 0 && c->alias[other] < 0 && m->first[i] && m->first[other] &&
            fuzz_itemsize(c->tensor[other].dtype) >= item &&
            m->slot[other].bytes >= m->slot[i].bytes + (size_t)offset)
            m->first[i] = m->first[other] + offset;
        if (m->first[i])
            m->tensor[i].data = (char *)((uintptr_t)m->first[i] - c->tensor[i].byte_offset);
        else
            m->tensor[i].data = fuzz_slot_wild(&m->slot[i]);
        if (c->null_data[i]) m->tensor[i].data = NULL;
    }
    return touchable;
}

/* ---- Contents ------------------------------------------------------------------------------- */

/* Bits of a number near 1, or any bits. */
static inline uint64_t fuzz_number(int32_t dtype, bool any, uint64_t *state) {
    static const int fraction[] = {23, 10, 7, 52}, one[] = {127, 15, 127, 1023}, sign[] = {31, 15, 15, 63};
    const uint64_t random = fuzz_random(state);
    if (dtype < CC1D_FLOAT32 || dtype > CC1D_FLOAT64 || (any && fuzz_random(state) % 4 == 0)) return random;
    const uint64_t exponent = (uint64_t)one[dtype] - (random >> 60) % 8 + 2;
    return (random & (((uint64_t)1 << fraction[dtype]) - 1)) | exponent << fraction[dtype] |
           (random >> 59 & 1) << sign[dtype];
}

static inline int fuzz_compare(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Index values that the header allows, where the sizes leave any. */
static inline void fuzz_indices(const fuzz_case *c, fuzz_content content, int64_t *values, int64_t count,
                                int64_t columns, uint64_t *state) {
    const int64_t length = c->size['T'], states = c->size['S'], pool = c->size['P'];
    const int64_t sequences = c->size['N'];
    for (int64_t i = 0; i < count; i++) {
        const uint64_t random = fuzz_random(state) >> 8;
        switch (content) {
        case FUZZ_IDS:
            values[i] = i % columns && random % 4 ? values[i - 1] : (int64_t)(random / 4 % 5) - 1;
            break;
        case FUZZ_POSITIONS:
        case FUZZ_BOUNDS: values[i] = (int64_t)(random % ((uint64_t)length + 1)); break;
        case FUZZ_OTHER_ROWS: /* as far from those that are read as can be */
        case FUZZ_ROWS: /* i times an odd number plus a shift, modulo a power of two, is a permutation */
            values[i] = pool > 0 ? (int64_t)((uint64_t)i + c->seed % (uint64_t)pool) % pool : -1;
            if (content == FUZZ_OTHER_ROWS && pool > 0 && pool >= 2 * sequences)
                values[i] = (values[i] + sequences) % pool;
            if (random % 6 == 0) values[i] = random % 12 ? -1 : c->pad_slot_id;
            break;
        case FUZZ_STEPS: values[i] = (int64_t)(random % ((uint64_t)length + 1)); break;
        case FUZZ_FLAGS: values[i] = random % 2; break;
        case FUZZ_LENGTHS:
            values[i] = (int64_t)(random % (3 * (uint64_t)states + 2));
            if (random % 7 == 0) values[i] += (int64_t)1 << 30;
            break;
        case FUZZ_ACCEPTED: /* 1..S-W+2 */
            values[i] =
                1 + (states >= c->size['V'] ? (int64_t)(random % (uint64_t)(states - c->size['V'] + 1)) : 0);
            break;
        case FUZZ_PARENTS: values[i] = (int64_t)(random % (uint64_t)(i % columns + 1)) - 1; break;
        default: values[i] = 0;
        }
    }
    if (content != FUZZ_BOUNDS || count == 0) return;
    qsort(values, (size_t)count, sizeof *values, fuzz_compare);
    values[0] = 0;
    /* Else the last steps belong to none, and positions there are none. */
    if (count > 1 && (c->seed % 4 || fuzz_find(c, "positions"))) values[count - 1] = length;
}

static inline void fuzz_fill(const fuzz_case *c, fuzz_memory *m, int i, uint64_t *state) {
    const cc1d_tensor *t = &m->tensor[i];
    int64_t count = 0;
    if (!m->first[i] || fuzz_bytes(t, &count) <= 0) return;
    if (count < 0) { /* more elements than memory */
        memset(m->first[i], 0, m->slot[i].bytes);
        return;
    }
    int64_t *values = NULL;
    if (c->roles[i].content != FUZZ_VALUES) {
        values = malloc((size_t)count * sizeof *values);
        /* Where elements do not lie in the order of their indices, each is as the first of a row. */
        const bool ordered =
            t->ndim > 1 && t->strides[1] == 1 && (t->shape[0] < 2 || t->strides[0] == t->shape[1]);
        const int64_t columns = t->ndim < 2 ? count : ordered ? t->shape[1] : 1;
        fuzz_indices(c, c->roles[i].content, values, count, columns, state);
        if (i == c->damaged_index) values[c->damaged_at % count] = c->damaged_value;
    }
    for (int64_t j = 0; j < count; j++) {
        const uint64_t bits = values ? (uint64_t)values[j] : fuzz_number(t->dtype, c->extreme, state);
        memcpy(fuzz_at(m, i, j), &bits, (size_t)fuzz_itemsize(t->dtype)); /* little-endian */
    }
    free(values);
}

/* The same contents in both, but for what the call is to write: that differs, and must not afterwards. */
static inline void fuzz_fill_both(const fuzz_case *c, fuzz_memory *m, fuzz_memory *other) {
    uint64_t state = c->seed;
    for (int i = 0; i < c->count; i++) {
        if (c->present[i] && (!c->roles[i].written || c->roles[i].kept)) fuzz_fill(c, m, i, &state);
    }
    for (int i = 0; i < c->count; i++) {
        if (!c->roles[i].written || c->roles[i].kept)
            memcpy(other->slot[i].data, m->slot[i].data, m->slot[i].bytes);
    }
    for (fuzz_memory *each = m; each; each = each == m ? other : NULL)
        for (int i = 0; i < c->count; i++) {
            each->before[i] = malloc(each->slot[i].bytes + 1);
            memcpy(each->before[i], each->slot[i].data, each->slot[i].bytes);
        }
}

static inline void fuzz_forget(const fuzz_case *c, fuzz_memory *m) {
    for (int i = 0; i < c->count; i++) free(m->before[i]), m->before[i] = NULL;
}

/* ---- Afterwards ----------------------------------------------------------------------------- */

static inline bool fuzz_is_nan(const char *at, int32_t dtype) {
    static const uint64_t infinity[] = {0x7f800000u, 0x7c00u, 0x7f80u, 0x7ff0000000000000u};
    uint64_t bits = 0;
    memcpy(&bits, at, (size_t)fuzz_itemsize(dtype));
    bits &= UINT64_MAX >> (65 - 8 * fuzz_itemsize(dtype));
    return bits > infinity[dtype];
}

/* The first tensor that is not the same in both (-1: none), any NaN being equal to any other. */
static inline int fuzz_different_result(const fuzz_case *c, const fuzz_memory *a, const fuzz_memory *b) {
    for (int i = 0; i < c->count; i++) {
        if (!c->present[i] || !c->roles[i].written) continue;
        const int32_t dtype = c->tensor[i].dtype;
        const int64_t count = fuzz_count(&c->tensor[i]);
        for (int64_t j = 0; j < count; j++) {
            const char *x = fuzz_at(a, i, j), *y = fuzz_at(b, i, j);
            if (memcmp(x, y, (size_t)fuzz_itemsize(dtype)) &&
                !(fuzz_is_nan(x, dtype) && fuzz_is_nan(y, dtype)))
                return i;
        }
    }
    return -1;
}

/* The first tensor in whose memory a byte has changed that is no element of a result. */
static inline int fuzz_changed(const fuzz_case *c, fuzz_memory *m, bool results_too) {
    for (int i = 0; i < c->count && !results_too; i++) {
        if (!c->present[i] || !c->roles[i].written) continue;
        const int slot = c->alias[i] >= 0 && m->first[i] != m->slot[i].data ? c->alias[i] : i;
        const int64_t count = fuzz_count(&c->tensor[i]);
        for (int64_t j = 0; j < count; j++) {
            char *at = fuzz_at(m, i, j);
            memcpy(m->before[slot] + (at - m->slot[slot].data), at,
                   (size_t)fuzz_itemsize(c->tensor[i].dtype));
        }
    }
    for (int i = 0; i < c->count; i++)
        if (m->slot[i].bytes && memcmp(m->before[i], m->slot[i].data, m->slot[i].bytes)) return i;
    return -1;
}

/* Whether tensor i is the out of an update, and j its x, element by element the same: that is allowed. */
static inline bool fuzz_takes_place(const fuzz_case *c, const fuzz_memory *m, int i, int j) {
    if (j != 0 || strcmp(c->roles[i].name, "out") != 0 || !fuzz_find(c, "conv_state")) return false;
    for (int64_t e = 0; e < fuzz_count(&c->tensor[i]); e++)
        if (fuzz_at(m, i, e) != fuzz_at(m, j, e)) return false;
    return true;
}

/* Whether a result shares a byte with itself or with another tensor. */
static inline bool fuzz_overlap(const fuzz_case *c, const fuzz_memory *m) {
    for (int i = 0; i < c->count; i++) {
        if (!c->present[i] || !c->roles[i].written) continue;
        const int slot = c->alias[i] >= 0 && m->first[i] != m->slot[i].data ? c->alias[i] : i;
        char *taken = calloc(1, m->slot[slot].bytes + 1);
        bool shared = false;
        for (int k = -1; k < c->count; k++) { /* first its own bytes */
            const int j = k < 0 ? i : k;
            if (k == i || !c->present[j] || (k >= 0 && fuzz_takes_place(c, m, i, j))) continue;
            const int64_t count = fuzz_count(&c->tensor[j]), item = fuzz_itemsize(c->tensor[j].dtype);
            for (int64_t e = 0; e < count; e++)
                for (char *at = fuzz_at(m, j, e), *end = at + item; at < end; at++) {
                    const ptrdiff_t place = at - m->slot[slot].data;
                    if (place < 0 || place >= (ptrdiff_t)m->slot[slot].bytes) continue;
                    if (taken[place]) shared = true;
                    if (k < 0) taken[place] = 1;
                }
        }
        free(taken);
        if (shared) return true;
    }
    return false;
}

#endif
