/* values.c - see values.h. */
#include "values.h"

#include <stdio.h>
#include <stdlib.h>

#include "arguments.h"
#include "index.h"
#include "validate_tensor.h"

/* How many values a tensor holds along a dimension: one, however long it is, where all are the same one. */
static int64_t along(const cc1d_view *v, int dimension) {
    if (!v->present || v->shape[dimension] == 0) return 0;
    return v->stride[dimension] ? v->shape[dimension] : 1;
}

static int64_t distinct(const cc1d_view *v) { return along(v, 0) * along(v, 1); }

static void copy_view(cc1d_view *v, int64_t *to) {
    const int64_t rows = along(v, 0), columns = along(v, 1);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) to[i * columns + j] = cc1d_index_at(v, i, j);
    v->data = (char *)to;
    v->dtype = CC1D_INT64;
    v->stride[0] = rows > 1 ? columns : 0;
    v->stride[1] = columns > 1 ? 1 : 0;
}

static const int64_t *copied(const cc1d_problem *p, cc1d_role role) {
    return (const int64_t *)(const void *)p->view[role].data;
}

/* Non-decreasing inside the steps that x has; of packed sequences, also from 0. */
static cc1d_status check_cu_seqlens(const cc1d_problem *p) {
    const int64_t count = distinct(&p->view[CC1D_CU]), *values = copied(p, CC1D_CU);
    const int64_t total = p->view[CC1D_X].shape[2];
    if (p->op < CC1D_OP_UPDATE && values[0] != 0)
        return cc1d_fail(CC1D_ERROR_VALUE, "cu_seqlens: expected to start at 0, got %lld",
                         (long long)values[0]);
    int64_t previous = 0;
    for (int64_t i = 0; i < count; i++) {
        if (values[i] < previous || values[i] > total)
            return cc1d_fail(CC1D_ERROR_VALUE,
                             "cu_seqlens: expected non-decreasing values from 0 to %lld, got %lld after %lld "
                             "at element %lld",
                             (long long)total, (long long)values[i], (long long)previous, (long long)i);
        previous = values[i];
    }
    return CC1D_OK;
}

/* How many batch rows to look at for what is said of their states: all, unless every row says the same. */
static int64_t rows_with(const cc1d_problem *p, cc1d_role role) {
    const cc1d_role each[] = {CC1D_INDICES, CC1D_OUT_INDICES, role};
    int64_t most = 0;
    if (p->op == CC1D_OP_UPDATE && along(&p->view[CC1D_CU], 0) > 1) return p->batch;
    for (int i = 0; i < 3 && p->view[role].shape[0] > 0; i++) {
        const int64_t count = along(&p->view[each[i]], 0);
        if (count > most) most = count;
    }
    return most;
}

/* What else is said of a row of padding, or of one that has no new steps, is not looked at. */
static bool is_padding(const cc1d_problem *p, int64_t b) {
    if (p->op == CC1D_OP_UPDATE && cc1d_has(p, CC1D_CU) && cc1d_row_steps(p, b) == 0) return true;
    return cc1d_row_read(p, b) < 0;
}

static cc1d_status check_row_steps(const cc1d_problem *p) {
    for (int64_t b = 0; b < rows_with(p, CC1D_CU) && b < p->batch; b++)
        if (!is_padding(p, b) && cc1d_row_steps(p, b) > p->seqlen)
            return cc1d_fail(CC1D_ERROR_VALUE,
                             "cu_seqlens: expected rows of at most max_seqlen = %lld tokens, got %lld in row "
                             "%lld",
                             (long long)p->seqlen, (long long)cc1d_row_steps(p, b), (long long)b);
    return CC1D_OK;
}

