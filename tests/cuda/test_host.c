/* test_host.c - the CUDA host code on stand-ins for libcuda and NVRTC: loading, caching, contexts,
 * errors, threads, capture, fork. Every case runs in a process of its own.
 *
 *     test_cuda_host FOLDER [CASE]     FOLDER holds libcuda.so.1 and libnvrtc.so.13, the fakes */
#define _GNU_SOURCE
#include "core/backend.h"
#include "cuda/cuda.h"
#include "fake.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char driver_path[1000], nvrtc_path[1000];
static fake_driver *driver;
static fake_nvrtc *nvrtc;

#define CHECK(condition)                                                                                \
    do {                                                                                                \
        if (!(condition)) {                                                                             \
            printf("%s:%d: %s\n  last error: %s\n", __FILE__, __LINE__, #condition, cc1d_last_error()); \
            exit(1);                                                                                    \
        }                                                                                               \
    } while (0)

static void check_text(const char *text, const char *expected, int line) {
    if (!strstr(text, expected)) {
        printf("%s:%d: expected \"%s\" in \"%s\"\n", __FILE__, line, expected, text);
        exit(1);
    }
}
#define CHECK_TEXT(text, expected) check_text(text, expected, __LINE__)

static void *open_fake(const char *path, const char *state) {
    void *library = dlopen(path, RTLD_NOW);
    if (!library) {
        printf("%s\n", dlerror());
        exit(1);
    }
    return dlsym(library, state);
}

/* Opened under its path, the driver is then found by the name libcuda.so.1. */
static void with_driver(void) { driver = open_fake(driver_path, "fake_driver_state"); }

static void with_both(void) {
    with_driver();
    nvrtc = open_fake(nvrtc_path, "fake_nvrtc_state");
    const char *paths[] = {"/nowhere/libnvrtc.so.99", nvrtc_path};
    cc1d_cuda_set_nvrtc_paths(paths, 2);
}

static char buffers[3];

static cc1d_problem forward_problem(int width) {
    cc1d_problem p = {.op = CC1D_OP_FORWARD, .device = CC1D_CUDA, .width = width};
    p.batch = 2;
    p.dim = 77;
    p.seqlen = 99;
    p.view[CC1D_X] = (cc1d_view){.data = &buffers[0], .dtype = CC1D_FLOAT16, .present = true};
    p.view[CC1D_OUT] = (cc1d_view){.data = &buffers[1], .dtype = CC1D_FLOAT16, .present = true};
    return p;
}

static cc1d_status run_on(const cc1d_problem *p, void *stream, void *scratch) {
    const cc1d_exec exec = {.size = sizeof exec, .stream = stream};
    cc1d_how how;
    size_t bytes = 0;
    CHECK(cc1d_backend_cuda.prepare(p, &how, &bytes) == CC1D_OK && bytes == (scratch ? 64 : 0));
    return cc1d_backend_cuda.run(p, &how, &exec, scratch);
}

static cc1d_status run(const cc1d_problem *p) { return run_on(p, NULL, NULL); }

static void test_no_driver(void) {
    char detail[300];
    CHECK(!cc1d_backend_cuda.available(detail, sizeof detail));
    CHECK_TEXT(detail, "no CUDA driver");
    CHECK_TEXT(detail, "libcuda.so.1");
    CHECK(!cc1d_backend_cuda.available(NULL, 0));
    cc1d_problem p = forward_problem(4);
    CHECK(run(&p) == CC1D_ERROR_DEVICE);
    CHECK_TEXT(cc1d_last_error(), "no CUDA driver");
}

static void test_no_device(void) {
    with_both();
    driver->init_error = 100;
    char detail[300];
    CHECK(!cc1d_backend_cuda.available(detail, sizeof detail));
    CHECK_TEXT(detail, "cuInit: CUDA_ERROR_NO_DEVICE (100)");
    driver->init_error = 0;
    driver->device_count = 0;
    CHECK(!cc1d_backend_cuda.available(detail, sizeof detail));
    CHECK_TEXT(detail, "no CUDA device");
}

static void test_available(void) {
    with_both();
    driver->device_count = 2;
    char detail[2000], first[8];
    CHECK(cc1d_backend_cuda.available(detail, sizeof detail));
    CHECK_TEXT(detail, "CUDA 13.0");
    CHECK_TEXT(detail, "NVRTC 13.1");
    CHECK_TEXT(detail, nvrtc_path);
    CHECK_TEXT(detail, "2 devices: Fake GPU 0 (sm_90), Fake GPU 1 (sm_90)");
    CHECK(cc1d_backend_cuda.available(first, sizeof first) && strlen(first) == 7);
    CHECK(nvrtc->compiles == 0 && driver->retains == 0);
}

static void test_nvrtc_found_later(void) {
    with_driver();
    setenv("CUDA_HOME", "/nowhere", 1);
    cc1d_problem p = forward_problem(4);
    const char *missing[] = {"/nowhere/libnvrtc.so.13"};
    cc1d_cuda_set_nvrtc_paths(missing, 1);
    CHECK(run(&p) == CC1D_ERROR_DEVICE);
    CHECK_TEXT(cc1d_last_error(), "/nowhere/libnvrtc.so.13");
    cc1d_cuda_set_nvrtc_paths(NULL, 0);
    CHECK(run(&p) == CC1D_ERROR_DEVICE);
    CHECK_TEXT(cc1d_last_error(), "CAUSAL_CONV1D_NVRTC");
    char detail[300];
    CHECK(!cc1d_backend_cuda.available(detail, sizeof detail));
    CHECK_TEXT(detail, "no NVRTC");
    CHECK(driver->launches == 0);
    const char *paths[] = {nvrtc_path};
    cc1d_cuda_set_nvrtc_paths(paths, 1);
    CHECK(run(&p) == CC1D_OK);
}

static void test_nvrtc_from_environment(void) {
    with_driver();
    setenv("CAUSAL_CONV1D_NVRTC", "/nowhere/libnvrtc.so", 1);
    const char *paths[] = {nvrtc_path};
    cc1d_cuda_set_nvrtc_paths(paths, 1);
    cc1d_problem p = forward_problem(4);
    CHECK(run(&p) == CC1D_ERROR_DEVICE); /* whoever names a file gets no other */
    CHECK_TEXT(cc1d_last_error(), "/nowhere/libnvrtc.so");
    setenv("CAUSAL_CONV1D_NVRTC", "here/libnvrtc.so", 1);
    CHECK(run(&p) == CC1D_ERROR_DEVICE);
    CHECK_TEXT(cc1d_last_error(), "expected an absolute path");
    setenv("CAUSAL_CONV1D_NVRTC", driver_path, 1);
    CHECK(run(&p) == CC1D_ERROR_DEVICE);
    CHECK_TEXT(cc1d_last_error(), "no function nvrtcGetErrorString");
    setenv("CAUSAL_CONV1D_NVRTC", nvrtc_path, 1);
    CHECK(run(&p) == CC1D_OK);
}

/* In the directory of the stand-ins every relative path would be found. */
static void test_nothing_relative_is_opened(void) {
    with_driver();
    char folder[1000], detail[600];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(nvrtc_path, '/') - nvrtc_path), nvrtc_path);
    CHECK(chdir(folder) == 0);
    CHECK(mkdir("lib64", 0700) == 0 || errno == EEXIST);
    CHECK(symlink(nvrtc_path, "lib64/libnvrtc.so") == 0 || errno == EEXIST);
    setenv("CUDA_HOME", ".", 1);
    setenv("CUDA_PATH", "", 1);
    static const char *const relative[] = {"libnvrtc.so.13", "./libnvrtc.so.13", "lib64/libnvrtc.so", ""};
    cc1d_cuda_set_nvrtc_paths(relative, 4);
    CHECK(!cc1d_backend_cuda.available(detail, sizeof detail));
    CHECK_TEXT(detail, "no usable NVRTC: expected an absolute path, got 'libnvrtc.so.13'");
    for (int i = 0; i < 3; i++) {
        setenv("CAUSAL_CONV1D_NVRTC", relative[i], 1);
        CHECK(!cc1d_backend_cuda.available(detail, sizeof detail));
        CHECK_TEXT(detail, "expected an absolute path, got ");
        CHECK_TEXT(detail, relative[i]);
    }
    unsetenv("CAUSAL_CONV1D_NVRTC");
    setenv("CUDA_HOME", folder, 1); /* the same file by an absolute path */
    CHECK(cc1d_backend_cuda.available(detail, sizeof detail));
}

