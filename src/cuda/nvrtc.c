/* nvrtc.c - finds NVRTC and compiles with it. */
#if !defined(_WIN32) && !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200809L
#endif
#include "nvrtc.h"

#include "cuda.h"
#include "library.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int nvrtc_result; /* 0 is success */
typedef struct _nvrtcProgram *nvrtc_program;

typedef struct nvrtc_table {
    const char *(*error_string)(nvrtc_result error);
    nvrtc_result (*version)(int *major, int *minor);
    nvrtc_result (*architecture_count)(int *count);
    nvrtc_result (*architectures)(int *list);
    nvrtc_result (*create)(nvrtc_program *program, const char *source, const char *name, int headers,
                           const char *const *header_texts, const char *const *header_names);
    nvrtc_result (*destroy)(nvrtc_program *program);
    nvrtc_result (*compile)(nvrtc_program program, int count, const char *const *options);
    nvrtc_result (*log_size)(nvrtc_program program, size_t *size);
    nvrtc_result (*log)(nvrtc_program program, char *log);
    nvrtc_result (*cubin_size)(nvrtc_program program, size_t *size);
    nvrtc_result (*cubin)(nvrtc_program program, char *code);
    nvrtc_result (*ptx_size)(nvrtc_program program, size_t *size);
    nvrtc_result (*ptx)(nvrtc_program program, char *code);
} nvrtc_table;

#define ENTRY(field, name) \
    { name, offsetof(nvrtc_table, field), true }

static const cc1d_symbol symbols[] = {
    ENTRY(error_string, "nvrtcGetErrorString"),
    ENTRY(version, "nvrtcVersion"),
    ENTRY(architecture_count, "nvrtcGetNumSupportedArchs"),
    ENTRY(architectures, "nvrtcGetSupportedArchs"),
    ENTRY(create, "nvrtcCreateProgram"),
    ENTRY(destroy, "nvrtcDestroyProgram"),
    ENTRY(compile, "nvrtcCompileProgram"),
    ENTRY(log_size, "nvrtcGetProgramLogSize"),
    ENTRY(log, "nvrtcGetProgramLog"),
    ENTRY(cubin_size, "nvrtcGetCUBINSize"),
    ENTRY(cubin, "nvrtcGetCUBIN"),
    ENTRY(ptx_size, "nvrtcGetPTXSize"),
    ENTRY(ptx, "nvrtcGetPTX"),
};

/* NVRTC, once it is open. */
typedef struct compiler {
    nvrtc_table call;
    int major, minor;
    int *architectures; /* compute capabilities, 90 for 9.0 */
    int architecture_count;
    char path[1024];
} compiler;

