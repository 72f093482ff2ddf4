/* test_kernels.c - compiles the specialisations of a spread of problems with a real NVRTC, which
 * needs no GPU. Exits with 77, skipped, where there is no NVRTC (CAUSAL_CONV1D_NVRTC names it).
 *
 *     test_cuda_kernels [KERNELS [SM... ]]    how many (default 40), for which architectures (90)
 *
 * CC1D_TEXTS=FOLDER in the environment writes every text there instead, for tools/nvrtc_check.py. */
#define _POSIX_C_SOURCE 200809L
#include "core/run.h"
#include "cuda/nvrtc.h"
#include "gpu/plan/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SKIPPED = 77, MAX_KERNELS = 4096, PROBLEMS = 2000 };

/* ---- Problems ---------------------------------------------------------------------------------- */

/* The same "random" problems on every machine. */
static uint32_t random_state = 1;

static int below(int count) {
    random_state = random_state * 1664525u + 1013904223u;
    return (int)((random_state >> 8) % (uint32_t)count);
}

static char *next_address; /* tensors are never looked at, so any address will do */

enum layout { TIME_CONTIGUOUS, CHANNEL_CONTIGUOUS, SCATTERED, LAYOUTS };

static cc1d_tensor tensor(int32_t dtype, int32_t ndim, int64_t a, int64_t b, int64_t c, enum layout layout) {
    const int64_t s[3] = {a, ndim > 1 ? b : 1, ndim > 2 ? c : 1};
    cc1d_tensor t = {.dtype = dtype, .device = CC1D_CUDA, .ndim = ndim, .shape = {a, b, c}};
    const int64_t step = layout == SCATTERED ? 2 : 1;
    if (layout == CHANNEL_CONTIGUOUS && ndim == 3) {
        memcpy(t.strides, (int64_t[]){s[1] * s[2], 1, s[1]}, sizeof t.strides);
    } else {
        memcpy(t.strides, (int64_t[]){s[1] * s[2] * step, s[2] * step, step}, sizeof t.strides);
        t.strides[ndim - 1] = step;
        if (ndim == 2) {
            t.strides[0] = s[1] * step;
        }
    }
    t.data = next_address;
    t.byte_offset = below(4) ? 0 : cc1d_itemsize(dtype); /* some start off a 16-byte boundary */
    next_address += ((size_t)(s[0] * s[1] * s[2]) * 16 + 512) / 256 * 256;
    return t;
}

/* Everything that an operation may be given. */
typedef struct tensors {
    cc1d_tensor x, weight, bias, seq_idx, cu_seqlens, initial, residual, out, final;
    cc1d_tensor dout, dfinal, dx, dweight, dbias, dinitial, state, cache, indices, accepted, out_indices;
    cc1d_tensor lengths, has_initial, parents, nodes, rows, pre_gate, post_gate, dpre_gate, dpost_gate;
} tensors;

typedef struct sizes {
    int32_t dtype, parameter, index;
    int64_t batch, dim, seqlen, width;
    enum layout layout;
    int packing; /* 0 none, 1 seq_idx, 2 cu_seqlens */
} sizes;

static sizes random_sizes(void) {
    static const int64_t dims[] = {1, 8, 37, 256, 4096}, seqlens[] = {1, 5, 64, 777, 4096, 70000};
    static const int64_t widths[] = {1, 2, 3, 4, 4, 4, 5, 7, 8, 9, 17, 64, 256};
    sizes s = {.dtype = below(4), .index = below(2) ? CC1D_INT32 : CC1D_INT64};
    s.parameter = below(s.dtype == CC1D_FLOAT64 ? 4 : 3);
    s.layout = (enum layout)below(LAYOUTS);
    s.packing = below(3);
    s.batch = s.packing == 2 ? 1 : 1 + below(3);
    s.dim = dims[below(sizeof dims / sizeof *dims)];
    s.seqlen = seqlens[below(sizeof seqlens / sizeof *seqlens)];
    s.width = widths[below(sizeof widths / sizeof *widths)];
    return s;
}

static cc1d_tensor activations(const sizes *s) {
    return tensor(s->dtype, 3, s->batch, s->dim, s->seqlen, s->layout);
}

static cc1d_tensor states(const sizes *s) {
    const int64_t rows = s->packing == 2 ? 4 : s->batch;
    return tensor(s->dtype, 3, rows, s->dim, s->width - 1, s->layout);
}

