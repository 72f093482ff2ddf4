/* test_simd.c - every vector implementation against the scalar one, bit for bit.
 *
 *     test_simd [cases [first seed [operations]]]      operations: any of f, b, u
 *
 * A case is made from its seed alone: shapes, dtypes, strides, arguments and values. A failure prints
 * the seed. */
#include "boxes.h"

enum { MAX_OUTPUTS = 6 };

static int failures;

static int32_t random_dtype(void) {
    static const int32_t dtypes[] = {CC1D_FLOAT32, CC1D_FLOAT32, CC1D_FLOAT16, CC1D_BFLOAT16, CC1D_FLOAT64};
    return dtypes[random_in(0, 4)];
}

static int32_t random_weight_dtype(int32_t dtype) {
    const int32_t d = random_once_in(2) ? dtype : random_dtype();
    return d == CC1D_FLOAT64 && dtype != CC1D_FLOAT64 ? CC1D_FLOAT32 : d;
}

static int64_t random_width(void) {
    static const int64_t wide[] = {1, 5, 7, 8, 9, 31, 64, 256, 257};
    return random_once_in(4) ? wide[random_in(0, 8)] : random_in(2, 4);
}

/* Now and then longer than a list of spans (4096 steps) and an item (8192) of the time path. */
static int64_t random_length(void) {
    if (random_once_in(50)) return random_in(4000, 9000);
    return random_once_in(4) ? random_in(1, 1400) : random_in(1, 90);
}

/* ---- Tensors of a case --------------------------------------------------------------------- */

typedef enum layout { TIME, CHANNEL, STRIDED, LAYOUTS } layout;

typedef struct shape {
    int64_t b, d, t, w, n;
    int32_t dtype, weight_dtype;
    layout layout;
    int extreme;
    int64_t gap;
} shape;

static box sequences(const shape *s) {
    static const int orders[LAYOUTS][3] = {{0, 1, 2}, {0, 2, 1}, {2, 0, 1}};
    const int64_t sizes[] = {s->b, s->d, s->t};
    const int64_t inner = s->layout == STRIDED ? 2 : 1;
    return box_make(s->dtype, 3, sizes, orders[s->layout], inner, s->gap);
}

static box states_of(int32_t dtype, const shape *s, int64_t rows, int64_t length) {
    static const int orders[2][3] = {{0, 1, 2}, {0, 2, 1}};
    const int64_t sizes[] = {rows, s->d, length};
    return box_make(dtype, 3, sizes, orders[random_in(0, 1)], random_in(1, 2), random_in(0, 1));
}

static box states(const shape *s, int64_t rows, int64_t length) {
    return states_of(s->dtype, s, rows, length);
}

static box matrix(int32_t dtype, int64_t rows, int64_t columns) {
    static const int orders[2][2] = {{0, 1}, {1, 0}};
    const int64_t sizes[] = {rows, columns};
    return box_make(dtype, 2, sizes, orders[random_once_in(5)], random_once_in(5) ? 2 : 1, 0);
}

static box vector(int32_t dtype, int64_t count) {
    static const int order[] = {0};
    return box_make(dtype, 1, &count, order, random_once_in(4) ? 3 : 1, 0);
}

/* A few of the cases without one, the rest with any of the others. */
static cc1d_activation random_activation(void) {
#define VALUE(constant, name) CC1D_ACTIVATION_##constant,
    static const cc1d_activation all[] = {CC1D_EACH_ACTIVATION(VALUE)};
#undef VALUE
    return all[random_once_in(4) ? 0 : random_in(1, (int64_t)(sizeof all / sizeof *all) - 1)];
}

static box none(void) { return (box){.map = NULL}; }

/* In half of the cases none; usually laid out as x is. */
static box random_gate(const shape *s) {
    shape other = *s;
    if (random_once_in(2)) return none();
    if (random_once_in(6)) other.layout = (layout)random_in(0, LAYOUTS - 1);
    box gate = sequences(&other);
    box_fill(&gate, s->extreme);
    return gate;
}

static int32_t random_index_dtype(void) { return random_once_in(2) ? CC1D_INT32 : CC1D_INT64; }