static void test_nvrtc_too_new(void) {
    with_both();
    driver->driver_version = 12040;
    cc1d_problem p = forward_problem(4);
    CHECK(run(&p) == CC1D_ERROR_DEVICE);
    const char *paths[] = {nvrtc_path};
    cc1d_cuda_set_nvrtc_paths(paths, 1);
    CHECK(run(&p) == CC1D_ERROR_DEVICE);
    CHECK_TEXT(cc1d_last_error(), "NVRTC 13.1 is too new for a driver of CUDA 12.4");
    nvrtc->major = 12;
    CHECK(run(&p) == CC1D_OK);
}

static void test_launch(void) {
    with_both();
    cc1d_problem p = forward_problem(4);
    int stream;
    CHECK(run_on(&p, &stream, NULL) == CC1D_OK);
    const fake_launch *launch = driver->last_launch();
    CHECK(!strcmp(launch->kernel, "forward_fake"));
    CHECK(launch->stream == &stream && launch->context == driver->primary(0));
    CHECK(launch->grid[0] == 5 && launch->grid[1] == 4 && launch->grid[2] == 3);
    CHECK(launch->block[0] == 64 && launch->block[1] == 2 && launch->block[2] == 1);
    CHECK(launch->pointers[0] == &buffers[0] && launch->pointers[1] == &buffers[1]);
    CHECK(launch->words[0] == 77 && launch->words[1] == 99);
    CHECK(!strcmp(cc1d_last_kernel(), "cuda/sm_90/forward_fake"));
    CHECK(!strcmp(nvrtc->option[0], "--gpu-architecture=sm_90"));
    CHECK(!strcmp(nvrtc->option[1], "--fmad=false"));
    CHECK(driver->pushes == 1 && driver->pops == 1);
}