static void fill(tensors *t, const sizes *s) {
    t->x = activations(s);
    t->weight = tensor(s->parameter, 2, s->dim, s->width, 0, TIME_CONTIGUOUS);
    t->bias = tensor(s->parameter, 1, s->dim, 0, 0, TIME_CONTIGUOUS);
    t->seq_idx = tensor(s->index, 2, s->batch, s->seqlen, 0, TIME_CONTIGUOUS);
    t->cu_seqlens = tensor(s->index, 1, 5, 0, 0, TIME_CONTIGUOUS);
    t->initial = states(s);
    t->residual = activations(s);
    t->pre_gate = activations(s);
    t->post_gate = activations(s);
    t->dpre_gate = activations(s);
    t->dpost_gate = activations(s);
    t->out = activations(s);
    t->final = states(s);
    t->dout = activations(s);
    t->dfinal = states(s);
    t->dx = activations(s);
    t->dweight = tensor(s->parameter, 2, s->dim, s->width, 0, TIME_CONTIGUOUS);
    t->dbias = tensor(s->parameter, 1, s->dim, 0, 0, TIME_CONTIGUOUS);
    t->dinitial = states(s);
}

#define MAYBE(member) (below(2) ? &t->member : NULL)

static void forward(tensors *t, const sizes *s, cc1d_arguments *a) {
    *a = (cc1d_arguments){.op = CC1D_OP_FORWARD,
                          .activation = below(2),
                          .tensor = {[CC1D_X] = &t->x,
                                     [CC1D_WEIGHT] = &t->weight,
                                     [CC1D_BIAS] = MAYBE(bias),
                                     [CC1D_SEQ_IDX] = s->packing == 1 ? &t->seq_idx : NULL,
                                     [CC1D_CU] = s->packing == 2 ? &t->cu_seqlens : NULL,
                                     [CC1D_INITIAL] = MAYBE(initial),
                                     [CC1D_PRE_GATE] = MAYBE(pre_gate),
                                     [CC1D_POST_GATE] = MAYBE(post_gate),
                                     [CC1D_RESIDUAL] = MAYBE(residual),
                                     [CC1D_OUT] = &t->out,
                                     [CC1D_FINAL] = MAYBE(final)}};
}

/* From and into a pool. */
static void prefill(tensors *t, const sizes *s, cc1d_arguments *a) {
    const int64_t count = s->packing == 2 ? 4 : s->batch;
    const int32_t state_dtype = s->dtype == CC1D_FLOAT64 || below(2) ? s->dtype : (int32_t)below(3);
    t->state =
        tensor(state_dtype, 3, count + 2, s->dim, s->width - 1 + below(3), (enum layout)below(LAYOUTS));
    t->indices = tensor(s->index, 1, count, 0, 0, TIME_CONTIGUOUS);
    t->out_indices = tensor(s->index, 1, count, 0, 0, TIME_CONTIGUOUS);
    t->has_initial = tensor(CC1D_BOOL, 1, count, 0, 0, TIME_CONTIGUOUS);
    t->lengths = tensor(s->index, 1, count, 0, 0, TIME_CONTIGUOUS);
    *a = (cc1d_arguments){.op = CC1D_OP_FORWARD,
                          .activation = below(2),
                          .pad_slot_id = -1,
                          .tensor = {[CC1D_X] = &t->x,
                                     [CC1D_WEIGHT] = &t->weight,
                                     [CC1D_BIAS] = MAYBE(bias),
                                     [CC1D_CU] = s->packing == 2 ? &t->cu_seqlens : NULL,
                                     [CC1D_LENGTHS] = s->packing == 1 ? &t->lengths : NULL,
                                     [CC1D_PRE_GATE] = MAYBE(pre_gate),
                                     [CC1D_POST_GATE] = MAYBE(post_gate),
                                     [CC1D_RESIDUAL] = MAYBE(residual),
                                     [CC1D_STATE] = &t->state,
                                     [CC1D_INDICES] = MAYBE(indices),
                                     [CC1D_OUT_INDICES] = MAYBE(out_indices),
                                     [CC1D_HAS_INITIAL] = MAYBE(has_initial),
                                     [CC1D_OUT] = &t->out}};
}