/* Runs of equal ids, some of them padding, some of one step, some coming back later. */
static box sequence_ids(const shape *s) {
    box b = matrix(random_index_dtype(), s->b, s->t);
    const int64_t longest = random_once_in(2) ? 6 : 200;
    for (int64_t row = 0; row < s->b; row++) {
        int64_t left = 0, id = 0;
        for (int64_t t = 0; t < s->t; t++, left--) {
            if (left == 0) {
                left = random_in(1, longest);
                id = random_in(-1, 3);
            }
            box_set_index(&b, row * s->t + t, id);
        }
    }
    return b;
}

static int compare_numbers(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* 0 <= ... <= T, sorted; empty sequences, and steps behind the last one, happen. */
static box boundaries(const shape *s) {
    int64_t at[16];
    const int64_t end = random_once_in(3) ? random_in(0, s->t) : s->t;
    box b = vector(random_index_dtype(), s->n + 1);
    for (int64_t i = 0; i <= s->n; i++) at[i] = i == 0 ? 0 : i == s->n ? end : random_in(0, end);
    qsort(at, (size_t)s->n + 1, sizeof *at, compare_numbers);
    for (int64_t i = 0; i <= s->n; i++) box_set_index(&b, i, at[i]);
    return b;
}

static box random_indices(int64_t count, int64_t low, int64_t high) {
    box b = vector(random_index_dtype(), count);
    for (int64_t i = 0; i < count; i++) box_set_index(&b, i, random_in(low, high));
    return b;
}

static shape random_shape(void) {
    shape s = {.b = random_in(1, 3),
               .d = random_once_in(3) ? random_in(1, 600) : random_in(1, 70),
               .t = random_length(),
               .w = random_width(),
               .layout = (layout)random_in(0, LAYOUTS - 1),
               .extreme = random_once_in(3),
               .gap = random_once_in(3) ? random_in(1, 9) : 0};
    if (s.t > 1400) {
        s.b = 1;
        s.d = random_in(1, 4);
    } else if (s.d > 70 || s.w > 31) {
        s.t = s.t > 150 ? 150 : s.t;
        s.b = 1;
    }
    if (s.w > 31) s.d = s.d > 20 ? 20 : s.d;
    s.dtype = random_dtype();
    s.weight_dtype = random_weight_dtype(s.dtype);
    return s;
}

/* ---- The inputs that forward and backward share -------------------------------------------- */

typedef struct inputs {
    shape s;
    cc1d_activation activation;
    box x, weight, bias, ids, bounds, lengths, initial, pre_gate, post_gate;
} inputs;

static inputs random_inputs(void) {
    inputs in = {.s = random_shape()};
    shape *s = &in.s;
    const int packing = (int)random_in(0, 3);
    if (packing == 1) s->b = 1;
    s->n = packing == 1 ? random_in(1, 8) : s->b;
    in.activation = random_activation();
    in.x = sequences(s);
    in.weight = matrix(s->weight_dtype, s->d, s->w);
    in.bias = random_once_in(3) ? none() : vector(random_weight_dtype(s->dtype), s->d);
    in.bounds = packing == 1 ? boundaries(s) : none();
    in.ids = packing == 2 ? sequence_ids(s) : none();
    in.lengths = packing == 3 ? random_indices(s->b, 0, s->t) : none();
    in.initial = random_once_in(2) ? states(s, s->n, s->w - 1) : none();
    box_fill(&in.x, s->extreme);
    box_fill(&in.weight, s->extreme && random_once_in(4));
    box_fill(&in.bias, s->extreme && random_once_in(4));
    box_fill(&in.initial, s->extreme);
    in.pre_gate = random_gate(s);
    in.post_gate = random_gate(s);
    return in;
}

static void free_inputs(inputs *in) {
    box *const all[] = {&in->x,       &in->weight,  &in->bias,     &in->ids,      &in->bounds,
                        &in->lengths, &in->initial, &in->pre_gate, &in->post_gate};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) box_free(all[i]);
}

static void describe(const shape *s) {
    static const char *const dtypes[] = {"float32", "float16", "bfloat16", "float64"};
    static const char *const layouts[] = {"time", "channel", "strided"};
    printf("  B %lld D %lld T %lld W %lld N %lld, %s, weight %s, %s, gap %lld%s\n", (long long)s->b,
           (long long)s->d, (long long)s->t, (long long)s->w, (long long)s->n, dtypes[s->dtype],
           dtypes[s->weight_dtype], layouts[s->layout], (long long)s->gap,
           s->extreme ? ", extreme values" : "");
}

/* ---- Running one call on every implementation ---------------------------------------------- */

