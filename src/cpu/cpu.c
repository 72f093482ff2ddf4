/* cpu.c - the CPU backend: cuts a problem into items, runs a kernel on each, and reduces weight
 * gradients. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert.h"
#include "core/arguments.h"
#include "core/backend.h"
#include "core/checked.h"
#include "last_steps.h"
#include "pack.h"
#include "pool.h"
#include "rooms.h"
#include "sequences.h"
#include "taps.h"
#include "threads.h"
#include "window.h"

static int available(char *detail, size_t size) {
    snprintf(detail, size, "%s kernels", cc1d_cpu_chosen()->name);
    return 1;
}

/* ---- Items and segments
 * --------------------------------------------------------------------------------------- */

enum { SERIAL_ELEMENTS = 1 << 15 }; /* smaller problems stay on the calling thread */

typedef struct job {
    const cc1d_problem *p;
    const cc1d_cpu_kernels *kernels;
    const cc1d_cpu_how *how;
    double *partials; /* [b chunk, t chunk][W + 1][dim], or NULL where no weight gradient is wanted */
    int64_t *last;    /* of each batch row, the last step that is no padding; NULL: the last one */
    char *workspaces;
    cc1d_rooms *rooms; /* of forward with gates */
} job;

typedef void (*segment_function)(const job *j, const cc1d_segment *segment, const cc1d_item *item,
                                 void *workspace);

/* Zeros steps t0..t1-1 of the item's channels of batch row b: they are padding. */
static void clear_steps(const cc1d_view *v, const cc1d_item *item, int64_t b, int64_t t0, int64_t t1) {
    const double zero = 0;
    const int inner = v->stride[1] == 1 ? 1 : 2;
    const int64_t rows = inner == 1 ? t1 - t0 : item->d1 - item->d0;
    for (int64_t i = 0; i < rows && v->present && t0 < t1; i++)
        cc1d_copy(inner == 1 ? cc1d_element(v, b, item->d0, t0 + i) : cc1d_element(v, b, item->d0 + i, t0),
                  v->stride[inner], (const char *)&zero, 0, inner == 1 ? item->d1 - item->d0 : t1 - t0,
                  (int64_t)cc1d_itemsize(v->dtype));
}

/* The part of sequence s in steps t0..t1-1, which end with it or with the item, and the padding behind it. */
static void run_segment(const job *j, const cc1d_item *item, segment_function function, void *workspace,
                        cc1d_segment *s, int64_t t0, int64_t t1) {
    const int64_t end = s->end < t0 ? t0 : s->end < t1 ? s->end : t1;
    s->d0 = item->d0, s->d1 = item->d1, s->t0 = t0, s->t1 = end;
    if (j->last) s->last = j->last[s->b];
    if (t0 < end) function(j, s, item, workspace);
    static const cc1d_role roles[] = {CC1D_OUT, CC1D_DX, CC1D_DPRE_GATE, CC1D_DPOST_GATE};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        clear_steps(&j->p->view[roles[i]], item, s->b, end, t1);
}

static void for_each_segment(const job *j, const cc1d_item *item, segment_function function,
                             void *workspace) {
    const cc1d_problem *p = j->p;
    const bool packed = cc1d_has(p, CC1D_CU);
    cc1d_segment s;
    for (int64_t b = item->b0; b < item->b1 && !packed; b++) {
        cc1d_cpu_sequence(p, b, &s);
        run_segment(j, item, function, workspace, &s, item->t0, item->t1);
    }
    if (!packed) return;
    int64_t n = cc1d_cpu_sequence_at(p, item->t0);
    for (int64_t t0 = item->t0, t1; t0 < item->t1; n++, t0 = t1) {
        const int64_t stop = cc1d_cpu_sequence_stop(p, n);
        t1 = stop < item->t1 ? stop : item->t1;
        if (n < p->sequences)
            cc1d_cpu_sequence(p, n, &s);
        else
            s = (cc1d_segment){.end = 0}; /* behind the last one */
        if (t0 < t1) run_segment(j, item, function, workspace, &s, t0, t1);
    }
}