static void backward(tensors *t, const sizes *s, cc1d_arguments *a) {
    const int with_states = below(2), pre = below(2), post = below(2);
    *a = (cc1d_arguments){.op = CC1D_OP_BACKWARD,
                          .activation = below(2),
                          .tensor = {[CC1D_DOUT] = &t->dout,
                                     [CC1D_X] = &t->x,
                                     [CC1D_WEIGHT] = &t->weight,
                                     [CC1D_BIAS] = MAYBE(bias),
                                     [CC1D_SEQ_IDX] = s->packing == 1 ? &t->seq_idx : NULL,
                                     [CC1D_CU] = s->packing == 2 ? &t->cu_seqlens : NULL,
                                     [CC1D_INITIAL] = with_states ? &t->initial : NULL,
                                     [CC1D_PRE_GATE] = pre ? &t->pre_gate : NULL,
                                     [CC1D_POST_GATE] = post ? &t->post_gate : NULL,
                                     [CC1D_DPRE_GATE] = pre ? MAYBE(dpre_gate) : NULL,
                                     [CC1D_DPOST_GATE] = post ? MAYBE(dpost_gate) : NULL,
                                     [CC1D_DFINAL] = MAYBE(dfinal),
                                     [CC1D_DX] = MAYBE(dx),
                                     [CC1D_DWEIGHT] = MAYBE(dweight),
                                     [CC1D_DBIAS] = MAYBE(dbias),
                                     [CC1D_DINITIAL] = with_states ? MAYBE(dinitial) : NULL}};
}

static void update(tensors *t, const sizes *s, cc1d_arguments *a) {
    const int64_t steps = below(2) ? 1 : 2 + below(4), rows = s->batch + 2;
    const int mode = below(3); /* shift, circular, accepted */
    t->x = tensor(s->dtype, 3, s->batch, s->dim, steps, s->layout);
    t->out = tensor(s->dtype, 3, s->batch, s->dim, steps, s->layout);
    const int with_indices = below(2);
    const int32_t state_dtype = s->dtype == CC1D_FLOAT64 || below(2) ? s->dtype : (int32_t)below(3);
    t->state = tensor(state_dtype, 3, with_indices ? rows : s->batch, s->dim, s->width - 1 + steps + below(3),
                      (enum layout)below(LAYOUTS));
    t->cache = tensor(s->index, 1, s->batch, 0, 0, TIME_CONTIGUOUS);
    t->indices = tensor(s->index, 1, s->batch, 0, 0, TIME_CONTIGUOUS);
    t->accepted = tensor(s->index, 1, s->batch, 0, 0, TIME_CONTIGUOUS);
    t->out_indices = tensor(s->index, 1, s->batch, 0, 0, TIME_CONTIGUOUS);
    t->residual = tensor(s->dtype, 3, s->batch, s->dim, steps, s->layout);
    t->pre_gate = tensor(s->dtype, 3, s->batch, s->dim, steps, s->layout);
    t->post_gate = tensor(s->dtype, 3, s->batch, s->dim, steps, s->layout);
    t->parents = tensor(s->index, 2, s->batch, steps, 0, TIME_CONTIGUOUS);
    t->nodes = tensor(state_dtype, 3, s->batch * steps, s->dim, s->width - 1, TIME_CONTIGUOUS);
    t->rows = tensor(s->index, 1, s->batch + 1, 0, 0, TIME_CONTIGUOUS);
    const int tree = mode != 1 && below(4) == 0, ragged = !tree && below(4) == 0;
    if (ragged) { /* steps that lie one after another */
        t->x = tensor(s->dtype, 2, s->batch * steps, s->dim, 0, TIME_CONTIGUOUS);
        t->out = tensor(s->dtype, 2, s->batch * steps, s->dim, 0, TIME_CONTIGUOUS);
        t->residual = tensor(s->dtype, 2, s->batch * steps, s->dim, 0, TIME_CONTIGUOUS);
        t->pre_gate = tensor(s->dtype, 2, s->batch * steps, s->dim, 0, TIME_CONTIGUOUS);
        t->post_gate = tensor(s->dtype, 2, s->batch * steps, s->dim, 0, TIME_CONTIGUOUS);
    }
    *a = (cc1d_arguments){
        .op = CC1D_OP_UPDATE,
        .activation = below(2),
        .pad_slot_id = -1,
        .max_seqlen = ragged ? steps : 0,
        .tensor = {[CC1D_X] = &t->x,
                   [CC1D_STATE] = &t->state,
                   [CC1D_WEIGHT] = &t->weight,
                   [CC1D_BIAS] = MAYBE(bias),
                   [CC1D_CACHE] = mode == 1 ? &t->cache : NULL,
                   [CC1D_INDICES] = with_indices ? &t->indices : NULL,
                   [CC1D_ACCEPTED] = mode == 2 ? &t->accepted : NULL,
                   [CC1D_OUT_INDICES] = with_indices && !tree && below(2) ? &t->out_indices : NULL,
                   [CC1D_CU] = ragged ? &t->rows : NULL,
                   [CC1D_PARENTS] = tree ? &t->parents : NULL,
                   [CC1D_PRE_GATE] = MAYBE(pre_gate),
                   [CC1D_POST_GATE] = MAYBE(post_gate),
                   [CC1D_RESIDUAL] = MAYBE(residual),
                   [CC1D_OUT] = !tree && state_dtype == s->dtype && below(4) == 0 ? &t->x : &t->out,
                   [CC1D_NODE_STATES] = tree ? MAYBE(nodes) : NULL}};
}