typedef struct outputs {
    const char *names[MAX_OUTPUTS];
    box box[MAX_OUTPUTS]; /* names[i] == NULL: no more */
} outputs;

typedef cc1d_status call(const void *context, outputs *out, const cc1d_exec *exec);

static outputs copy_outputs(const outputs *from) {
    outputs copy = *from;
    for (int i = 0; i < MAX_OUTPUTS && from->names[i]; i++) copy.box[i] = box_copy(&from->box[i]);
    return copy;
}

static void free_outputs(outputs *out) {
    for (int i = 0; i < MAX_OUTPUTS && out->names[i]; i++) box_free(&out->box[i]);
}

static void run(const char *implementation, call *function, const void *context, outputs *out, const shape *s,
                uint64_t seed) {
    const cc1d_exec exec = {.size = sizeof exec, .num_threads = 1};
    cc1d_set_cpu_implementation(implementation);
    if (function(context, out, &exec) != CC1D_OK) {
        failures++;
        printf("seed %llu, %s: %s\n", (unsigned long long)seed, implementation, cc1d_last_error());
        describe(s);
    }
}

static void compare(const char *operation, call *function, const void *context, const outputs *before,
                    const shape *s, uint64_t seed) {
    const char *name;
    for (int i = 0; (name = cc1d_cpu_implementation(i)); i++) {
        if (strcmp(name, "scalar") == 0) continue;
        outputs expected = copy_outputs(before), got = copy_outputs(before);
        run("scalar", function, context, &expected, s, seed);
        run(name, function, context, &got, s, seed);
        for (int k = 0; k < MAX_OUTPUTS && before->names[k]; k++) {
            const int64_t at = box_difference(&expected.box[k], &got.box[k]);
            if (at == -1) continue;
            failures++;
            printf("seed %llu: %s on %s: %s differs from scalar at element %lld", (unsigned long long)seed,
                   operation, name, before->names[k], (long long)at);
            if (at >= 0)
                printf(": %a, expected %a", cc1d_load_f64(box_at(&got.box[k], at), got.box[k].tensor.dtype),
                       cc1d_load_f64(box_at(&expected.box[k], at), got.box[k].tensor.dtype));
            printf("\n");
            describe(s);
        }
        free_outputs(&expected);
        free_outputs(&got);
    }
}

/* ---- Forward ------------------------------------------------------------------------------- */

typedef struct forward_case {
    inputs in;
    box residual, rows, out_rows, flags;
} forward_case;

static cc1d_status call_forward(const void *context, outputs *out, const cc1d_exec *exec) {
    const forward_case *c = context;
    const cc1d_forward_args args = {.size = sizeof args,
                                    .x = box_tensor(&c->in.x),
                                    .weight = box_tensor(&c->in.weight),
                                    .bias = box_tensor(&c->in.bias),
                                    .seq_idx = box_tensor(&c->in.ids),
                                    .cu_seqlens = box_tensor(&c->in.bounds),
                                    .initial_states = box_tensor(&c->in.initial),
                                    .lengths = box_tensor(&c->in.lengths),
                                    .residual = box_tensor(&c->residual),
                                    .out = box_tensor(&out->box[0]),
                                    .final_states = box_tensor(&out->box[1]),
                                    .conv_states = box_tensor(&out->box[2]),
                                    .conv_state_indices = box_tensor(&c->rows),
                                    .conv_state_out_indices = box_tensor(&c->out_rows),
                                    .has_initial_state = box_tensor(&c->flags),
                                    .pad_slot_id = -1,
                                    .activation = c->in.activation,
                                    .pre_gate = box_tensor(&c->in.pre_gate),
                                    .post_gate = box_tensor(&c->in.post_gate)};
    return cc1d_forward(&args, exec);
}

/* A pool in the place of initial and final states: rows of its lower half are read, into those of the upper
 * or in place, some are padding. */
