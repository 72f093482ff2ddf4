/* values.c - see values.h. */
#include "values.h"

#include <stdlib.h>

#include "arguments.h"
#include "index.h"

static const cc1d_role steering[] = {CC1D_CU, CC1D_INDICES, CC1D_CACHE, CC1D_ACCEPTED};
enum { STEERING = sizeof steering / sizeof *steering };

/* How many values a tensor holds: one, however long it is, where all elements are the same one. */
static int64_t distinct(const cc1d_view *v) {
    if (!v->present || v->shape[0] == 0) return 0;
    return v->stride[0] ? v->shape[0] : 1;
}

static void copy_view(cc1d_view *v, int64_t *to, int64_t count) {
    for (int64_t i = 0; i < count; i++) to[i] = cc1d_index_at(v, i, 0);
    v->data = (char *)to;
    v->dtype = CC1D_INT64;
    v->stride[0] = count > 1 ? 1 : 0;
}

static const int64_t *copied(const cc1d_problem *p, cc1d_role role) {
    return (const int64_t *)(const void *)p->view[role].data;
}

/* Non-decreasing inside 0..T; of packed sequences, also from 0 to T. */
static cc1d_status check_cu_seqlens(const cc1d_problem *p) {
    const int64_t count = distinct(&p->view[CC1D_CU]), *values = copied(p, CC1D_CU);
    if (p->op != CC1D_OP_VARLEN_STATES && (values[0] != 0 || values[count - 1] != p->seqlen))
        return cc1d_fail(CC1D_ERROR_VALUE,
                         "cu_seqlens: expected to start at 0 and end at T = %lld, got %lld and %lld",
                         (long long)p->seqlen, (long long)values[0], (long long)values[count - 1]);
    int64_t previous = 0;
    for (int64_t i = 0; i < count; i++) {
        if (values[i] < previous || values[i] > p->seqlen)
            return cc1d_fail(CC1D_ERROR_VALUE,
                             "cu_seqlens: expected non-decreasing values from 0 to %lld, got %lld after %lld "
                             "at element %lld",
                             (long long)p->seqlen, (long long)values[i], (long long)previous, (long long)i);
        previous = values[i];
    }
    return CC1D_OK;
}

/* How many batch rows to look at for what is said of their states: all, unless every row says the same. */
static int64_t rows_with(const cc1d_problem *p, cc1d_role role) {
    const int64_t rows = distinct(&p->view[CC1D_INDICES]), values = distinct(&p->view[role]);
    return values > 0 && rows > values ? rows : values;
}

/* What else is said of a row of padding is not looked at. */
static bool is_padding(const cc1d_problem *p, int64_t b) {
    if (!cc1d_has(p, CC1D_INDICES)) return false;
    const int64_t row = cc1d_index_at(&p->view[CC1D_INDICES], b, 0);
    return row < 0 || row == p->pad_slot_id;
}

static cc1d_status repeated(int64_t row, int64_t element) {
    return cc1d_fail(CC1D_ERROR_VALUE,
                     "conv_state_indices: expected each live index once, got %lld again at element %lld",
                     (long long)row, (long long)element);
}

/* Live indices must name rows of the pool, each at most once: two rows of x would race for one state. */
static cc1d_status check_indices(const cc1d_problem *p) {
    const int64_t count = distinct(&p->view[CC1D_INDICES]), *rows = copied(p, CC1D_INDICES);
    int64_t live = 0;
    for (int64_t b = 0; b < count; b++) {
        if (rows[b] < 0 || rows[b] == p->pad_slot_id) continue;
        if (rows[b] >= p->sequences)
            return cc1d_fail(
                CC1D_ERROR_VALUE,
                "conv_state_indices: expected values below the pool's %lld rows, got %lld at element %lld",
                (long long)p->sequences, (long long)rows[b], (long long)b);
        live++;
    }
    if (live > 0 && count < p->batch) return repeated(rows[0], 1);
    if (live < 2) return CC1D_OK;
    const uint64_t bytes = (uint64_t)p->sequences / 8 + 1;
    unsigned char *seen = bytes <= SIZE_MAX ? calloc((size_t)bytes, 1) : NULL;
    if (!seen)
        return cc1d_fail(CC1D_ERROR_MEMORY, "conv_state_indices: out of memory for %lld pool rows",
                         (long long)p->sequences);
    cc1d_status status = CC1D_OK;
    for (int64_t b = 0; b < count && !status; b++) {
        if (rows[b] < 0 || rows[b] == p->pad_slot_id) continue;
        const unsigned char bit = (unsigned char)(1u << (rows[b] % 8));
        if (seen[rows[b] / 8] & bit) status = repeated(rows[b], b);
        seen[rows[b] / 8] |= bit;
    }
    free(seen);
    return status;
}

static cc1d_status check_cache_seqlens(const cc1d_problem *p) {
    for (int64_t b = 0; b < rows_with(p, CC1D_CACHE); b++) {
        const int64_t length = cc1d_index_at(&p->view[CC1D_CACHE], b, 0);
        if (length < 0 && !is_padding(p, b))
            return cc1d_fail(CC1D_ERROR_VALUE,
                             "cache_seqlens: expected values >= 0, got %lld at element %lld",
                             (long long)length, (long long)b);
    }
    return CC1D_OK;
}

/* The taps before the new steps lie inside the state. */
static cc1d_status check_accepted(const cc1d_problem *p) {
    const int64_t most = p->state_len - p->width + 2;
    for (int64_t b = 0; b < rows_with(p, CC1D_ACCEPTED); b++) {
        const int64_t accepted = cc1d_index_at(&p->view[CC1D_ACCEPTED], b, 0);
        if ((accepted < 1 || accepted > most) && !is_padding(p, b))
            return cc1d_fail(
                CC1D_ERROR_VALUE,
                "num_accepted_tokens: expected values from 1 to S-W+2 = %lld, got %lld at element %lld",
                (long long)most, (long long)accepted, (long long)b);
    }
    return CC1D_OK;
}

cc1d_status cc1d_take_values(cc1d_problem *p, cc1d_values *values) {
    static cc1d_status (*const check[STEERING])(const cc1d_problem *) = {check_cu_seqlens, check_indices,
                                                                         check_cache_seqlens, check_accepted};
    values->many = NULL;
    if (p->device != CC1D_CPU) return CC1D_OK;
    uint64_t total = 0;
    const char *longest = "";
    int64_t most = 0;
    for (int i = 0; i < STEERING; i++) {
        const int64_t count = distinct(&p->view[steering[i]]);
        if (count > most) longest = cc1d_role_name(p->op, steering[i]), most = count;
        total += (uint64_t)count;
    }
    int64_t *to = values->few;
    if (total > CC1D_FEW_VALUES) {
        if (total <= SIZE_MAX / sizeof *to) values->many = malloc((size_t)total * sizeof *to);
        if (!values->many)
            return cc1d_fail(CC1D_ERROR_MEMORY, "%s: out of memory for a copy of %lld values", longest,
                             (long long)most);
        to = values->many;
    }
    for (int i = 0; i < STEERING; i++) {
        cc1d_view *v = &p->view[steering[i]];
        const int64_t count = distinct(v);
        if (count == 0) continue;
        copy_view(v, to, count);
        to += count;
        const cc1d_status status = check[i](p);
        if (status) return status;
    }
    return CC1D_OK;
}

void cc1d_drop_values(cc1d_values *values) { free(values->many); }