static void varlen_states(tensors *t, const sizes *s, cc1d_arguments *a) {
    t->x = tensor(s->dtype, 2, s->seqlen, s->dim, 0, TIME_CONTIGUOUS);
    const int positions = below(2), pool = below(2), length = 1 + below(6);
    const int32_t states = s->dtype == CC1D_FLOAT64 || below(2) ? s->dtype : (int32_t)below(3);
    t->initial = tensor(s->dtype == CC1D_FLOAT64 ? s->dtype : (int32_t)below(3), 3, 4, s->dim,
                        length + below(2), s->layout);
    t->indices = t->out_indices = tensor(s->index, 1, positions ? 6 : 4, 0, 0, TIME_CONTIGUOUS);
    t->final = tensor(states, 3, (positions ? 6 : 4) + 3 * pool, s->dim, length, s->layout);
    *a = (cc1d_arguments){.op = CC1D_OP_VARLEN_STATES,
                          .pad_slot_id = -1,
                          .tensor = {[CC1D_X] = &t->x,
                                     [CC1D_CU] = &t->cu_seqlens,
                                     [CC1D_INITIAL] = MAYBE(initial),
                                     [CC1D_POSITIONS] = positions ? &t->indices : NULL,
                                     [CC1D_OUT_INDICES] = pool ? &t->out_indices : NULL,
                                     [CC1D_FINAL] = &t->final}};
}

/* ---- Kernels ----------------------------------------------------------------------------------- */

static cc1d_launch found[MAX_KERNELS];
static int found_count;

static void add(const cc1d_launch *launch) {
    for (int i = 0; i < found_count; i++) {
        if (!strcmp(found[i].kernel, launch->kernel) && !memcmp(found[i].key, launch->key, CC1D_PLAN_KEY)) {
            return;
        }
    }
    if (found_count < MAX_KERNELS) {
        found[found_count++] = *launch;
    }
}

/* The kernels of random problems. Every problem must be accepted and planned. */
static int collect(void) {
    void (*const operations[])(tensors *, const sizes *, cc1d_arguments *) = {forward, backward, update,
                                                                              varlen_states, prefill};
    static cc1d_prepared prepared;
    for (int i = 0; i < PROBLEMS; i++) {
        next_address = (char *)((uintptr_t)1 << 40);
        const sizes s = random_sizes();
        tensors t;
        fill(&t, &s);
        cc1d_arguments arguments;
        operations[i % 5](&t, &s, &arguments);
        const cc1d_status status = cc1d_prepare(&arguments, &prepared);
        if (status) {
            printf("problem %d: %s: %s\n", i, cc1d_status_name(status), cc1d_last_error());
            return 0;
        }
        for (int j = 0; j < prepared.how.gpu.launch_count && !prepared.writes_nothing; j++) {
            add(&prepared.how.gpu.launch[j]);
        }
    }
    return 1;
}