static void make_pool(forward_case *c, outputs *out) {
    const shape *s = &c->in.s;
    const int32_t dtype = s->dtype == CC1D_FLOAT64 ? CC1D_FLOAT64 : random_weight_dtype(s->dtype);
    box_free(&c->in.initial), box_free(&out->box[1]);
    out->box[2] = states_of(dtype, s, 2 * s->n, s->w - 1 + random_in(0, 5));
    box_fill(&out->box[2], s->extreme);
    c->rows = vector(random_index_dtype(), s->n);
    c->out_rows = random_once_in(2) ? vector(random_index_dtype(), s->n) : none();
    c->flags = random_once_in(4) ? none() : vector(CC1D_BOOL, s->n);
    for (int64_t i = 0; i < s->n; i++) {
        box_set_index(&c->rows, i, random_once_in(5) ? -1 : c->out_rows.map ? random_in(0, s->n - 1) : i);
        if (c->out_rows.map) box_set_index(&c->out_rows, i, random_once_in(5) ? -1 : 2 * s->n - 1 - i);
        if (c->flags.map) box_set_index(&c->flags, i, random_in(0, 1));
    }
}

static void test_forward(uint64_t seed) {
    forward_case c = {.in = random_inputs()};
    shape *s = &c.in.s;
    c.residual = random_once_in(3) ? sequences(s) : none();
    box_fill(&c.residual, s->extreme);
    outputs out = {.names = {"out", "final_states", "conv_states"},
                   .box = {sequences(s), random_once_in(2) ? states(s, s->n, s->w - 1) : none(), none()}};
    if (!c.in.ids.map && random_once_in(2)) make_pool(&c, &out);
    compare("forward", call_forward, &c, &out, s, seed);
    free_outputs(&out);
    box *const all[] = {&c.residual, &c.rows, &c.out_rows, &c.flags};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) box_free(all[i]);
    free_inputs(&c.in);
}

/* ---- Backward ------------------------------------------------------------------------------ */

typedef struct backward_case {
    inputs in;
    box dout, dfinal;
} backward_case;

static cc1d_status call_backward(const void *context, outputs *out, const cc1d_exec *exec) {
    const backward_case *c = context;
    cc1d_backward_args args = {.size = sizeof args,
                               .dout = box_tensor(&c->dout),
                               .x = box_tensor(&c->in.x),
                               .weight = box_tensor(&c->in.weight),
                               .bias = box_tensor(&c->in.bias),
                               .seq_idx = box_tensor(&c->in.ids),
                               .cu_seqlens = box_tensor(&c->in.bounds),
                               .initial_states = box_tensor(&c->in.initial),
                               .lengths = box_tensor(&c->in.lengths),
                               .dfinal_states = box_tensor(&c->dfinal),
                               .dx = box_tensor(&out->box[0]),
                               .dweight = box_tensor(&out->box[1]),
                               .dbias = box_tensor(&out->box[2]),
                               .dinitial_states = box_tensor(&out->box[3]),
                               .activation = c->in.activation,
                               .pre_gate = box_tensor(&c->in.pre_gate),
                               .post_gate = box_tensor(&c->in.post_gate),
                               .dpre_gate = box_tensor(&out->box[4]),
                               .dpost_gate = box_tensor(&out->box[5])};
    cc1d_status status = cc1d_backward_scratch(&args, &args.scratch_size);
    if (status != CC1D_OK) return status;
    args.scratch = malloc(args.scratch_size + 1);
    status = cc1d_backward(&args, exec);
    free(args.scratch);
    return status;
}

static void test_backward(uint64_t seed) {
    backward_case c = {.in = random_inputs()};
    shape *s = &c.in.s;
    c.dout = sequences(s);
    c.dfinal = random_once_in(2) ? states(s, s->n, s->w - 1) : none();
    box_fill(&c.dout, s->extreme);
    box_fill(&c.dfinal, s->extreme);
    const int32_t bias_dtype = c.in.bias.map ? c.in.bias.tensor.dtype : s->weight_dtype;
    const bool pre = c.in.pre_gate.map && !random_once_in(6), post = c.in.post_gate.map && !random_once_in(6);
    outputs out = {.names = {"dx", "dweight", "dbias", "dinitial_states", "dpre_gate", "dpost_gate"},
                   .box = {random_once_in(6) ? none() : sequences(s),
                           random_once_in(6) ? none() : matrix(s->weight_dtype, s->d, s->w),
                           random_once_in(3) ? none() : vector(bias_dtype, s->d),
                           c.in.initial.map ? states(s, s->n, s->w - 1) : none(), pre ? sequences(s) : none(),
                           post ? sequences(s) : none()}};
    compare("backward", call_backward, &c, &out, s, seed);
    free_outputs(&out);
    box_free(&c.dout);
    box_free(&c.dfinal);
    free_inputs(&c.in);
}

/* ---- Update -------------------------------------------------------------------------------- */

