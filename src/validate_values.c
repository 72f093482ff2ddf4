/* validate_values.c - see validate_values.h. */
#include "validate_values.h"

#include <stdlib.h>

#include "index.h"

cc1d_status cc1d_check_cu_seqlens(const cc1d_problem *p, bool exact) {
    const cc1d_view *cu = &p->view[CC1D_CU];
    const int64_t count = cu->shape[0];
    if (count < 1) return cc1d_fail(CC1D_ERROR_VALUE, "cu_seqlens: expected at least one element, got none");
    if (p->device != CC1D_CPU) return CC1D_OK;
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
    for (int64_t b = 0; b < p->batch; b++) {
        const int64_t row = cc1d_index_at(indices, b, 0);
        if (row >= p->sequences && row != p->pad_slot_id)
            return cc1d_fail(
                CC1D_ERROR_VALUE,
                "conv_state_indices: expected values below the pool's %lld rows, got %lld at element %lld",
                (long long)p->sequences, (long long)row, (long long)b);
    }
    if (p->batch < 2) return CC1D_OK;
    unsigned char *seen = calloc((size_t)p->sequences / 8 + 1, 1);
    if (!seen)
        return cc1d_fail(CC1D_ERROR_MEMORY, "conv_state_indices: out of memory for %lld pool rows",
                         (long long)p->sequences);
    cc1d_status status = CC1D_OK;
    for (int64_t b = 0; b < p->batch && !status; b++) {
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

cc1d_status cc1d_check_update_values(const cc1d_problem *p) {
    if (p->device != CC1D_CPU) return CC1D_OK;
    for (int64_t b = 0; b < p->batch; b++) {
        if (cc1d_has(p, CC1D_CACHE)) {
            const int64_t length = cc1d_index_at(&p->view[CC1D_CACHE], b, 0);
            if (length < 0)
                return cc1d_fail(CC1D_ERROR_VALUE,
                                 "cache_seqlens: expected values >= 0, got %lld at element %lld",
                                 (long long)length, (long long)b);
        }
        if (cc1d_has(p, CC1D_ACCEPTED)) {
            const int64_t accepted = cc1d_index_at(&p->view[CC1D_ACCEPTED], b, 0);
            if (accepted < 1 || accepted > p->seqlen)
                return cc1d_fail(
                    CC1D_ERROR_VALUE,
                    "num_accepted_tokens: expected values from 1 to T = %lld, got %lld at element %lld",
                    (long long)p->seqlen, (long long)accepted, (long long)b);
        }
    }
    return cc1d_has(p, CC1D_INDICES) ? check_indices(p) : CC1D_OK;
}