/* A set of the pool's rows. */
static cc1d_status new_set(const cc1d_problem *p, cc1d_role role, unsigned char **set) {
    const uint64_t bytes = (uint64_t)p->pool_rows / 8 + 1;
    *set = bytes <= SIZE_MAX ? calloc((size_t)bytes, 1) : NULL;
    if (*set) return CC1D_OK;
    return cc1d_fail(CC1D_ERROR_MEMORY, "%s: out of memory for %lld pool rows", cc1d_role_name(p->op, role),
                     (long long)p->pool_rows);
}

static bool holds(const unsigned char *set, int64_t row) { return set[row / 8] >> (row % 8) & 1; }

static cc1d_status repeated(const cc1d_problem *p, cc1d_role role, int64_t row, int64_t element) {
    return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected each live index once, got %lld again at element %lld",
                     cc1d_role_name(p->op, role), (long long)row, (long long)element);
}

/* Live indices must name rows of the pool; *live: how many there are. */
static cc1d_status check_range(const cc1d_problem *p, cc1d_role role, int64_t *live) {
    *live = 0;
    for (int64_t b = 0; b < rows_with(p, role); b++) {
        if (is_padding(p, b)) continue;
        const int64_t row = cc1d_index_at(&p->view[role], b, 0);
        if (row >= p->pool_rows)
            return cc1d_fail(
                CC1D_ERROR_VALUE, "%s: expected values below the pool's %lld rows, got %lld at element %lld",
                cc1d_role_name(p->op, role), (long long)p->pool_rows, (long long)row, (long long)b);
        ++*live;
    }
    return CC1D_OK;
}

/* A row that is written for one row of x, or sequence, must not be read for another: they would race for one
 * state. What starts from zeros reads none. */
static cc1d_status check_readers(const cc1d_problem *p, const unsigned char *written) {
    for (int64_t b = 0; b < rows_with(p, CC1D_OUT_INDICES); b++) {
        const int64_t row = is_padding(p, b) ? -1 : cc1d_row_read(p, b);
        if (row < 0 || (p->op == CC1D_OP_FORWARD && !cc1d_continues(p, b))) continue;
        if (row != cc1d_row_written(p, b) && holds(written, row))
            return cc1d_fail(CC1D_ERROR_VALUE,
                             "conv_state_out_indices: expected no row that is read for another %s, got "
                             "%lld, which is read for element %lld",
                             p->op == CC1D_OP_FORWARD ? "sequence" : "row of x", (long long)row,
                             (long long)b);
    }
    return CC1D_OK;
}

/* Each written row at most once, and read for the same row of x at most. */
static cc1d_status check_written(const cc1d_problem *p, cc1d_role role) {
    const int64_t rows = rows_with(p, role);
    unsigned char *set = NULL;
    int64_t live = 0;
    CC1D_CHECK(check_range(p, role, &live));
    if (live > 0 && rows < p->view[role].shape[0]) return repeated(p, role, cc1d_row_written(p, 0), 1);
    if (live < 2) return CC1D_OK;
    CC1D_CHECK(new_set(p, role, &set));
    cc1d_status status = CC1D_OK;
    for (int64_t b = 0; b < rows && !status; b++) {
        const int64_t row = is_padding(p, b) ? -1 : cc1d_row_written(p, b);
        if (row < 0) continue;
        if (holds(set, row)) status = repeated(p, role, row, b);
        set[row / 8] |= (unsigned char)(1u << (row % 8));
    }
    if (!status && role == CC1D_OUT_INDICES && cc1d_has(p, CC1D_STATE)) status = check_readers(p, set);
    free(set);
    return status;
}

static cc1d_status check_rows(const cc1d_problem *p, cc1d_role role) {
    int64_t live;
    const bool read_only =
        cc1d_has(p, CC1D_PARENTS) || (role == CC1D_INDICES && cc1d_has(p, CC1D_OUT_INDICES));
    return read_only ? check_range(p, role, &live) : check_written(p, role);
}

