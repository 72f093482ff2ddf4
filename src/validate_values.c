/* validate_values.c - see validate_values.h. */
#include "validate_values.h"

#include <stdlib.h>

#include "index.h"

/* Elements that show all of an index tensor's values: two of an expanded one. */
static int64_t telling(const cc1d_view *v) { return v->stride[0] == 0 && v->shape[0] > 2 ? 2 : v->shape[0]; }

static cc1d_status check_cu_seqlens(const cc1d_problem *p) {
    const cc1d_view *cu = &p->view[CC1D_CU];
    const bool exact = p->op != CC1D_OP_VARLEN_STATES;
    const int64_t count = telling(cu);
    const int64_t first = cc1d_index_at(cu, 0, 0), last = cc1d_index_at(cu, count - 1, 0);
    if (exact && (first != 0 || last != p->seqlen))
        return cc1d_fail(CC1D_ERROR_VALUE,
                         "cu_seqlens: expected to start at 0 and end at T = %lld, got %lld and %lld",
                         (long long)p->seqlen, (long long)first, (long long)last);
    int64_t previous = 0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t value = cc1d_index_at(cu, i, 0);
        if (value < previous || value > p->seqlen)
            return cc1d_fail(CC1D_ERROR_VALUE,
                             "cu_seqlens: expected non-decreasing values from 0 to %lld, got %lld after %lld "
                             "at element %lld",
                             (long long)p->seqlen, (long long)value, (long long)previous, (long long)i);
        previous = value;
    }
    return CC1D_OK;
}

/* Live indices must name rows of the pool, each at most once: two rows of x would race for one state. */
static cc1d_status check_indices(const cc1d_problem *p) {
    const cc1d_view *indices = &p->view[CC1D_INDICES];
    const int64_t count = telling(indices);
    for (int64_t b = 0; b < count; b++) {
        const int64_t row = cc1d_index_at(indices, b, 0);
        if (row >= p->sequences && row != p->pad_slot_id)
            return cc1d_fail(
                CC1D_ERROR_VALUE,
                "conv_state_indices: expected values below the pool's %lld rows, got %lld at element %lld",
                (long long)p->sequences, (long long)row, (long long)b);
    }
    if (count < 2) return CC1D_OK;
    unsigned char *seen = calloc((size_t)p->sequences / 8 + 1, 1);
    if (!seen)
        return cc1d_fail(CC1D_ERROR_MEMORY, "conv_state_indices: out of memory for %lld pool rows",
                         (long long)p->sequences);
    cc1d_status status = CC1D_OK;
    for (int64_t b = 0; b < count && !status; b++) {
        const int64_t row = cc1d_index_at(indices, b, 0);
        if (row < 0 || row == p->pad_slot_id) continue;
        const unsigned char bit = (unsigned char)(1u << (row % 8));
        if (seen[row / 8] & bit)
            status =
                cc1d_fail(CC1D_ERROR_VALUE,
                          "conv_state_indices: expected each live index once, got %lld again at element %lld",
                          (long long)row, (long long)b);
        seen[row / 8] |= bit;
    }
    free(seen);
    return status;
}

static cc1d_status check_update_values(const cc1d_problem *p) {
    const cc1d_view *cache = &p->view[CC1D_CACHE], *accepted = &p->view[CC1D_ACCEPTED];
    for (int64_t b = 0; cache->present && b < telling(cache); b++) {
        const int64_t length = cc1d_index_at(cache, b, 0);
        if (length < 0)
            return cc1d_fail(CC1D_ERROR_VALUE,
                             "cache_seqlens: expected values >= 0, got %lld at element %lld",
                             (long long)length, (long long)b);
    }
    for (int64_t b = 0; accepted->present && b < telling(accepted); b++) {
        const int64_t count = cc1d_index_at(accepted, b, 0);
        if (count < 1 || count > p->seqlen)
            return cc1d_fail(
                CC1D_ERROR_VALUE,
                "num_accepted_tokens: expected values from 1 to T = %lld, got %lld at element %lld",
                (long long)p->seqlen, (long long)count, (long long)b);
    }
    return cc1d_has(p, CC1D_INDICES) ? check_indices(p) : CC1D_OK;
}

static const cc1d_role steering[] = {CC1D_CU, CC1D_CACHE, CC1D_INDICES, CC1D_ACCEPTED};
enum { STEERING = sizeof steering / sizeof *steering };

static int64_t stored(const cc1d_view *v) { return !v->present ? 0 : v->stride[0] ? v->shape[0] : 1; }

static cc1d_status copy(cc1d_problem *p, cc1d_values *values) {
    int64_t count = 0;
    for (int i = 0; i < STEERING; i++) count += stored(&p->view[steering[i]]);
    int64_t *to = values->few;
    if (count > CC1D_FEW_VALUES) {
        to = values->many = calloc((size_t)count, sizeof *to);
        if (!to)
            return cc1d_fail(CC1D_ERROR_MEMORY, "%s: out of memory for a copy of %lld values",
                             cc1d_has(p, CC1D_CU) ? "cu_seqlens" : "conv_state_indices", (long long)count);
    }
    for (int i = 0; i < STEERING; i++) {
        cc1d_view *v = &p->view[steering[i]];
        const int64_t n = stored(v);
        if (v->shape[0] == 0) continue;
        for (int64_t j = 0; j < n; j++) to[j] = cc1d_index_at(v, j, 0);
        if (!v->present) continue;
        v->data = (char *)to;
        v->dtype = CC1D_INT64;
        v->stride[0] = v->stride[0] ? 1 : 0;
        to += n;
    }
    return CC1D_OK;
}

cc1d_status cc1d_take_values(cc1d_problem *p, cc1d_values *values) {
    values->many = NULL;
    if (p->device != CC1D_CPU) return CC1D_OK;
    const cc1d_status status = copy(p, values);
    if (status) return status;
    if (p->op == CC1D_OP_UPDATE) return check_update_values(p);
    return cc1d_has(p, CC1D_CU) ? check_cu_seqlens(p) : CC1D_OK;
}

void cc1d_free_values(cc1d_values *values) { free(values->many); }