static void forward_segment(const job *j, const cc1d_segment *segment, const cc1d_item *item,
                            void *workspace) {
    (void)item;
    if (cc1d_has_gates(j->p))
        j->kernels->gated_forward(j->p, j->how->path, segment, workspace);
    else
        j->kernels->forward(j->p, j->how->path, segment);
}

static void backward_segment(const job *j, const cc1d_segment *segment, const cc1d_item *item,
                             void *workspace) {
    double *partial = NULL;
    if (j->partials) {
        const int64_t row = cc1d_cpu_partial_row(&j->how->split, item);
        partial = j->partials + row * (j->p->width + 1) * j->p->dim + item->d0;
    }
    (cc1d_has_gates(j->p) ? j->kernels->gated_backward : j->kernels->backward)(j->p, j->how->path, segment,
                                                                               partial, workspace);
}

/* The items first..last-1 of task `index`. */
static void task_items(const job *j, int64_t index, int64_t *first, int64_t *last) {
    const cc1d_split *split = &j->how->split;
    const int64_t each = split->items / split->tasks, rest = split->items % split->tasks;
    *first = index * each + (index < rest ? index : rest);
    *last = *first + each + (index < rest);
}

static void forward_task(void *context, int64_t index) {
    const job *j = context;
    int64_t first, last;
    int taken = 0;
    void *workspace = j->rooms ? cc1d_take_room(j->rooms, &taken) : NULL;
    task_items(j, index, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const cc1d_item item = cc1d_cpu_item(j->p, &j->how->split, j->how->path, i);
        for_each_segment(j, &item, forward_segment, workspace);
    }
    if (j->rooms) cc1d_leave_room(j->rooms, taken);
}

static void backward_task(void *context, int64_t index) {
    const job *j = context;
    void *workspace = j->workspaces + (size_t)index * j->how->workspace_size;
    int64_t first, last;
    task_items(j, index, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const cc1d_item item = cc1d_cpu_item(j->p, &j->how->split, j->how->path, i);
        if (j->partials) {
            const int64_t row = cc1d_cpu_partial_row(&j->how->split, &item);
            double *partial = j->partials + row * (j->p->width + 1) * j->p->dim + item.d0;
            for (int64_t k = 0; k <= j->p->width; k++, partial += j->p->dim)
                memset(partial, 0, (size_t)(item.d1 - item.d0) * sizeof(double));
        }
        for_each_segment(j, &item, backward_segment, workspace);
    }
}

/* ---- Second stages: states, state gradients, the ordered reduction
 * ---------------------------------------------- */

enum { STAGE_CHANNELS = 256 };

static int64_t channel_blocks(const cc1d_problem *p) {
    return (p->dim + STAGE_CHANNELS - 1) / STAGE_CHANNELS;
}

/* The channels of block `index`; returns the row that it is of. */
static int64_t block_bounds(const cc1d_problem *p, int64_t index, cc1d_segment *s) {
    const int64_t blocks = channel_blocks(p);
    s->d0 = index % blocks * STAGE_CHANNELS;
    s->d1 = s->d0 + STAGE_CHANNELS < p->dim ? s->d0 + STAGE_CHANNELS : p->dim;
    return index / blocks;
}

/* Sequence n, all of it; false where it is padding. */
static bool state_bounds(const job *j, int64_t n, cc1d_segment *s) {
    const bool live = cc1d_cpu_sequence(j->p, n, s);
    s->t0 = s->start;
    s->t1 = s->end;
    if (j->last) s->last = j->last[s->b];
    return live;
}

