/* run.h - runs a case twice, in two ways that must not matter, and checks what the header promises. */
#ifndef CC1D_FUZZ_RUN_H
#define CC1D_FUZZ_RUN_H

#include "memory.h"
#include "mode.h"

/* Implemented by each target, besides its table. fuzz_choose: sizes and options beyond the usual ones.
 * fuzz_keep: which of the optional tensors are there. fuzz_call: calls the operation on these tensors (NULL:
 * absent); where it may not run, only what reads no tensor but cu_seqlens, or returns that it has nothing to
 * call. */
static void fuzz_choose(fuzz_case *c, fuzz_input *in);
static void fuzz_keep(fuzz_case *c);
static bool fuzz_call(const fuzz_case *c, const cc1d_tensor *const *tensors, const cc1d_exec *exec,
                      bool may_run, cc1d_status *status);

/* How one of the two runs goes. */
typedef struct fuzz_way {
    int64_t implementation, threads, parallel_for;
    bool exec, at_end;
    int64_t exec_size_off;
    uint64_t mode;
} fuzz_way;

static inline fuzz_way fuzz_take_way(fuzz_input *in, bool clean) {
    const uint64_t mode = fuzz_bits(in, 1);
    fuzz_way way = {.implementation = fuzz_below(in, 4),
                    .threads = fuzz_below(in, 7) - 1,
                    .parallel_for = fuzz_below(in, 4),
                    .exec = fuzz_below(in, 4) != 0,
                    .at_end = !fuzz_below(in, 2)};
    if (mode % 4 == 3) way.mode = (mode / 4 * 0x1041041) & FUZZ_MODE_BITS;
    if (!clean && fuzz_rarely(in, 16)) way.exec_size_off = fuzz_any(in);
    return way;
}

