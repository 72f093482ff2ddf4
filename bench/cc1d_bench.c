/* cc1d-bench - verify, then time the CPU kernels against memcpy, without Python.
 *
 * One line per operation and layout: median time, time of a memcpy of the same bytes on as many
 * threads, and the ratio. The shapes are those of cpu_shapes.inc. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "causal_conv1d.h"

enum { WIDTH = 4, MAX_THREADS = 64, MAX_SAMPLES = 400 };

static const double SECONDS_PER_FIGURE = 0.3;

typedef struct bench_shape {
    int64_t batch, dim, length;
} bench_shape;

static const bench_shape SHAPES[] = {
#include "cpu_shapes.inc"
};

/* ---- Elements: random bit patterns of ordinary size, and their values
 * ---------------------------------------- */

typedef struct bench_dtype {
    const char *name;
    cc1d_dtype id;
    size_t size;
    double unit; /* distance from 1 to the next value */
} bench_dtype;

static const bench_dtype DTYPES[] = {
    {"fp32", CC1D_FLOAT32, 4, 0x1p-23},
    {"fp16", CC1D_FLOAT16, 2, 0x1p-10},
    {"bf16", CC1D_BFLOAT16, 2, 0x1p-7},
};

static uint32_t random_bits(void) {
    static uint64_t state = 0x9e3779b97f4a7c15u;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

static float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Sign, one of four exponents (1/8 to 2), and fraction, as the bits of a float. */
static uint32_t random_float_bits(void) {
    const uint32_t random = random_bits();
    return (random & 0x80000000u) | (124u + (random >> 29 & 3u)) << 23 | (random & 0x7fffffu);
}

static void fill(const bench_dtype *dtype, void *data, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const uint32_t bits = random_float_bits();
        if (dtype->id == CC1D_FLOAT32)
            ((uint32_t *)data)[i] = bits;
        else if (dtype->id == CC1D_BFLOAT16)
            ((uint16_t *)data)[i] = (uint16_t)(bits >> 16);
        else
            ((uint16_t *)data)[i] =
                (uint16_t)((bits >> 16 & 0x8000u) | ((bits >> 23 & 0xffu) - 112u) << 10 | (bits & 0x3ffu));
    }
}

static double value_at(const bench_dtype *dtype, const void *data, int64_t index) {
    if (dtype->id == CC1D_FLOAT32) return ((const float *)data)[index];
    const uint32_t bits = ((const uint16_t *)data)[index];
    if (dtype->id == CC1D_BFLOAT16) return float_of_bits(bits << 16);
    const double fraction = bits & 0x3ffu;
    const int exponent = (int)(bits >> 10 & 0x1fu);
    const double size = exponent ? ldexp(fraction + 1024, exponent - 25) : ldexp(fraction, -24);
    return bits & 0x8000u ? -size : size;
}

/* ---- One problem
 * ---------------------------------------------------------------------------------------------- */

typedef struct problem {
    bench_shape shape;
    const bench_dtype *dtype;
    bool channel_last;
    int threads;
    cc1d_tensor x, dout, out, dx, weight, bias, dweight, dbias;
    void *scratch;
    size_t scratch_size;
} problem;

static void *allocate(size_t bytes) {
    void *memory = NULL;
    if (posix_memalign(&memory, 64, bytes ? bytes : 64)) {
        fprintf(stderr, "cc1d-bench: cannot allocate %zu bytes\n", bytes);
        exit(1);
    }
    memset(memory, 0, bytes);
    return memory;
}

static cc1d_tensor sequence(const problem *p) {
    const bench_shape s = p->shape;
    const int64_t count = s.batch * s.dim * s.length;
    cc1d_tensor t = {.dtype = p->dtype->id, .ndim = 3, .shape = {s.batch, s.dim, s.length}};
    t.strides[0] = s.dim * s.length;
    t.strides[1] = p->channel_last ? 1 : s.length;
    t.strides[2] = p->channel_last ? s.dim : 1;
    t.data = allocate((size_t)count * p->dtype->size);
    return t;
}

static cc1d_tensor parameter(int64_t rows, int64_t columns) {
    const int64_t count = rows * (columns ? columns : 1);
    cc1d_tensor t = {.dtype = CC1D_FLOAT32, .ndim = columns ? 2 : 1, .shape = {rows, columns}};
    t.strides[0] = columns ? columns : 1;
    t.strides[1] = 1;
    t.data = allocate((size_t)count * sizeof(float));
    fill(&DTYPES[0], t.data, count);
    return t;
}

static void check(cc1d_status status) {
    if (!status) return;
    fprintf(stderr, "cc1d-bench: %s: %s\n", cc1d_status_name(status), cc1d_last_error());
    exit(1);
}

static cc1d_exec exec_of(const problem *p) {
    return (cc1d_exec){.size = sizeof(cc1d_exec), .num_threads = p->threads};
}

