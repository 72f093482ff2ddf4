/* test_gpu.c - the C API on a real GPU, without Python: memory and streams of the driver's own, and the same
 * bits as the CPU's (which holds where no exponential is taken). Exits with 77, skipped, without a GPU. */
#define _POSIX_C_SOURCE 200809L
#include "causal_conv1d.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SKIPPED = 77, B = 2, D = 37, T = 1000, W = 4, X = B * D * T };

typedef unsigned long long device_pointer;

/* The driver functions that a caller needs: ours never allocate. */
static struct driver {
    int (*init)(unsigned flags);
    int (*primary_retain)(void **context, int device);
    int (*set_current)(void *context);
    int (*alloc)(device_pointer *pointer, size_t bytes);
    int (*to_device)(device_pointer to, const void *from, size_t bytes);
    int (*to_host)(void *to, device_pointer from, size_t bytes);
    int (*stream_create)(void **stream, unsigned flags);
    int (*stream_synchronize)(void *stream);
} cu;

static int load(void) {
    static const char *const names[] = {"cuInit",         "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent",
                                        "cuMemAlloc_v2",  "cuMemcpyHtoD_v2",          "cuMemcpyDtoH_v2",
                                        "cuStreamCreate", "cuStreamSynchronize"};
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    for (size_t i = 0; library && i < sizeof names / sizeof *names; i++) {
        void *address = dlsym(library, names[i]);
        if (!address) return 0;
        memcpy((char *)&cu + i * sizeof address, &address, sizeof address);
    }
    return library != NULL;
}

static void must(int succeeded, const char *what) {
    if (succeeded) return;
    printf("%s failed: %s\n", what, cc1d_last_error());
    exit(1);
}

/* A float32 tensor and its copy on the GPU. */
typedef struct pair {
    cc1d_tensor cpu, gpu;
    size_t bytes;
} pair;

static pair make(int32_t ndim, int64_t a, int64_t b, int64_t c, float scale) {
    pair p = {.cpu = {.dtype = CC1D_FLOAT32, .ndim = ndim, .shape = {a, b, c}}};
    const int64_t inner = ndim > 2 ? c : 1, middle = ndim > 1 ? b : 1;
    const int64_t strides[3] = {middle * inner, inner, 1};
    memcpy(p.cpu.strides, strides, sizeof strides);
    const size_t count = (size_t)(a * middle * inner);
    p.bytes = count * sizeof(float);
    float *values = malloc(p.bytes);
    must(values != NULL, "malloc");
    for (size_t i = 0; i < count; i++) values[i] = scale * (float)((int)(i * 7919 % 251) - 125) / 64.0f;
    device_pointer memory = 0;
    must(!cu.alloc(&memory, p.bytes) && !cu.to_device(memory, values, p.bytes), "device memory");
    p.cpu.data = values;
    p.gpu = p.cpu;
    p.gpu.device = CC1D_CUDA;
    memcpy(&p.gpu.data, &memory, sizeof memory);
    return p;
}

static void must_agree(const pair *p, const char *what) {
    float *values = malloc(p->bytes);
    device_pointer memory = 0;
    memcpy(&memory, &p->gpu.data, sizeof memory);
    must(values && !cu.to_host(values, memory, p->bytes), "copy to the host");
    must(!memcmp(values, p->cpu.data, p->bytes), what);
    free(values);
}

/* Of calls that only enqueue: validation, plan, look-up, launch. */
static void print_host_time(const cc1d_forward_args *args, const cc1d_exec *exec) {
    enum { CALLS = 500 }; /* fewer than the launches that a stream queues before it makes the host wait */
    struct timespec start, end;
    timespec_get(&start, TIME_UTC);
    for (int i = 0; i < CALLS; i++) must(!cc1d_forward(args, exec), "forward on the GPU");
    timespec_get(&end, TIME_UTC);
    const double seconds = difftime(end.tv_sec, start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
    printf("cc1d_forward: %.2f us of host time per call\n", 1e6 * seconds / CALLS);
}

int main(void) {
    char detail[1000];
    const int here = cc1d_device_available(CC1D_CUDA, detail, sizeof detail);
    printf("%s\n", detail);
    if (!here) return SKIPPED;
    void *context = NULL, *stream = NULL;
    must(load() && !cu.init(0) && !cu.primary_retain(&context, 0) && !cu.set_current(context), "the driver");
    must(!cu.stream_create(&stream, 1), "cuStreamCreate");

    pair x = make(3, B, D, T, 1), weight = make(2, D, W, 0, 0.5f), bias = make(1, D, 0, 0, 1);
    pair out = make(3, B, D, T, 0), state = make(3, B, D, W - 1, 1), step = make(2, B, D, 0, 1);
    pair y = make(2, B, D, 0, 0);
    cc1d_exec exec = {.size = sizeof exec, .stream = stream};

    cc1d_forward_args forward = {
        .size = sizeof forward, .x = &x.cpu, .weight = &weight.cpu, .bias = &bias.cpu};
    forward.out = &out.cpu;
    must(!cc1d_forward(&forward, NULL), "forward on the CPU");
    forward.x = &x.gpu, forward.weight = &weight.gpu, forward.bias = &bias.gpu, forward.out = &out.gpu;
    must(!cu.set_current(NULL), "cuCtxSetCurrent"); /* a thread without a context is served too */
    must(!cc1d_forward(&forward, &exec), "forward on the GPU");
    printf("%s\n", cc1d_last_kernel());
    must(!strncmp(cc1d_last_kernel(), "cuda/sm_", 8), "running a CUDA kernel");

    cc1d_update_args update = {.size = sizeof update, .x = &step.cpu, .weight = &weight.cpu};
    update.conv_state = &state.cpu, update.out = &y.cpu;
    must(!cc1d_update(&update, NULL), "update on the CPU");
    update.x = &step.gpu, update.weight = &weight.gpu, update.conv_state = &state.gpu, update.out = &y.gpu;
    must(!cc1d_update(&update, &exec), "update on the GPU");

    must(!cu.set_current(context) && !cu.stream_synchronize(stream), "cuStreamSynchronize");
    must_agree(&out, "agreement of forward");
    must_agree(&y, "agreement of update");
    must_agree(&state, "agreement of the state");

    print_host_time(&forward, &exec);
    must(!cu.stream_synchronize(stream), "cuStreamSynchronize");

    forward.weight = &weight.cpu;
    must(cc1d_forward(&forward, &exec) == CC1D_ERROR_VALUE, "refusing tensors of two devices");
    puts("the same bits as on the CPU");
    return 0;
}