typedef struct update_case {
    shape s;
    cc1d_activation activation;
    box x, weight, bias, cache, indices, accepted, out_indices, pre_gate, post_gate;
} update_case;

static cc1d_status call_update(const void *context, outputs *out, const cc1d_exec *exec) {
    const update_case *c = context;
    const cc1d_update_args args = {.size = sizeof args,
                                   .x = box_tensor(&c->x),
                                   .conv_state = box_tensor(&out->box[1]),
                                   .weight = box_tensor(&c->weight),
                                   .bias = box_tensor(&c->bias),
                                   .cache_seqlens = box_tensor(&c->cache),
                                   .conv_state_indices = box_tensor(&c->indices),
                                   .num_accepted_tokens = box_tensor(&c->accepted),
                                   .conv_state_out_indices = box_tensor(&c->out_indices),
                                   .out = box_tensor(&out->box[0]),
                                   .pad_slot_id = -1,
                                   .activation = c->activation,
                                   .pre_gate = box_tensor(&c->pre_gate),
                                   .post_gate = box_tensor(&c->post_gate)};
    return cc1d_update(&args, exec);
}

static void test_update(uint64_t seed) {
    update_case c = {.s = random_shape()};
    shape *s = &c.s;
    s->b = random_in(1, 5);
    s->t = random_once_in(2) ? 1 : random_in(1, 9);
    s->n = s->b + 2;
    const int mode = (int)random_in(0, 3);
    int64_t length = s->w - 1 + random_in(0, 3);
    if (mode == 2) length += s->t - 1;
    if (length == 0) length = mode == 1 ? 1 : 0;
    c.activation = random_activation();
    c.x = sequences(s);
    c.weight = matrix(s->weight_dtype, s->d, s->w);
    c.bias = random_once_in(3) ? none() : vector(random_weight_dtype(s->dtype), s->d);
    c.cache = mode == 1 ? random_indices(s->b, 0, 1000) : none();
    c.accepted = mode == 2 ? random_indices(s->b, 1, length - s->w + 2) : none();
    c.indices = c.out_indices = none();
    if (random_once_in(2)) {
        c.indices = vector(random_index_dtype(), s->b);
        for (int64_t i = 0; i < s->b; i++)
            box_set_index(&c.indices, i, random_once_in(5) ? -1 : s->n - 1 - i);
        if (random_once_in(2)) { /* rows of the lower half, into those of the upper */
            c.out_indices = vector(random_index_dtype(), s->b);
            s->n = 2 * s->b;
            for (int64_t i = 0; i < s->b; i++)
                box_set_index(&c.indices, i, random_in(-1, s->b - 1)),
                    box_set_index(&c.out_indices, i, s->b + i);
        }
    }
    c.pre_gate = random_gate(s);
    c.post_gate = random_gate(s);
    box_fill(&c.x, s->extreme);
    box_fill(&c.weight, 0);
    box_fill(&c.bias, 0);
    const int32_t dtype = s->dtype == CC1D_FLOAT64 ? CC1D_FLOAT64 : random_weight_dtype(s->dtype);
    outputs out = {.names = {"out", "conv_state"},
                   .box = {sequences(s), states_of(dtype, s, c.indices.map ? s->n : s->b, length)}};
    box_fill(&out.box[1], s->extreme);
    compare("update", call_update, &c, &out, s, seed);
    free_outputs(&out);
    box *const all[] = {&c.x,        &c.weight,      &c.bias,     &c.cache,    &c.indices,
                        &c.accepted, &c.out_indices, &c.pre_gate, &c.post_gate};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) box_free(all[i]);
}

int main(int argc, char **argv) {
    static void (*const tests[])(uint64_t seed) = {test_forward, test_backward, test_update};
    const uint64_t cases = argc > 1 ? strtoull(argv[1], NULL, 10) : getenv("CC1D_TEST_EMULATED") ? 600 : 3000;
    const uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    const char *const only = argc > 3 ? argv[3] : "fbu";
    const char *name;
    printf("implementations:");
    for (int i = 0; (name = cc1d_cpu_implementation(i)); i++) printf(" %s", name);
    printf("\n");
    for (uint64_t seed = first; seed < first + cases && failures < 10; seed++) {
        if (!strchr(only, "fbu"[seed % 3])) continue;
        random_state = seed;
        tests[seed % 3](seed);
    }
    printf("%llu cases, %d failures\n", (unsigned long long)cases, failures);
    return failures != 0;
}