static void run_forward(problem *p) {
    const cc1d_forward_args args = {.size = sizeof args,
                                    .x = &p->x,
                                    .weight = &p->weight,
                                    .bias = &p->bias,
                                    .out = &p->out,
                                    .activation = CC1D_ACTIVATION_SILU};
    const cc1d_exec exec = exec_of(p);
    check(cc1d_forward(&args, &exec));
}

static cc1d_backward_args backward_args(problem *p) {
    return (cc1d_backward_args){.size = sizeof(cc1d_backward_args),
                                .dout = &p->dout,
                                .x = &p->x,
                                .weight = &p->weight,
                                .bias = &p->bias,
                                .dx = &p->dx,
                                .dweight = &p->dweight,
                                .dbias = &p->dbias,
                                .activation = CC1D_ACTIVATION_SILU,
                                .scratch = p->scratch,
                                .scratch_size = p->scratch_size};
}

static void run_backward(problem *p) {
    const cc1d_backward_args args = backward_args(p);
    const cc1d_exec exec = exec_of(p);
    check(cc1d_backward(&args, &exec));
}

static problem make_problem(bench_shape shape, const bench_dtype *dtype, bool channel_last, int threads) {
    problem p = {.shape = shape, .dtype = dtype, .channel_last = channel_last, .threads = threads};
    const int64_t count = shape.batch * shape.dim * shape.length;
    p.x = sequence(&p);
    p.dout = sequence(&p);
    p.out = sequence(&p);
    p.dx = sequence(&p);
    fill(dtype, p.x.data, count);
    fill(dtype, p.dout.data, count);
    p.weight = parameter(shape.dim, WIDTH);
    p.bias = parameter(shape.dim, 0);
    p.dweight = parameter(shape.dim, WIDTH);
    p.dbias = parameter(shape.dim, 0);
    const cc1d_backward_args args = backward_args(&p);
    check(cc1d_backward_scratch(&args, &p.scratch_size));
    p.scratch = allocate(p.scratch_size);
    return p;
}

static void free_problem(problem *p) {
    cc1d_tensor *tensors[] = {&p->x, &p->dout, &p->out, &p->dx, &p->weight, &p->bias, &p->dweight, &p->dbias};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) free(tensors[i]->data);
    free(p->scratch);
}

/* ---- Verification: some channels, in double
 * ------------------------------------------------------------------- */

static bool close_to(double got, double expected, double magnitude, double unit) {
    return fabs(got - expected) <= unit * fabs(expected) + 0x1p-18 * magnitude;
}

static bool channel_is_right(const problem *p, int64_t d) {
    const bench_shape s = p->shape;
    const float *w = (const float *)p->weight.data + d * WIDTH;
    const double bias = ((const float *)p->bias.data)[d];
    double *x = allocate((size_t)(s.length + WIDTH) * sizeof(double));
    double *dpre = allocate((size_t)(s.length + WIDTH) * sizeof(double)); /* zeros past the end */
    double dweight[WIDTH] = {0}, dbias = 0;
    bool right = true;
    for (int64_t b = 0; b < s.batch; b++) {
        const int64_t base = b * p->x.strides[0] + d * p->x.strides[1], step = p->x.strides[2];
        for (int64_t t = 0; t < s.length; t++)
            x[t + WIDTH - 1] = value_at(p->dtype, p->x.data, base + t * step);
        for (int64_t t = 0; t < s.length; t++) {
            double acc = bias;
            for (int k = 0; k < WIDTH; k++) acc += w[k] * x[t + k];
            const double sigmoid = 1 / (1 + exp(-acc));
            right &=
                close_to(value_at(p->dtype, p->out.data, base + t * step), acc * sigmoid, 8, p->dtype->unit);
            dpre[t] = value_at(p->dtype, p->dout.data, base + t * step) * sigmoid * (1 + acc * (1 - sigmoid));
            for (int k = 0; k < WIDTH; k++) dweight[k] += dpre[t] * x[t + k];
            dbias += dpre[t];
        }
        for (int64_t t = 0; t < s.length; t++) {
            double dx = 0;
            for (int k = 0; k < WIDTH; k++) dx += w[k] * dpre[t + WIDTH - 1 - k];
            right &= close_to(value_at(p->dtype, p->dx.data, base + t * step), dx, 16, p->dtype->unit);
        }
    }
    const double steps = (double)(s.batch * s.length);
    for (int k = 0; k < WIDTH; k++)
        right &= close_to(((const float *)p->dweight.data)[d * WIDTH + k], dweight[k], 4 * steps, 0x1p-22);
    right &= close_to(((const float *)p->dbias.data)[d], dbias, 2 * steps, 0x1p-22);
    free(x);
    free(dpre);
    return right;
}

static bool verify(problem *p) {
    run_forward(p);
    run_backward(p);
    const int64_t last = p->shape.dim - 1;
    return channel_is_right(p, 0) && channel_is_right(p, last / 2) && channel_is_right(p, last);
}

/* ---- Timing
 * ----------------------------------------------------------------------------------------------------
 */

typedef struct copy_part {
    pthread_t thread;
    char *target;
    const char *source;
    size_t bytes;
} copy_part;