static cc1d_status check_counts(const cc1d_problem *p, const cc1d_argument *argument) {
    const bool starts = argument->meaning == CC1D_WINDOW_STARTS, bounded = argument->meaning != CC1D_COUNTS;
    const int64_t least = starts, most = starts ? p->state_len - p->width + 2 : p->seqlen;
    for (int64_t b = 0; b < rows_with(p, argument->role); b++) {
        const int64_t value = cc1d_index_at(&p->view[argument->role], b, 0);
        if ((value >= least && (!bounded || value <= most)) || is_padding(p, b)) continue;
        char expected[64];
        if (bounded)
            snprintf(expected, sizeof expected, "from %d to %s = %lld", (int)least, starts ? "S-W+2" : "T",
                     (long long)most);
        return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected values %s, got %lld at element %lld", argument->name,
                         bounded ? expected : ">= 0", (long long)value, (long long)b);
    }
    return CC1D_OK;
}

static cc1d_status check_tree(const cc1d_problem *p, const cc1d_argument *argument) {
    for (int64_t b = 0; b < rows_with(p, argument->role); b++) {
        if (is_padding(p, b)) continue;
        for (int64_t t = 0; t < p->seqlen; t++) {
            const int64_t parent = cc1d_index_at(&p->view[argument->role], b, t);
            if (parent < -1 || parent >= t)
                return cc1d_fail(CC1D_ERROR_VALUE,
                                 "%s: expected values from -1 to below their own node, got %lld at row %lld, "
                                 "node %lld",
                                 argument->name, (long long)parent, (long long)b, (long long)t);
        }
    }
    return CC1D_OK;
}

/* From the first boundary to the last: every such step count lies in a sequence, or at an end of one. */
static cc1d_status check_positions(const cc1d_problem *p) {
    const int64_t *cu = copied(p, CC1D_CU), first = cu[0], last = cu[distinct(&p->view[CC1D_CU]) - 1];
    for (int64_t m = 0; m < rows_with(p, CC1D_POSITIONS); m++) {
        const int64_t value = cc1d_index_at(&p->view[CC1D_POSITIONS], m, 0);
        if (is_padding(p, m) || (value >= first && value <= last && p->sequences > 0)) continue;
        if (p->sequences == 0)
            return cc1d_fail(CC1D_ERROR_VALUE,
                             "positions: expected none without a sequence, got %lld at element %lld",
                             (long long)value, (long long)m);
        return cc1d_fail(CC1D_ERROR_VALUE,
                         "positions: expected values from cu_seqlens[0] = %lld to cu_seqlens[-1] = %lld, got "
                         "%lld at element %lld",
                         (long long)first, (long long)last, (long long)value, (long long)m);
    }
    return CC1D_OK;
}

static cc1d_status check_values(const cc1d_problem *p, const cc1d_argument *argument) {
    switch (argument->meaning) {
    case CC1D_BOUNDARIES:
        CC1D_CHECK(check_cu_seqlens(p));
        return p->op == CC1D_OP_UPDATE ? check_row_steps(p) : CC1D_OK;
    case CC1D_TREE: return check_tree(p, argument);
    case CC1D_POOL_ROWS: return check_rows(p, argument->role);
    case CC1D_FLAGS: return CC1D_OK;
    case CC1D_STEPS_DONE: return check_positions(p);
    default: return check_counts(p, argument);
    }
}

static bool steers(const cc1d_argument *argument) {
    return argument->meaning != CC1D_COMPARED; /* which is what tensors of numbers say too */
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
        copy_view(v, to);
        to += count;
    }
    /* Boundaries first: they say which rows have steps. */
    for (int i = 0; i < 2 * table->inputs && total > 0; i++) {
        const cc1d_argument *argument = &table->argument[i % table->inputs];
        const bool first = argument->meaning == CC1D_BOUNDARIES;
        if (first == (i < table->inputs) && steers(argument) && distinct(&p->view[argument->role]) > 0)
            CC1D_CHECK(check_values(p, argument));
    }
    return CC1D_OK;
}

void cc1d_drop_values(cc1d_values *values) { free(values->many); }