static void test_two_launches_and_scratch(void) {
    with_both();
    cc1d_problem p = forward_problem(4);
    p.op = CC1D_OP_BACKWARD;
    p.view[CC1D_DWEIGHT] = (cc1d_view){.data = &buffers[1], .present = true};
    CHECK(run_on(&p, NULL, &buffers[2]) == CC1D_OK);
    CHECK(driver->launches == 2 && nvrtc->compiles == 2);
    const fake_launch *launch = driver->last_launch();
    CHECK(!strcmp(launch->kernel, "reduce_fake"));
    CHECK(launch->pointers[0] == &buffers[1] && launch->pointers[1] == &buffers[2]);
    CHECK(!strcmp(cc1d_last_kernel(), "cuda/sm_90/backward_fake"));
}

static void test_nothing_to_do(void) {
    cc1d_problem p = forward_problem(4); /* and no driver */
    p.batch = 0;
    CHECK(run(&p) == CC1D_OK);
    CHECK(!strcmp(cc1d_last_kernel(), "none"));
}

static void test_cache(void) {
    with_both();
    for (int round = 0; round < 3; round++) {
        for (int width = 1; width <= 12; width++) {
            cc1d_problem p = forward_problem(width);
            CHECK(run(&p) == CC1D_OK);
            p.view[CC1D_X].dtype = CC1D_BFLOAT16;
            CHECK(run(&p) == CC1D_OK);
        }
        CHECK(nvrtc->compiles == 24 && driver->loads == 24);
    }
    CHECK(driver->launches == 72 && driver->retains == 1);
}