static void states_task(void *context, int64_t index) {
    const job *j = context;
    cc1d_segment s;
    state_bounds(j, block_bounds(j->p, index, &s), &s);
    if (cc1d_has_ids(j->p)) s.last = cc1d_cpu_last_step(j->p, s.b);
    cc1d_cpu_final_states(j->p, &s, s.n);
}

static void wanted_states_task(void *context, int64_t index) {
    const job *j = context;
    const cc1d_problem *p = j->p;
    const cc1d_view *positions = &p->view[CC1D_POSITIONS];
    cc1d_segment s;
    const int64_t m = block_bounds(p, index, &s);
    if (cc1d_row_read(p, m) < 0) return;
    const int64_t last = positions->present ? cc1d_index_at(positions, m, 0) - 1 : 0;
    state_bounds(j, positions->present ? cc1d_cpu_sequence_at(p, last) : m, &s);
    if (positions->present) s.last = last;
    cc1d_cpu_final_states(p, &s, cc1d_row_written(p, m));
}

static void pool_task(void *context, int64_t index) {
    const job *j = context;
    cc1d_segment s;
    if (state_bounds(j, block_bounds(j->p, index, &s), &s)) cc1d_cpu_pool_row(j->p, &s);
}

static void last_task(void *context, int64_t index) {
    const job *j = context;
    j->last[index] = cc1d_cpu_last_step(j->p, index);
}

static void dinitial_task(void *context, int64_t index) {
    const job *j = context;
    cc1d_segment s;
    state_bounds(j, block_bounds(j->p, index, &s), &s);
    cc1d_cpu_dinitial(j->p, &s);
}

/* dweight and dbias of a block of channels: partial sums added in the order of their rows. */
static void reduce_task(void *context, int64_t index) {
    const job *j = context;
    const cc1d_problem *p = j->p;
    const cc1d_view *dweight = &p->view[CC1D_DWEIGHT], *dbias = &p->view[CC1D_DBIAS];
    const int64_t rows = j->how->split.b_count * j->how->split.t_count, terms = p->width + 1;
    const int64_t d1 = (index + 1) * STAGE_CHANNELS < p->dim ? (index + 1) * STAGE_CHANNELS : p->dim;
    const int64_t d0 = index * STAGE_CHANNELS;
    for (int64_t k = 0; k < terms; k++) {
        const cc1d_view *to = k < p->width ? dweight : dbias;
        double sums[STAGE_CHANNELS];
        if (!to->present) continue;
        for (int64_t i = 0; i < d1 - d0; i++) sums[i] = 0;
        for (int64_t row = 0; row < rows; row++) {
            const double *from = &j->partials[(row * terms + k) * p->dim + d0];
            for (int64_t i = 0; i < d1 - d0; i++) sums[i] += from[i];
        }
        for (int64_t i = 0; i < d1 - d0; i++) {
            const int64_t element = (d0 + i) * to->stride[0] + (k < p->width ? k * to->stride[1] : 0);
            cc1d_store_f64(to->data + element * (int64_t)cc1d_itemsize(to->dtype), to->dtype, sums[i]);
        }
    }
}

/* ---- Operations
 * ------------------------------------------------------------------------------------------------ */

static bool wants_sums(const cc1d_problem *p) { return cc1d_has(p, CC1D_DWEIGHT) || cc1d_has(p, CC1D_DBIAS); }

static int64_t lines(int64_t bytes) { return cc1d_plus(bytes, 63) / 64 * 64; }

static void lay_out(const cc1d_problem *p, cc1d_cpu_how *how) {
    const int64_t rows = how->split.b_count * how->split.t_count, terms = p->width + 1;
    const bool rows_end_early = cc1d_has_ids(p) && cc1d_has(p, CC1D_DFINAL);
    how->workspace_size = cc1d_cpu_workspace(p, how->path);
    how->last = wants_sums(p) ? lines(cc1d_times(cc1d_times(rows, p->dim), cc1d_times(terms, 8))) : 0;
    how->workspaces = cc1d_plus(how->last, rows_end_early ? lines(p->batch * (int64_t)sizeof(int64_t)) : 0);
    how->end = cc1d_plus(how->workspaces, cc1d_times(how->split.tasks, (int64_t)how->workspace_size));
}