/* A failed check; libFuzzer keeps the input. */
#define FUZZ_CHECK(condition, ...)                               \
    do {                                                         \
        if (!(condition)) {                                      \
            fprintf(stderr, "check failed: %s: ", #condition);   \
            fprintf(stderr, __VA_ARGS__), fprintf(stderr, "\n"); \
            fuzz_describe(c);                                    \
            abort();                                             \
        }                                                        \
    } while (0)

static inline void fuzz_describe(const fuzz_case *c) {
    for (int i = 0; i < c->count; i++) {
        const cc1d_tensor *t = &c->tensor[i];
        if (!c->present[i]) continue;
        fprintf(stderr, "  %s: dtype %d, device %d:%d, offset %llu, ndim %d", c->roles[i].name, (int)t->dtype,
                (int)t->device, (int)t->device_index, (unsigned long long)t->byte_offset, (int)t->ndim);
        for (int d = 0; d < t->ndim && d < CC1D_MAX_DIMS; d++)
            fprintf(stderr, ", %lld by %lld", (long long)t->shape[d], (long long)t->strides[d]);
        if (c->alias[i] >= 0) fprintf(stderr, ", in the memory of %s", c->roles[c->alias[i]].name);
        fprintf(stderr, "\n");
    }
    fprintf(stderr, "  activation %d, pad_slot_id %lld, %s\n", (int)c->activation, (long long)c->pad_slot_id,
            c->clean ? "well-formed" : "damaged");
}

/* A caller's parallel-for: backwards, one after the other, and every index once. */
static inline void fuzz_backwards(void *user, int64_t count, void (*task)(void *, int64_t), void *context) {
    if (user != (void *)&fuzz_backwards) abort();
    for (int64_t i = count - 1; i >= 0; i--) task(context, i);
}

/* Memory of exactly the size that a struct says it has (at least that of the size itself). */
static inline void *fuzz_struct(const void *from, size_t known, size_t size) {
    const size_t bytes = size < sizeof(size_t) ? sizeof(size_t) : size < known ? size : known;
    void *memory = malloc(bytes);
    memcpy(memory, from, bytes);
    memcpy(memory, &size, sizeof size);
    return memory;
}

static inline bool fuzz_one_run(const fuzz_case *c, const fuzz_memory *m, const fuzz_way *way, bool may_run,
                                cc1d_status *status) {
    const cc1d_tensor *tensors[FUZZ_TENSORS];
    for (int i = 0; i < c->count; i++) {
        tensors[i] = NULL;
        if (!c->present[i]) continue;
        cc1d_tensor *exact = malloc(sizeof *exact);
        *exact = m->tensor[i];
        tensors[i] = exact;
    }
    int implementations = 0;
    while (cc1d_cpu_implementation(implementations)) implementations++;
    cc1d_set_cpu_implementation(cc1d_cpu_implementation((int)(way->implementation % implementations)));
    const cc1d_exec full = {.num_threads = (int32_t)way->threads,
                            .parallel_for = way->parallel_for == 1 ? fuzz_backwards : NULL,
                            .parallel_for_user = (void *)&fuzz_backwards};
    cc1d_exec *exec =
        fuzz_struct(&full, sizeof full, (size_t)((uint64_t)sizeof full + (uint64_t)way->exec_size_off));
    const uint64_t usual = fuzz_mode();
    fuzz_set_mode(way->mode);
    const bool called = fuzz_call(c, tensors, way->exec || way->exec_size_off ? exec : NULL, may_run, status);
    const uint64_t left = fuzz_mode();
    fuzz_set_mode(usual);
    FUZZ_CHECK(left == way->mode, "the call changed the thread's floating-point mode");
    free(exec);
    for (int i = 0; i < c->count; i++) free((void *)(uintptr_t)tensors[i]);
    if (called && *status) {
        const char *line = cc1d_last_error();
        FUZZ_CHECK(*line && !strchr(line, '\n'), "expected one line, got '%s'", line);
    }
    return called;
}

static inline bool fuzz_has_alias(const fuzz_case *c) {
    for (int i = 0; i < c->count; i++)
        if (c->alias[i] >= 0) return true;
    return false;
}

static inline bool fuzz_may_run(const fuzz_case *c, bool touchable) {
    int64_t size[128];
    if (!touchable || !fuzz_bind(c, size) || !fuzz_is_quick(size)) return false;
    for (int i = 0; i < c->count; i++) {
        int64_t count;
        if (c->present[i] && (fuzz_bytes(&c->tensor[i], &count) < 0 || count < 0)) return false;
    }
    return true;
}

static inline void fuzz_run(fuzz_case *c, fuzz_input *in) {
    static fuzz_memory a, b;
    const fuzz_way way_a = fuzz_take_way(in, c->clean), way_b = fuzz_take_way(in, c->clean);
    fuzz_stay_on_cpu(c);
    const bool touchable = fuzz_lay_out(c, &a, way_a.at_end, 0xa5);
    fuzz_lay_out(c, &b, way_b.at_end, 0x5a);
    fuzz_fill_both(c, &a, &b);
    const bool refused = fuzz_must_be_refused(c), may_run = fuzz_may_run(c, touchable);
    const bool allowed = may_run || refused;
    cc1d_status status_a = CC1D_OK, status_b = CC1D_OK;
    const bool called_a = fuzz_one_run(c, &a, &way_a, allowed, &status_a);
    const bool called_b = fuzz_one_run(c, &b, &way_b, allowed, &status_b);
    if (called_a && called_b && allowed) {
        FUZZ_CHECK(!c->clean || (!status_a && !status_b), "a well-formed call: %s", cc1d_last_error());
        FUZZ_CHECK(!refused || (status_a && status_b), "a call that breaks a rule was accepted");
        FUZZ_CHECK((!way_a.exec_size_off || status_a) && (!way_b.exec_size_off || status_b),
                   "an exec of a wrong size was accepted");
        FUZZ_CHECK(status_a == status_b || way_a.exec_size_off || way_b.exec_size_off, "%s and %s",
                   cc1d_status_name(status_a), cc1d_status_name(status_b));
    }
    const bool done_a = allowed && called_a && !status_a, done_b = allowed && called_b && !status_b;
    if (done_a && (!c->clean || fuzz_has_alias(c)))
        FUZZ_CHECK(!fuzz_overlap(c, &a), "results in memory that overlaps were accepted");
    if (done_a && done_b) {
        const int i = fuzz_different_result(c, &a, &b);
        FUZZ_CHECK(i < 0, "%s has other bits in the second run", c->roles[i].name);
    }
    int i = fuzz_changed(c, &a, !done_a);
    FUZZ_CHECK(i < 0, "memory of %s has changed that is no result", c->roles[i].name);
    i = fuzz_changed(c, &b, !done_b);
    FUZZ_CHECK(i < 0, "memory of %s has changed that is no result", c->roles[i].name);
    fuzz_forget(c, &a);
    fuzz_forget(c, &b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, data + size};
    fuzz_case c = {
        .roles = fuzz_roles, .count = fuzz_role_count, .clean = true, .damaged_index = -1, .pad_slot_id = -1};
    c.seed = fuzz_bits(&in, 2);
    c.extreme = fuzz_rarely(&in, 3);
    c.activation = (int32_t)fuzz_below(&in, 2);
    for (int i = 0; i < FUZZ_TENSORS; i++) c.alias[i] = -1;
    fuzz_sizes(&c, &in);
    fuzz_choose(&c, &in);
    for (int i = 0; i < c.count; i++) fuzz_make(&c, i, &in);
    fuzz_keep(&c);
    const int64_t style = fuzz_below(&in, 8);
    if (style == 7) fuzz_arbitrary(&c, &in);
    for (int64_t damages = style < 7 ? style - 3 : 0; damages > 0; damages--) fuzz_damage(&c, &in);
    fuzz_run(&c, &in);
    return 0;
}

#endif