static void test_contexts(void) {
    with_both();
    cc1d_problem p = forward_problem(4);
    driver->make_current(driver->primary(0));
    CHECK(run(&p) == CC1D_OK && driver->pushes == 0);
    p.device_index = 1; /* the other device's primary context, then back */
    CHECK(run(&p) == CC1D_OK && driver->pushes == 1 && driver->pops == 1);
    CHECK(driver->last_launch()->context == driver->primary(1));
    void *own = driver->new_context(1);
    driver->make_current(own);
    CHECK(run(&p) == CC1D_OK && driver->pushes == 1);
    CHECK(driver->last_launch()->context == own);
    CHECK(nvrtc->compiles == 3);
    p.device_index = 2;
    CHECK(run(&p) == CC1D_ERROR_DEVICE);
    CHECK_TEXT(cc1d_last_error(), "cuda:2: this process sees 2 CUDA devices");
    p.device_index = -1;
    CHECK(run(&p) == CC1D_ERROR_DEVICE);
    CHECK_TEXT(cc1d_last_error(), "cuda:-1");
}

static void test_ptx_for_a_newer_device(void) {
    with_both();
    driver->capability = 103;
    cc1d_problem p = forward_problem(4);
    CHECK(run(&p) == CC1D_OK);
    CHECK(!strcmp(nvrtc->option[0], "--gpu-architecture=compute_90"));
    CHECK(!strcmp(cc1d_last_kernel(), "cuda/sm_103/forward_fake"));
}

static void test_device_too_old(void) {
    with_both();
    driver->capability = 70;
    cc1d_problem p = forward_problem(4);
    CHECK(run(&p) == CC1D_ERROR_DEVICE);
    CHECK_TEXT(cc1d_last_error(), "does not compile for sm_70");
}

static void test_failed_compilation(void) {
    with_both();
    cc1d_problem p = forward_problem(13);
    CHECK(run(&p) == CC1D_ERROR_DEVICE);
    CHECK_TEXT(cc1d_last_error(), "NVRTC_ERROR_COMPILATION: forward_fake for sm_90: "
                                  "kernel(7): error: BROKEN is undefined (");
    CHECK(!strchr(cc1d_last_error(), '\n'));
    CHECK(driver->launches == 0 && driver->pushes == driver->pops);
    p = forward_problem(4);
    CHECK(run(&p) == CC1D_OK);
}

static void test_driver_errors(void) {
    with_both();
    cc1d_problem p = forward_problem(4);
    driver->load_error = 12345;
    CHECK(run(&p) == CC1D_ERROR_DEVICE);
    CHECK_TEXT(cc1d_last_error(), "cuModuleLoadData: unknown error (12345)");
    driver->load_error = 0;
    driver->launch_error = 719;
    CHECK(run(&p) == CC1D_ERROR_DEVICE);
    CHECK_TEXT(cc1d_last_error(), "cuLaunchKernel of forward_fake: CUDA_ERROR_LAUNCH_FAILED (719)");
    CHECK(!strcmp(cc1d_last_kernel(), "") && driver->pushes == driver->pops);
    driver->launch_error = 0;
    CHECK(run(&p) == CC1D_OK);
}

static void test_capture(void) {
    with_both();
    driver->capturing = 1;
    cc1d_problem p = forward_problem(4);
    CHECK(run(&p) == CC1D_OK); /* loading is declared to be no part of the graph */
    driver->load_error = 900;
    p = forward_problem(5);
    CHECK(run(&p) == CC1D_ERROR_DEVICE);
    CHECK_TEXT(cc1d_last_error(), "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED");
    CHECK_TEXT(cc1d_last_error(), "before capturing");
}

static void *run_thread(void *context) {
    const cc1d_problem *p = context;
    for (int i = 0; i < 200; i++) {
        CHECK(run(p) == CC1D_OK);
        CHECK(driver->last_launch()->words[0] == (int32_t)p->dim);
    }
    return NULL;
}

