/* fake_driver.c - a libcuda without a GPU, see fake.h. */
#define _POSIX_C_SOURCE 200809L
#include "fake.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    NOT_INITIALIZED = 3,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    CAPTURE_UNSUPPORTED = 900,
};

typedef struct context {
    int device;
    unsigned long long id;
} context;

/* A module of one kernel; the driver keeps every module. */
typedef struct module {
    struct module *older;
    context *owner;
    char *text;
    char kernel[64];
} module;

static context primaries[4] = {{0, 1}, {1, 2}, {2, 3}, {3, 4}};
static context others[8];
static atomic_int other_count;
static _Atomic(module *) modules;
static _Thread_local context *stack[8];
static _Thread_local int depth;
static _Thread_local int capture_mode; /* 0 global, 2 relaxed */
static _Thread_local fake_launch last;
static pid_t owner_process;

static void *new_context(int device) {
    int index = atomic_fetch_add(&other_count, 1);
    others[index] = (context){device, 100 + (unsigned)index};
    return &others[index];
}

static void make_current(void *c) {
    depth = 0;
    if (c) {
        stack[depth++] = c;
    }
}

static void *primary(int device) { return &primaries[device]; }

static const fake_launch *last_launch(void) { return &last; }

extern fake_driver fake_driver_state;
fake_driver fake_driver_state = {
    .driver_version = 13000,
    .device_count = 2,
    .capability = 90,
    .new_context = new_context,
    .make_current = make_current,
    .primary = primary,
    .last_launch = last_launch,
};
#define STATE fake_driver_state

static context *current(void) { return depth ? stack[depth - 1] : NULL; }

/* The functions of the driver, by the names and types of its interface. */
int cuInit(unsigned flags);
int cuDriverGetVersion(int *version);
int cuGetErrorName(int error, const char **name);
int cuGetErrorString(int error, const char **text);
int cuDeviceGetCount(int *count);
int cuDeviceGet(int *device, int ordinal);
int cuDeviceGetName(char *name, int size, int device);
int cuDeviceGetAttribute(int *value, int attribute, int device);
int cuDevicePrimaryCtxRetain(void **c, int device);
int cuCtxGetCurrent(void **c);
int cuCtxGetDevice(int *device);
int cuCtxGetId(void *c, unsigned long long *id);
int cuCtxPushCurrent_v2(void *c);
int cuCtxPopCurrent_v2(void **c);
int cuThreadExchangeStreamCaptureMode(int *mode);
int cuModuleLoadData(void **m, const void *image);
int cuModuleGetFunction(void **f, void *m, const char *name);
int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **arguments, void **extra);

int cuInit(unsigned flags) {
    if (flags || STATE.init_error) {
        return flags ? INVALID_VALUE : STATE.init_error;
    }
    if (owner_process && owner_process != getpid()) {
        return NOT_INITIALIZED;
    }
    owner_process = getpid();
    return SUCCESS;
}

int cuDriverGetVersion(int *version) {
    *version = STATE.driver_version;
    return SUCCESS;
}

int cuGetErrorName(int error, const char **name) {
    switch (error) {
    case 100: *name = "CUDA_ERROR_NO_DEVICE"; return SUCCESS;
    case 719: *name = "CUDA_ERROR_LAUNCH_FAILED"; return SUCCESS;
    case CAPTURE_UNSUPPORTED: *name = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"; return SUCCESS;
    default: *name = NULL; return INVALID_VALUE;
    }
}

int cuGetErrorString(int error, const char **text) {
    (void)error;
    *text = "a description";
    return SUCCESS;
}

int cuDeviceGetCount(int *count) {
    *count = STATE.device_count;
    return SUCCESS;
}

int cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return ordinal < STATE.device_count ? SUCCESS : INVALID_DEVICE;
}

int cuDeviceGetName(char *name, int size, int device) {
    snprintf(name, (size_t)size, "Fake GPU %d", device);
    return SUCCESS;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    *value = attribute == 75 ? STATE.capability / 10 : STATE.capability % 10;
    return attribute == 75 || attribute == 76 ? SUCCESS : INVALID_VALUE;
}

int cuDevicePrimaryCtxRetain(void **c, int device) {
    atomic_fetch_add(&STATE.retains, 1);
    *c = &primaries[device];
    return SUCCESS;
}

int cuCtxGetCurrent(void **c) {
    *c = current();
    return owner_process == getpid() ? SUCCESS : NOT_INITIALIZED;
}

int cuCtxGetDevice(int *device) {
    if (!current()) {
        return INVALID_CONTEXT;
    }
    *device = current()->device;
    return SUCCESS;
}

int cuCtxGetId(void *c, unsigned long long *id) {
    *id = ((context *)c)->id;
    return SUCCESS;
}

int cuCtxPushCurrent_v2(void *c) {
    atomic_fetch_add(&STATE.pushes, 1);
    stack[depth++] = c;
    return SUCCESS;
}

int cuCtxPopCurrent_v2(void **c) {
    atomic_fetch_add(&STATE.pops, 1);
    *c = stack[--depth];
    return SUCCESS;
}

int cuThreadExchangeStreamCaptureMode(int *mode) {
    int previous = capture_mode;
    capture_mode = *mode;
    *mode = previous;
    return SUCCESS;
}

static int loading_refused(void) {
    if (!current()) {
        return INVALID_CONTEXT;
    }
    if (STATE.capturing && capture_mode != 2) {
        return CAPTURE_UNSUPPORTED;
    }
    return STATE.load_error;
}

int cuModuleLoadData(void **m, const void *image) {
    int error = loading_refused();
    if (error) {
        return error;
    }
    atomic_fetch_add(&STATE.loads, 1);
    module *made = calloc(1, sizeof *made);
    made->owner = current();
    made->text = strdup(image);
    made->older = atomic_load(&modules);
    while (!atomic_compare_exchange_weak(&modules, &made->older, made)) {
    }
    *m = made;
    return SUCCESS;
}

int cuModuleGetFunction(void **f, void *m, const char *name) {
    module *from = m;
    if (!strstr(from->text, name)) {
        return NOT_FOUND;
    }
    snprintf(from->kernel, sizeof from->kernel, "%s", name);
    *f = from;
    return SUCCESS;
}

int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **arguments, void **extra) {
    const module *from = f;
    if (shared || extra) {
        return INVALID_VALUE;
    }
    if (from->owner != current()) {
        return INVALID_HANDLE;
    }
    if (STATE.launch_error) {
        return STATE.launch_error;
    }
    last = (fake_launch){.context = current(), .stream = stream, .grid = {gx, gy, gz}, .block = {bx, by, bz}};
    snprintf(last.kernel, sizeof last.kernel, "%s", from->kernel);
    for (int i = 0; i < 2; i++) {
        memcpy(&last.pointers[i], arguments[i], sizeof last.pointers[i]);
    }
    memcpy(last.words, arguments[2], sizeof last.words);
    atomic_fetch_add(&STATE.launches, 1);
    return SUCCESS;
}