/* The name of each major version that is known to work, the newest first. */
static const char *const sonames[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so"};
static const char *const toolkit_variables[] = {"CUDA_HOME", "CUDA_PATH"};

static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER; /* also guards the paths */
static compiler found;
static _Atomic(const compiler *) ready; /* &found, once it is usable */
static char **given_paths;
static int given_count;

static void free_paths(void) {
    for (int i = 0; i < given_count; i++) {
        free(given_paths[i]);
    }
    free(given_paths);
    given_paths = NULL;
    given_count = 0;
}

void cc1d_cuda_set_nvrtc_paths(const char *const *paths, int count) {
    pthread_mutex_lock(&load_lock);
    free_paths();
    given_paths = count > 0 ? calloc((size_t)count, sizeof *given_paths) : NULL;
    for (int i = 0; given_paths && i < count; i++) {
        size_t bytes = strlen(paths[i]) + 1;
        char *copy = malloc(bytes);
        if (copy) {
            given_paths[given_count++] = memcpy(copy, paths[i], bytes);
        }
    }
    pthread_mutex_unlock(&load_lock);
}

/* NVRTC 13 opens its built-in headers by name alone, without looking beside itself; opening them
 * here first makes that name known. Failure shows at the first compile, with NVRTC's own words. */
static void open_builtins(const char *nvrtc_path, int major, int minor) {
    const char *slash = strrchr(nvrtc_path, '/');
    if (!slash) {
        return;
    }
    char path[1100], why[256];
    snprintf(path, sizeof path, "%.*s/libnvrtc-builtins.so.%d.%d", (int)(slash - nvrtc_path), nvrtc_path,
             major, minor);
    cc1d_library_open(path, why, sizeof why);
}

static bool read_architectures(compiler *c) {
    int count = 0;
    if (c->call.architecture_count(&count) || count <= 0) {
        return false;
    }
    c->architectures = calloc((size_t)count, sizeof *c->architectures);
    c->architecture_count = count;
    return c->architectures && !c->call.architectures(c->architectures);
}

/* Opens one candidate; driver_version 0 accepts any version. */
static bool open_candidate(const char *path, int driver_version, char *why, size_t size) {
    void *library = cc1d_library_open(path, why, size);
    if (!library) {
        return false;
    }
    compiler c = {0};
    const char *missing =
        cc1d_library_resolve(library, symbols, (int)(sizeof symbols / sizeof *symbols), &c.call);
    if (missing) {
        snprintf(why, size, "%s: no function %s (NVRTC 11.2 or newer is needed)", path, missing);
        return false;
    }
    nvrtc_result error = c.call.version(&c.major, &c.minor);
    if (error) {
        snprintf(why, size, "%s: nvrtcVersion: %s", path, c.call.error_string(error));
        return false;
    }
    if (driver_version && c.major > driver_version / 1000) {
        snprintf(why, size, "%s: NVRTC %d.%d is too new for a driver of CUDA %d.%d", path, c.major, c.minor,
                 driver_version / 1000, driver_version % 1000 / 10);
        return false;
    }
    if (!cc1d_library_path(&c.call.version, c.path, sizeof c.path)) {
        snprintf(c.path, sizeof c.path, "%s", path);
    }
    open_builtins(c.path, c.major, c.minor);
    if (!read_architectures(&c)) {
        free(c.architectures);
        snprintf(why, size, "%s: nvrtcGetSupportedArchs failed", path);
        return false;
    }
    found = c;
    return true;
}

/* A search for a usable library. What somebody named is a file, by its absolute path; a guess may be a name.
 * why is the most telling reason so far: that of a file which somebody named or which is there but cannot be
 * used, before that of a mere guess. */
typedef struct search {
    int driver_version;
    char *why;
    size_t size;
    bool explained;
} search;

static bool attempt(search *s, const char *path, bool named) {
    char reason[512];
    if (named && *path != '/') {
        snprintf(reason, sizeof reason, "expected an absolute path, got '%s'", path);
    } else if (open_candidate(path, s->driver_version, reason, sizeof reason)) {
        return true;
    }
    if (!s->explained && (named || strstr(reason, "NVRTC"))) {
        snprintf(s->why, s->size, "no usable NVRTC: %s", reason);
        s->explained = true;
    }
    return false;
}

static bool load(int driver_version, char *why, size_t size) {
    const char *only = getenv("CAUSAL_CONV1D_NVRTC");
    search s = {driver_version, why, size, false};
    if (only && *only) {
        s.driver_version = 0; /* whoever names a file means it */
        return attempt(&s, only, true);
    }
    snprintf(why, size,
             "no NVRTC (libnvrtc.so) found; install PyTorch for CUDA or the package "
             "nvidia-cuda-nvrtc, or set CAUSAL_CONV1D_NVRTC to the library's path");
    for (int i = 0; i < given_count; i++) {
        if (attempt(&s, given_paths[i], true)) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof sonames / sizeof *sonames; i++) {
        if (attempt(&s, sonames[i], false)) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof toolkit_variables / sizeof *toolkit_variables; i++) {
        const char *home = getenv(toolkit_variables[i]);
        char path[1024];
        if (home && *home && snprintf(path, sizeof path, "%s/lib64/libnvrtc.so", home) < (int)sizeof path &&
            attempt(&s, path, false)) {
            return true;
        }
    }
    return false;
}

static const compiler *get(int driver_version, char *why, size_t size) {
    const compiler *c = atomic_load_explicit(&ready, memory_order_acquire);
    if (c) {
        return c;
    }
    pthread_mutex_lock(&load_lock);
    c = atomic_load_explicit(&ready, memory_order_relaxed);
    if (!c && load(driver_version, why, size)) {
        c = &found;
        atomic_store_explicit(&ready, c, memory_order_release);
    }
    pthread_mutex_unlock(&load_lock);
    return c;
}

int cc1d_nvrtc_describe(int driver_version, char *text, size_t size) {
    const compiler *c = get(driver_version, text, size);
    if (c) {
        snprintf(text, size, "NVRTC %d.%d (%s)", c->major, c->minor, c->path);
    }
    return c != NULL;
}

/* What to compile for: the device's own architecture if this NVRTC knows it, giving machine code,
 * else the newest one before it, whose PTX the driver translates. 0: the device is too old. */
static int choose_architecture(const compiler *c, int sm) {
    int best = 0;
    for (int i = 0; i < c->architecture_count; i++) {
        if (c->architectures[i] <= sm && c->architectures[i] > best) {
            best = c->architectures[i];
        }
    }
    return best;
}

static bool log_wanted(void) {
    const char *value = getenv("CAUSAL_CONV1D_LOG");
    return value && *value && strcmp(value, "0") != 0;
}

/* The first line of the log that names an error, else its first line; the log is cut off there. */
static char *first_error(char *log) {
    char *line = strstr(log, "error");
    if (!line) {
        line = log;
    }
    while (line > log && line[-1] != '\n') {
        line--;
    }
    line[strcspn(line, "\n")] = '\0';
    return line;
}

static cc1d_status report_failure(const compiler *c, nvrtc_program program, nvrtc_result error,
                                  const char *name, const char *target) {
    size_t size = 0;
    char *log = c->call.log_size(program, &size) ? NULL : calloc(size + 1, 1);
    if (log && c->call.log(program, log)) {
        *log = '\0';
    }
    if (log && log_wanted()) {
        fprintf(stderr, "causal_conv1d: NVRTC's log of %s for %s:\n%s\n", name, target, log);
    }
    cc1d_status status =
        cc1d_fail(CC1D_ERROR_DEVICE, "NVRTC %d.%d: %s: %s for %s: %.200s (CAUSAL_CONV1D_LOG=1 prints it all)",
                  c->major, c->minor, c->call.error_string(error), name, target, log ? first_error(log) : "");
    free(log);
    return status;
}

static cc1d_status take_code(const compiler *c, nvrtc_program program, bool machine_code, char **code,
                             size_t *size) {
    nvrtc_result error = machine_code ? c->call.cubin_size(program, size) : c->call.ptx_size(program, size);
    if (!error) {
        *code = malloc(*size ? *size : 1);
        if (!*code) {
            return cc1d_fail(CC1D_ERROR_MEMORY, "no memory for a kernel of %zu bytes", *size);
        }
        error = machine_code ? c->call.cubin(program, *code) : c->call.ptx(program, *code);
    }
    if (error) {
        free(*code);
        *code = NULL;
        return cc1d_fail(CC1D_ERROR_DEVICE, "nvrtcGet%s: %s", machine_code ? "CUBIN" : "PTX",
                         c->call.error_string(error));
    }
    return CC1D_OK;
}

int cc1d_nvrtc_target(int sm, int driver_version) {
    char why[512];
    const compiler *c = get(driver_version, why, sizeof why);
    return c ? choose_architecture(c, sm) : 0;
}

cc1d_status cc1d_nvrtc_compile(const char *name, const char *source, int sm, int driver_version,
                               char **code) {
    char why[512];
    const compiler *c = get(driver_version, why, sizeof why);
    if (!c) {
        return cc1d_fail(CC1D_ERROR_DEVICE, "%s", why);
    }
    int target_sm = choose_architecture(c, sm);
    if (!target_sm) {
        return cc1d_fail(CC1D_ERROR_DEVICE,
                         "NVRTC %d.%d (%s) does not compile for sm_%d any more; set "
                         "CAUSAL_CONV1D_NVRTC to an older libnvrtc.so",
                         c->major, c->minor, c->path, sm);
    }
    bool machine_code = target_sm == sm;
    char target[24], option[64];
    snprintf(target, sizeof target, "%s_%d", machine_code ? "sm" : "compute", target_sm);
    snprintf(option, sizeof option, "--gpu-architecture=%s", target);
    /* Products and sums stay apart except where the text says fma: the same bits in every kernel.
     */
    const char *options[] = {option, "--fmad=false"};

    struct timespec start, end;
    timespec_get(&start, TIME_UTC);
    nvrtc_program program = NULL;
    nvrtc_result error = c->call.create(&program, source, name, 0, NULL, NULL);
    if (error) {
        return cc1d_fail(CC1D_ERROR_DEVICE, "nvrtcCreateProgram: %s", c->call.error_string(error));
    }
    size_t size = 0;
    error = c->call.compile(program, (int)(sizeof options / sizeof *options), options);
    cc1d_status status = error ? report_failure(c, program, error, name, target)
                               : take_code(c, program, machine_code, code, &size);
    c->call.destroy(&program);
    timespec_get(&end, TIME_UTC);
    if (!status && log_wanted()) {
        double seconds = difftime(end.tv_sec, start.tv_sec) + 1e-9 * (end.tv_nsec - start.tv_nsec);
        fprintf(stderr, "causal_conv1d: compiled %s for %s in %.0f ms: %zu bytes\n", name, target,
                1000 * seconds, size);
    }
    return status;
}