static void *copy_one(void *argument) {
    const copy_part *part = argument;
    memcpy(part->target, part->source, part->bytes);
    return NULL;
}

/* memcpy in equal parts; the calling thread takes the first one. */
static void copy(char *target, const char *source, size_t bytes, int threads) {
    copy_part parts[MAX_THREADS] = {{0}};
    const size_t share = (bytes / (size_t)threads + 63) / 64 * 64;
    for (int i = 0; i < threads; i++) {
        const size_t begin = share * (size_t)i < bytes ? share * (size_t)i : bytes;
        const size_t end = begin + share < bytes ? begin + share : bytes;
        parts[i] = (copy_part){.target = target + begin, .source = source + begin, .bytes = end - begin};
        if (i > 0 && pthread_create(&parts[i].thread, NULL, copy_one, &parts[i])) {
            fprintf(stderr, "cc1d-bench: cannot start a thread\n");
            exit(1);
        }
    }
    copy_one(&parts[0]);
    for (int i = 1; i < threads; i++) pthread_join(parts[i].thread, NULL);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct samples {
    double seconds[MAX_SAMPLES];
    int count;
} samples;

static void add_sample(samples *s, double seconds) {
    if (s->count < MAX_SAMPLES) s->seconds[s->count++] = seconds;
}

static double median(samples *s) {
    qsort(s->seconds, (size_t)s->count, sizeof *s->seconds, compare_doubles);
    return s->seconds[s->count / 2];
}

/* Operation and copy take turns, so that both see the same machine. */
static void time_operation(problem *p, const char *name, void (*run)(problem *), int tensors) {
    const bench_shape s = p->shape;
    const size_t bytes = (size_t)(s.batch * s.dim * s.length) * p->dtype->size * (size_t)tensors / 2;
    char *source = allocate(bytes), *target = allocate(bytes);
    static samples ours, copies;
    ours.count = copies.count = 0;
    for (double start = now();
         ours.count < 5 || (now() - start < 2 * SECONDS_PER_FIGURE && ours.count < MAX_SAMPLES);) {
        double begin = now();
        run(p);
        add_sample(&ours, now() - begin);
        begin = now();
        copy(target, source, bytes, p->threads);
        add_sample(&copies, now() - begin);
    }
    const double ours_us = 1e6 * median(&ours), copy_us = 1e6 * median(&copies);
    char shape[64];
    snprintf(shape, sizeof shape, "(%lld, %lld, %lld)", (long long)s.batch, (long long)s.dim,
             (long long)s.length);
    printf("%-18s %-5s %-4s %-9s %11.2f %11.2f %9.2f  %s\n", shape, p->dtype->name,
           p->channel_last ? "BTD" : "BDT", name, ours_us, copy_us, ours_us / copy_us, cc1d_last_kernel());
    fflush(stdout);
    free(source);
    free(target);
}

static int usage(const char *program) {
    fprintf(stderr,
            "usage: %s [--threads N] [--dtype fp32|fp16|bf16] [--implementation NAME]\n"
            "Verifies, then times forward and backward (W = 4, bias, SiLU) against memcpy. "
            "Implementations here:",
            program);
    for (int i = 0; cc1d_cpu_implementation(i); i++) fprintf(stderr, " %s", cc1d_cpu_implementation(i));
    fprintf(stderr, "\n");
    return 2;
}

int main(int argc, char **argv) {
    int threads = 1;
    const char *only = NULL;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) return usage(argv[0]);
        if (!strcmp(argv[i], "--threads"))
            threads = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--dtype"))
            only = argv[i + 1];
        else if (!strcmp(argv[i], "--implementation"))
            check(cc1d_set_cpu_implementation(argv[i + 1]));
        else
            return usage(argv[0]);
    }
    if (threads < 1 || threads > MAX_THREADS) return usage(argv[0]);
    printf("causal_conv1d %s, %d thread%s\n", cc1d_version(), threads, threads == 1 ? "" : "s");
    printf("%-18s %-5s %-4s %-9s %11s %11s %9s  %s\n", "shape", "dtype", "", "operation", "ours us",
           "memcpy us", "ours/copy", "kernel");
    bool found = false, right = true;
    for (size_t d = 0; d < sizeof DTYPES / sizeof *DTYPES; d++) {
        if (only && strcmp(only, DTYPES[d].name)) continue;
        found = true;
        for (size_t s = 0; s < sizeof SHAPES / sizeof *SHAPES; s++) {
            for (int channel_last = 0; channel_last < 2; channel_last++) {
                problem p = make_problem(SHAPES[s], &DTYPES[d], channel_last, threads);
                if (!verify(&p)) {
                    printf("WRONG RESULT in the next two lines\n");
                    right = false;
                }
                time_operation(&p, "forward", run_forward, 2);
                time_operation(&p, "backward", run_backward, 3);
                free_problem(&p);
            }
        }
    }
    if (!found) return usage(argv[0]);
    return !right;
}
