/* values.c - see values.h. */
#include "values.h"

#include <stdio.h>
#include <stdlib.h>

#include "arguments.h"
#include "index.h"

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

static cc1d_status check_counts(const cc1d_problem *p, const cc1d_argument *argument) {
    const int64_t count = distinct(&p->view[argument->role]), *values = copied(p, argument->role);
    const bool bounded = argument->meaning != CC1D_COUNTS;
    const int64_t least = argument->meaning == CC1D_SOME_STEPS;
    for (int64_t b = 0; b < count; b++) {
        if (values[b] >= least && (!bounded || values[b] <= p->seqlen)) continue;
        char expected[64];
        if (bounded)
            snprintf(expected, sizeof expected, "from %d to T = %lld", (int)least, (long long)p->seqlen);
        return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected values %s, got %lld at element %lld", argument->name,
                         bounded ? expected : ">= 0", (long long)values[b], (long long)b);
    }
    return CC1D_OK;
}

static cc1d_status check_values(const cc1d_problem *p, const cc1d_argument *argument) {
    switch (argument->meaning) {
    case CC1D_BOUNDARIES: return check_cu_seqlens(p);
    case CC1D_POOL_ROWS: return check_indices(p);
    default: return check_counts(p, argument);
    }
}

static bool steers(const cc1d_argument *argument) {
    return argument->kind == CC1D_KIND_INDEX && argument->meaning != CC1D_COMPARED;
}

cc1d_status cc1d_take_values(cc1d_problem *p, cc1d_values *values) {
    const cc1d_table *table = &cc1d_tables[p->op];
    values->many = NULL;
    if (p->device != CC1D_CPU) return CC1D_OK;
    uint64_t total = 0;
    const char *longest = "";
    int64_t most = 0;
    for (int i = 0; i < table->inputs; i++) {
        if (!steers(&table->argument[i])) continue;
        const int64_t count = distinct(&p->view[table->argument[i].role]);
        if (count > most) longest = table->argument[i].name, most = count;
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
    for (int i = 0; i < table->inputs && total > 0; i++) {
        cc1d_view *v = &p->view[table->argument[i].role];
        const int64_t count = distinct(v);
        if (!steers(&table->argument[i]) || count == 0) continue;
        copy_view(v, to, count);
        to += count;
        const cc1d_status status = check_values(p, &table->argument[i]);
        if (status) return status;
    }
    return CC1D_OK;
}

void cc1d_drop_values(cc1d_values *values) { free(values->many); }