static void test_threads(void) {
    with_both();
    enum { THREADS = 8, KERNELS = 3 };
    cc1d_problem p[THREADS];
    pthread_t threads[THREADS];
    nvrtc->hold = 1; /* until every thread waits for its kernel */
    for (int i = 0; i < THREADS; i++) {
        p[i] = forward_problem(14 + i % KERNELS);
        p[i].dim = 100 + i;
        CHECK(!pthread_create(&threads[i], NULL, run_thread, &p[i]));
    }
    while (nvrtc->compiling < KERNELS) sched_yield();
    nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
    nvrtc->hold = 0;
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    CHECK(nvrtc->compiles == KERNELS && driver->loads == KERNELS && driver->retains == 1);
    CHECK(driver->launches == THREADS * 200);
}

static void test_compilation_blocks_only_its_kernel(void) {
    with_both();
    nvrtc->hold = 1;
    cc1d_problem slow = forward_problem(14), quick = forward_problem(4);
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, run_thread, &slow));
    while (!nvrtc->compiling) {
        sched_yield();
    }
    CHECK(run(&quick) == CC1D_OK && run(&quick) == CC1D_OK); /* else this waits for ever */
    CHECK(nvrtc->compiling == 1);
    nvrtc->hold = 0;
    pthread_join(thread, NULL);
    CHECK(nvrtc->compiles == 2);
}

static void test_fork(void) {
    with_both();
    cc1d_problem p = forward_problem(4);
    CHECK(run(&p) == CC1D_OK);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        char detail[300];
        CHECK(run(&p) == CC1D_ERROR_DEVICE);
        CHECK_TEXT(cc1d_last_error(), "forked");
        CHECK(!cc1d_backend_cuda.available(detail, sizeof detail));
        CHECK_TEXT(detail, "forked");
        fflush(stdout);
        _exit(0);
    }
    int status = 1;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(run(&p) == CC1D_OK);
}

static void test_fork_before_use(void) {
    with_both();
    driver->init_error = 100;
    char detail[300];
    CHECK(!cc1d_backend_cuda.available(detail, sizeof detail));
    driver->init_error = 0;
    pid_t child = fork();
    if (child == 0) {
        cc1d_problem p = forward_problem(4);
        CHECK(run(&p) == CC1D_OK); /* the parent never initialised CUDA */
        _exit(0);
    }
    int status = 1;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

#define CASE(name) \
    { #name, test_##name }
static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    CASE(no_driver),
    CASE(no_device),
    CASE(available),
    CASE(nvrtc_found_later),
    CASE(nvrtc_from_environment),
    CASE(nothing_relative_is_opened),
    CASE(nvrtc_too_new),
    CASE(launch),
    CASE(two_launches_and_scratch),
    CASE(nothing_to_do),
    CASE(cache),
    CASE(contexts),
    CASE(ptx_for_a_newer_device),
    CASE(device_too_old),
    CASE(failed_compilation),
    CASE(driver_errors),
    CASE(capture),
    CASE(threads),
    CASE(compilation_blocks_only_its_kernel),
    CASE(fork),
    CASE(fork_before_use),
};

static int passes(int index) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        cases[index].run();
        exit(0);
    }
    int status = 1;
    waitpid(child, &status, 0);
    int passed = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    printf("%s %s\n", passed ? "ok  " : "FAIL", cases[index].name);
    return passed;
}

int main(int count, char **arguments) {
    if (count < 2) {
        printf("usage: %s FOLDER [CASE]\n", arguments[0]);
        return 2;
    }
    char *folder = realpath(arguments[1], NULL);
    if (!folder) {
        perror(arguments[1]);
        return 2;
    }
    snprintf(driver_path, sizeof driver_path, "%s/libcuda.so.1", folder);
    snprintf(nvrtc_path, sizeof nvrtc_path, "%s/libnvrtc.so.13", folder);
    free(folder);
    unsetenv("CAUSAL_CONV1D_NVRTC");
    unsetenv("CUDA_HOME");
    unsetenv("CUDA_PATH");
    int failures = 0, ran = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (count < 3 || !strcmp(arguments[2], cases[i].name)) {
            failures += !passes((int)i);
            ran++;
        }
    }
    printf("%d cases, %d failed\n", ran, failures);
    return failures || !ran;
}