static char *text_of(const cc1d_launch *launch) {
    const size_t size = cc1d_launch_source(launch, CC1D_LANGUAGE_CUDA, NULL, 0) + 1;
    char *text = malloc(size);
    if (!text || cc1d_launch_source(launch, CC1D_LANGUAGE_CUDA, text, size) != size - 1 ||
        strlen(text) != size - 1) {
        printf("%s: the text's length is not what was said\n", launch->kernel);
        exit(1);
    }
    return text;
}

static int write_texts(const char *folder) {
    for (int i = 0; i < found_count; i++) {
        char path[1000];
        snprintf(path, sizeof path, "%s/%s_%d.cu", folder, found[i].kernel, i);
        char *text = text_of(&found[i]);
        FILE *file = fopen(path, "w");
        if (!file || fputs(text, file) < 0 || fclose(file)) {
            perror(path);
            return 0;
        }
        free(text);
    }
    return 1;
}

/* Whether PTX has the parameters that the host passes: a pointer for each buffer, then the params struct. */
static int parameters_agree(const cc1d_launch *launch, const char *ptx) {
    char entry[100], array[100] = "";
    snprintf(entry, sizeof entry, ".entry %s(", launch->kernel);
    const char *at = strstr(ptx, entry), *end = at ? strchr(at + strlen(entry), ')') : NULL;
    int count = 0;
    while (end && (at = strstr(at + 1, ".param ")) && at < end) {
        const char *bracket = strchr(at, '[');
        snprintf(array, sizeof array, "%s", bracket && bracket < strchr(at, '\n') ? bracket + 1 : "");
        count++;
    }
    if (count == launch->buffer_count + 1 && atoi(array) == 4 * launch->word_count) return 1;
    printf("%s: %d parameters, the last of %d bytes; the host passes %d buffers and %d bytes\n",
           launch->kernel, count, atoi(array), launch->buffer_count, 4 * launch->word_count);
    return 0;
}

/* As PTX, which an architecture that NVRTC does not know gets. */
static int check_parameters(int count) {
    enum { BETWEEN_90_AND_100 = 91 };
    int failures = 0;
    const int step = found_count > count ? found_count / count : 1;
    for (int i = step / 2; i < found_count; i += step) {
        char *text = text_of(&found[i]), *ptx = NULL;
        const cc1d_status status = cc1d_nvrtc_compile(found[i].kernel, text, BETWEEN_90_AND_100, 0, &ptx);
        if (status) printf("kernel %d of %d: %s\n", i, found_count, cc1d_last_error());
        failures += status || !parameters_agree(&found[i], ptx);
        free(ptx);
        free(text);
    }
    return failures;
}

/* Compiles every n-th kernel, so that all operations are among them. */
static int compile_some(int count, int sm) {
    int failures = 0, compiled = 0;
    double slowest = 0;
    const int step = found_count > count ? found_count / count : 1;
    for (int i = 0; i < found_count; i += step, compiled++) {
        char *text = text_of(&found[i]), *code = NULL;
        const clock_t start = clock(); /* processor time, which other work on the machine does not change */
        if (cc1d_nvrtc_compile(found[i].kernel, text, sm, 0, &code)) {
            printf("sm_%d, kernel %d of %d: %s\n", sm, i, found_count, cc1d_last_error());
            failures++;
        }
        const double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        slowest = seconds > slowest ? seconds : slowest;
        free(code);
        free(text);
    }
    printf("sm_%d: %d of %d kernels compiled, %d failed, the slowest took %.0f ms\n", sm, compiled,
           found_count, failures, 1000 * slowest);
    return failures;
}

int main(int count, char **arguments) {
    if (!collect()) {
        return 1;
    }
    if (!found_count) {
        printf("no kernels\n");
        return 1;
    }
    const char *folder = getenv("CC1D_TEXTS");
    if (folder) {
        return !write_texts(folder);
    }
    char detail[1200];
    if (!cc1d_nvrtc_describe(0, detail, sizeof detail)) {
        printf("%d kernels, none compiled: %s\n", found_count, detail);
        return SKIPPED;
    }
    printf("%s\n", detail);
    const int wanted = count > 1 ? atoi(arguments[1]) : 40;
    int failures = check_parameters(wanted);
    for (int i = 2; i < count; i++) {
        failures += compile_some(wanted, atoi(arguments[i]));
    }
    if (count <= 2) failures += compile_some(wanted, 90);
    return failures != 0;
}