static cc1d_status prepare(const cc1d_problem *p, cc1d_how *how_to, size_t *scratch_bytes) {
    cc1d_cpu_how *how = &how_to->cpu;
    if (p->op != CC1D_OP_FORWARD && p->op != CC1D_OP_BACKWARD) return CC1D_OK;
    how->path = cc1d_cpu_path(p);
    how->split = cc1d_cpu_split(p, how->path);
    if (p->op == CC1D_OP_FORWARD) return CC1D_OK;
    lay_out(p, how);
    if (how->end > PTRDIFF_MAX - 64)
        return cc1d_fail(CC1D_ERROR_VALUE,
                         "weight: expected a width W that leaves the sums of its gradient "
                         "in the address space, got %lld",
                         (long long)p->width);
    *scratch_bytes = (size_t)how->end + 63; /* 63: to align it here */
    return CC1D_OK;
}

static cc1d_exec limited(const cc1d_exec *exec, int64_t elements) {
    cc1d_exec limited = *exec;
    if (elements <= SERIAL_ELEMENTS) limited.num_threads = 1, limited.parallel_for = NULL;
    return limited;
}

static void run_states(const job *j, int64_t rows, const cc1d_exec *exec, void (*task)(void *, int64_t)) {
    const cc1d_problem *p = j->p;
    const cc1d_exec e = limited(exec, cc1d_times(cc1d_times(rows, p->dim), p->state_len));
    if (p->state_len > 0) cc1d_parallel(&e, rows * channel_blocks(p), task, (void *)j);
}

static cc1d_status run_forward(job *j, const cc1d_exec *exec) {
    const cc1d_exec e = limited(exec, j->p->batch * j->p->dim * j->p->seqlen);
    cc1d_rooms rooms;
    if (cc1d_has_gates(j->p)) {
        j->rooms = &rooms;
        const cc1d_status status =
            cc1d_make_rooms(&rooms, j->how->split.tasks, cc1d_cpu_window_space(j->p, j->how->path));
        if (status) return status;
    }
    cc1d_parallel(&e, j->how->split.tasks, forward_task, j);
    if (cc1d_has(j->p, CC1D_FINAL)) run_states(j, j->p->sequences, exec, states_task);
    if (cc1d_has(j->p, CC1D_STATE) && cc1d_cpu_writes_pool(j->p))
        run_states(j, j->p->sequences, exec, pool_task);
    if (j->rooms) cc1d_drop_rooms(&rooms);
    return CC1D_OK;
}

static void run_backward(job *j, const cc1d_exec *exec, char *memory) {
    const cc1d_problem *p = j->p;
    const cc1d_cpu_how *how = j->how;
    memory += (64 - (uintptr_t)memory % 64) % 64;
    j->partials = wants_sums(p) ? (double *)(void *)memory : NULL;
    j->last = how->workspaces > how->last ? (int64_t *)(void *)(memory + how->last) : NULL;
    j->workspaces = memory + how->workspaces;
    cc1d_exec e = limited(exec, p->batch * p->seqlen);
    if (j->last) cc1d_parallel(&e, p->batch, last_task, j);
    e = limited(exec, p->batch * p->dim * p->seqlen);
    cc1d_parallel(&e, j->how->split.tasks, backward_task, j);
    if (cc1d_has(p, CC1D_DINITIAL)) run_states(j, p->sequences, exec, dinitial_task);
    if (!wants_sums(p)) return;
    e = limited(exec, cc1d_times(j->how->split.b_count * j->how->split.t_count * p->dim, p->width + 1));
    cc1d_parallel(&e, channel_blocks(p), reduce_task, j);
}

