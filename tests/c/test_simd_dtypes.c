/* test_simd_dtypes.c - a dtype that validation refuses is never taken for another: where one reaches the
 * kernels nevertheless, the program ends. */
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "cpu/convert.h"
#include "cpu/kernels.h"

typedef void user(const void *context, int32_t dtype);

/* Whether a child that lets `use` have an element of this dtype ends by abort(). */
static bool aborts(user *use, const void *context, int32_t dtype) {
    const struct rlimit none = {0, 0};
    int status = 0;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &none);
        use(context, dtype);
        _exit(0);
    }
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static bool is_number(int32_t dtype) { return cc1d_use_of(dtype) == CC1D_USE_NUMBERS; }

/* Every dtype, and two numbers that are none. */
enum { LOWEST = CC1D_FLOAT32 - 1, HIGHEST = CC1D_COMPLEX128 + 1 };

static char element[16];
static volatile double loaded;

static void load_f32(const void *unused, int32_t dtype) {
    (void)unused, loaded = cc1d_load_f32(element, dtype);
}
static void load_f64(const void *unused, int32_t dtype) {
    (void)unused, loaded = cc1d_load_f64(element, dtype);
}
static void store_f32(const void *unused, int32_t dtype) { (void)unused, cc1d_store_f32(element, dtype, 1); }
static void store_f64(const void *unused, int32_t dtype) { (void)unused, cc1d_store_f64(element, dtype, 1); }

static void test_elements(void) {
    for (int32_t dtype = LOWEST; dtype <= HIGHEST; dtype++) {
        const bool in_float = is_number(dtype) && dtype != CC1D_FLOAT64;
        CHECK(aborts(load_f32, NULL, dtype) == !in_float);
        CHECK(aborts(store_f32, NULL, dtype) == !in_float);
        CHECK(aborts(load_f64, NULL, dtype) == !is_number(dtype));
        CHECK(aborts(store_f64, NULL, dtype) == !is_number(dtype));
    }
}

typedef struct call {
    const cc1d_cpu_kernels *kernels;
    cc1d_operation op;
    cc1d_path path;
    cc1d_role role; /* whose dtype it is; the others are float32 */
} call;

/* One step of one channel, every size being 1. */
static void run(const void *context, int32_t dtype) {
    static _Alignas(64) char memory[1 << 20];
    static const cc1d_role roles[] = {CC1D_X,    CC1D_WEIGHT, CC1D_BIAS, CC1D_OUT,
                                      CC1D_DOUT, CC1D_DX,     CC1D_STATE};
    const call *c = context;
    const cc1d_segment s = {.d1 = 1, .t1 = 1, .end = 1};
    cc1d_problem p = {.op = c->op, .batch = 1, .dim = 1, .seqlen = 1, .width = 1, .sequences = 1};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        p.view[roles[i]] = (cc1d_view){.data = element,
                                       .present = true,
                                       .shape = {1, 1, 1},
                                       .dtype = roles[i] == c->role ? dtype : CC1D_FLOAT32};
    double sums[2] = {0};
    if (c->op == CC1D_OP_FORWARD)
        c->kernels->forward(&p, c->path, &s);
    else if (c->op == CC1D_OP_BACKWARD)
        c->kernels->backward(&p, c->path, &s, sums, memory);
    else
        c->kernels->update(&p, 0, 0, 0, 1);
}

/* All kernels of this processor, forward and backward on every path. x may be any number, weight and bias not
 * float64 with an x that is not. */
static void test_kernels(void) {
    static const cc1d_role roles[] = {CC1D_X, CC1D_WEIGHT, CC1D_BIAS};
    for (const cc1d_cpu_kernels *const *k = cc1d_cpu_kernel_list; *k; k++) {
        if (!(*k)->usable()) continue;
        for (int i = 0; i < 21; i++) {
            const int kind = i / 3;
            const call c = {.kernels = *k,
                            .op = kind < 3   ? CC1D_OP_FORWARD
                                  : kind < 6 ? CC1D_OP_BACKWARD
                                             : CC1D_OP_UPDATE,
                            .path = (cc1d_path)(kind % 3),
                            .role = roles[i % 3]};
            /* Without an activation backward does not look at the bias. */
            if (c.op == CC1D_OP_BACKWARD && c.role == CC1D_BIAS && *k == &cc1d_cpu_scalar) continue;
            if (!aborts(run, &c, CC1D_FLOAT32) && aborts(run, &c, CC1D_INT16) && aborts(run, &c, CC1D_BOOL) &&
                aborts(run, &c, HIGHEST) && (c.role == CC1D_X || aborts(run, &c, CC1D_FLOAT64)))
                continue;
            CHECK(!"refused dtypes end the program, and only they");
            printf("  %s: operation %d, path %d, role %d\n", (*k)->name, (int)c.op, (int)c.path, (int)c.role);
        }
    }
}

int main(void) {
    static const check_test tests[] = {
        {"elements of every dtype", test_elements},
        {"kernels with dtypes that validation refuses", test_kernels},
    };
    return check_run(tests, sizeof tests / sizeof *tests);
}