typedef struct update_job {
    const cc1d_problem *p;
    const cc1d_cpu_kernels *kernels;
    int64_t d_chunk, d_count, b_chunk, b_count;
} update_job;

/* A row of a ragged update as a call of its own steps. Its first and last row are what lies before and behind
 * all rows: padding. */
static int64_t enter_row(const cc1d_problem *p, int64_t b, cc1d_problem *one) {
    static const cc1d_role roles[] = {CC1D_X, CC1D_PRE_GATE, CC1D_POST_GATE, CC1D_RESIDUAL, CC1D_OUT};
    const cc1d_view *cu = &p->view[CC1D_CU];
    const int64_t begin = b < 0 ? 0 : cc1d_index_at(cu, b, 0);
    const int64_t end = b < p->batch ? cc1d_index_at(cu, b + 1, 0) : p->view[CC1D_X].shape[2];
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (cc1d_has(p, roles[i])) one->view[roles[i]].data = cc1d_element(&p->view[roles[i]], 0, 0, begin);
    one->seqlen = end - begin;
    return b < 0 || b == p->batch ? -1 : cc1d_row_read(p, b);
}

static void update_task(void *context, int64_t index) {
    const update_job *j = context;
    const cc1d_problem *p = j->p;
    const int64_t d0 = index % j->d_count * j->d_chunk, b0 = index / j->d_count * j->b_chunk;
    const int64_t d1 = d0 + j->d_chunk < p->dim ? d0 + j->d_chunk : p->dim;
    const int64_t b1 = b0 + j->b_chunk < j->b_count ? b0 + j->b_chunk : j->b_count;
    if (!cc1d_has(p, CC1D_CU)) {
        for (int64_t b = b0; b < b1; b++) j->kernels->update(p, b, cc1d_row_read(p, b), d0, d1);
        return;
    }
    cc1d_problem one = *p;
    for (int64_t b = b0 - 1; b < b1 - 1; b++) {
        const int64_t row = enter_row(p, b, &one);
        if (one.seqlen > 0) j->kernels->update(&one, b, row, d0, d1);
    }
}

static void run_update(const cc1d_problem *p, const cc1d_cpu_kernels *k, const cc1d_exec *exec) {
    const int64_t work = p->seqlen + p->state_len; /* elements touched per channel */
    const int64_t channels = SERIAL_ELEMENTS / (work + 1) + 1;
    update_job j = {.p = p, .kernels = k, .d_chunk = p->dim < channels ? p->dim : channels};
    if (j.d_chunk < 1) return;
    j.d_count = (p->dim + j.d_chunk - 1) / j.d_chunk;
    j.b_chunk = channels / j.d_chunk;
    j.b_count = p->batch + (cc1d_has(p, CC1D_CU) ? 2 : 0);
    const cc1d_exec e = limited(exec, cc1d_times(p->batch * p->dim, work));
    cc1d_parallel(&e, (j.b_count + j.b_chunk - 1) / j.b_chunk * j.d_count, update_task, &j);
}

static cc1d_status run(const cc1d_problem *p, const cc1d_how *how, const cc1d_exec *exec, void *memory) {
    job j = {.p = p, .kernels = cc1d_cpu_chosen(), .how = &how->cpu};
    switch (p->op) {
    case CC1D_OP_FORWARD: {
        const cc1d_status status = run_forward(&j, exec);
        if (status) return status;
        break;
    }
    case CC1D_OP_BACKWARD: run_backward(&j, exec, memory); break;
    case CC1D_OP_UPDATE: run_update(p, j.kernels, exec); break;
    default: run_states(&j, p->entries, exec, wanted_states_task); break;
    }
    cc1d_ran("cpu", j.kernels->name, cc1d_tables[p->op].name);
    return CC1D_OK;
}

const cc1d_backend cc1d_backend_cpu = {.name = "cpu", .available = available, .prepare = prepare, .run = run};
