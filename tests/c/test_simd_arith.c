/* test_simd_arith.c - the arithmetic that defines the bits: exponential, conversions; and every
 * implementation's activation on every 16-bit input and on a dense sweep of floats. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "cpu/convert.h"

/* gcc does not see that a 16-bit element is never read as a larger dtype. */
#pragma GCC diagnostic ignored "-Warray-bounds"

/* Emulated processors get every 16th value. */
static uint32_t stride_of_sweep(void) { return getenv("CC1D_TEST_EMULATED") ? 16 * 4001 : 4001; }

static double spacing(double v, int mantissa, int lowest) {
    int exponent;
    frexp(v, &exponent);
    return ldexp(1, (exponent < lowest ? lowest : exponent) - mantissa);
}

static double ulp_f32(double v) { return spacing(v, 24, -125); }
static double ulp_of(double v, int32_t dtype) {
    return dtype == CC1D_FLOAT16    ? spacing(v, 11, -13)
           : dtype == CC1D_BFLOAT16 ? spacing(v, 8, -125)
                                    : ulp_f32(v);
}

static double sigmoid(double a) { return a < 0 ? exp(a) / (1 + exp(a)) : 1 / (1 + exp(-a)); }

typedef struct float_errors {
    double silu;  /* ulp */
    double brief; /* relative */
    double slope; /* units of 2^-24 s (1 + |a| (1 - s)) */
} float_errors;

static void grow(double *worst, double error) {
    if (error > *worst) *worst = error;
}

static void measure(float a, float_errors *worst) {
    const double s = sigmoid(a), y = a * s;
    grow(&worst->silu, fabs(cc1d_silu_f32(a) - y) / ulp_f32(y));
    const double rest = sigmoid(-a), slope = s * (1 + a * rest), scale = s * (1 + fabs(a) * rest);
    if (s > 0x1p-100) grow(&worst->slope, fabs(cc1d_dsilu_f32(1, a) - slope) / scale * 0x1p24);
    if (fabs(y) > 0x1p-100) grow(&worst->brief, fabs(cc1d_silu_brief_f32(a) - y) / fabs(y));
}

/* The derivations in arith.h promise 2.05 ulp, 2^-16.5 and 10 units. */
static void test_float_error(void) {
    float_errors worst = {0};
    for (uint64_t u = 0; u < 0x100000000u; u += stride_of_sweep()) {
        const float a = cc1d_from_bits_f32((uint32_t)u);
        if (isfinite(a)) measure(a, &worst);
    }
    for (double a = -160; a < 100; a += stride_of_sweep() * 0x1p-26) measure((float)a, &worst);
    printf("  float: silu %.3f ulp, brief silu 2^%.2f, slope %.2f units\n", worst.silu, log2(worst.brief),
           worst.slope);
    CHECK(worst.silu < 2.05 && worst.silu > 0.5);
    CHECK(worst.slope < 10 && worst.slope > 2);
    CHECK(worst.brief < 0x1.7p-17 && worst.brief > 0x1p-20); /* 0x1.7p-17: 2^-16.5 */
}

static void test_double_error(void) {
    double worst = 0, slope = 0;
    for (double a = -780; a < 700; a += stride_of_sweep() * 0x1p-22) {
        const long double e = expl(-(long double)a), y = a / (1 + e);
        if (fabsl(y) < DBL_MIN) continue;
        const long double s = 1 / (1 + e), rest = a < 0 ? 1 / (1 + 1 / e) : e / (1 + e);
        if (s > DBL_MIN)
            grow(&slope,
                 (double)(fabsl(cc1d_dsilu_f64(1, a) - s * (1 + a * rest)) / (s * (1 + fabs(a) * rest))) *
                     0x1p53);
        const double error = (double)fabsl(cc1d_silu_f64(a) - y) / spacing((double)y, 53, -1021);
        if (error > worst) worst = error;
    }
    printf("  double: silu %.3f ulp, slope %.2f units%s\n", worst, slope,
           LDBL_MANT_DIG > 53 ? "" : " (against double)");
    CHECK(worst < (LDBL_MANT_DIG > 53 ? 2.05 : 4) && worst > 0.5);
    CHECK(slope < (LDBL_MANT_DIG > 53 ? 10 : 20) && slope > 2);
}

/* Rounded to 16 bits, the activation of any 16-bit input is within one unit of the correctly rounded one. */
static void test_halves_error(void) {
    static const int32_t dtypes[] = {CC1D_FLOAT16, CC1D_BFLOAT16};
    for (int i = 0; i < 2; i++) {
        for (uint32_t h = 0; h < 65536; h++) {
            const uint16_t bits = (uint16_t)h;
            uint16_t got, best;
            const float a = cc1d_load_f32(&bits, dtypes[i]);
            if (!isfinite(a)) continue;
            const double y = a * sigmoid(a);
            cc1d_store_f32(&got, dtypes[i], cc1d_silu_brief_f32(a));
            cc1d_store_f64(&best, dtypes[i], y);
            const double difference =
                fabs((double)cc1d_load_f32(&got, dtypes[i]) - (double)cc1d_load_f32(&best, dtypes[i]));
            if (difference > ulp_of(y, dtypes[i])) {
                CHECK(!"within one unit");
                printf("  input %a: %a, expected %a\n", a, cc1d_load_f32(&got, dtypes[i]), y);
                return;
            }
        }
    }
}

static void test_special_values(void) {
    CHECK(cc1d_silu_f32(INFINITY) == INFINITY && cc1d_silu_f64(INFINITY) == INFINITY);
    CHECK(isnan(cc1d_silu_f32(-INFINITY)) && isnan(cc1d_silu_f64(-INFINITY))); /* -inf / (1 + inf) */
    CHECK(isnan(cc1d_silu_f32(NAN)) && isnan(cc1d_silu_f64(NAN)));
    CHECK(cc1d_silu_f32(-1e38f) == 0 && signbit(cc1d_silu_f32(-1e38f)));
    CHECK(cc1d_silu_f64(-1e308) == 0 && signbit(cc1d_silu_f64(-1e308)));
    CHECK(cc1d_silu_f32(-0.0f) == 0 && signbit(cc1d_silu_f32(-0.0f)) && !signbit(cc1d_silu_f32(0.0f)));
    CHECK(cc1d_silu_brief_f32(INFINITY) == INFINITY && isnan(cc1d_silu_brief_f32(-INFINITY)));
    CHECK(isnan(cc1d_silu_brief_f32(NAN)) && cc1d_silu_brief_f32(3e38f) == 3e38f);
    CHECK(signbit(cc1d_silu_brief_f32(-0.0f)) && !signbit(cc1d_silu_brief_f32(0.0f)));
    CHECK(cc1d_silu_f32(3e38f) == 3e38f && cc1d_silu_f32(0x1p-149f) == 0.0f);
    CHECK(cc1d_dsilu_f32(1, 0) == 0.5f && cc1d_dsilu_f32(1, 100) == 1 && cc1d_dsilu_f32(1, -200) == 0);
    CHECK(isnan(cc1d_dsilu_f32(1, INFINITY)) && isnan(cc1d_dsilu_f32(1, NAN)));
}

/* v to the nearest of the format's values, ties to even, decided in double. */
static int is_nearest(double v, uint16_t bits, int32_t dtype) {
    uint16_t below = (uint16_t)(bits - 1), above = (uint16_t)(bits + 1);
    const double got = cc1d_load_f32(&bits, dtype), a = cc1d_load_f32(&below, dtype),
                 b = cc1d_load_f32(&above, dtype);
    const double error = fabs(got - v);
    if (isnan(got) || isinf(got)) return 0;
    for (int i = 0; i < 2; i++) {
        const double other = i ? b : a;
        if (!isfinite(other) || signbit(other) != signbit(got)) continue;
        if (fabs(other - v) < error || (fabs(other - v) == error && (bits & 1))) return 0;
    }
    return 1;
}

static void test_rounding(void) {
    static const int32_t dtypes[] = {CC1D_FLOAT16, CC1D_BFLOAT16};
    for (int i = 0; i < 2; i++) {
        const uint16_t infinite = dtypes[i] == CC1D_FLOAT16 ? 0x7c00 : 0x7f80;
        for (uint16_t h = 0; h + 1 < infinite; h++) {
            const uint16_t next = (uint16_t)(h + 1);
            const double low = cc1d_load_f32(&h, dtypes[i]), high = cc1d_load_f32(&next, dtypes[i]);
            const double middle = (low + high) / 2; /* exact */
            const double tries[] = {low, middle, nextafter(middle, low), nextafter(middle, high)};
            for (int k = 0; k < 4; k++) {
                uint16_t from_double, from_float;
                cc1d_store_f64(&from_double, dtypes[i], -tries[k]);
                CHECK(is_nearest(-tries[k], from_double, dtypes[i]));
                cc1d_store_f32(&from_float, dtypes[i], (float)tries[k]);
                CHECK(is_nearest((float)tries[k], from_float, dtypes[i]));
                if (check_failures) return;
            }
        }
        uint16_t big, nan;
        cc1d_store_f32(&big, dtypes[i], FLT_MAX);
        CHECK(big == infinite);
        cc1d_store_f32(&nan, dtypes[i], cc1d_from_bits_f32(0x7f800001)); /* no low bit may decide */
        CHECK((nan & 0x7fff) > infinite);
        cc1d_store_f32(&nan, dtypes[i], cc1d_from_bits_f32(0xffffffff));
        CHECK((nan & 0x7fff) > infinite);
    }
}

/* An activation of one row, by a filter that leaves it as it is; backward: its slopes, by the gradient of
 * ones. */
static void run_row(const cc1d_tensor *row, void *to, cc1d_activation activation, bool backward) {
    static float weight = 1;
    static char scratch[1 << 20];
    static const double one_f64 = 1;
    static const float one_f32 = 1;
    static const uint16_t ones[] = {[CC1D_FLOAT16] = 0x3c00, [CC1D_BFLOAT16] = 0x3f80};
    const cc1d_exec exec = {.size = sizeof exec, .num_threads = 1};
    const cc1d_tensor w = check_tensor(&weight, CC1D_FLOAT32, 2, 1, 1, 0);
    cc1d_tensor out = *row, dout = *row;
    out.data = to;
    if (!backward) {
        const cc1d_forward_args args = {
            .size = sizeof args, .x = row, .weight = &w, .out = &out, .activation = activation};
        CHECK_STATUS(cc1d_forward(&args, &exec), CC1D_OK);
        return;
    }
    const size_t item = cc1d_itemsize(row->dtype), count = (size_t)row->shape[2];
    const void *one = row->dtype == CC1D_FLOAT64   ? (const void *)&one_f64
                      : row->dtype == CC1D_FLOAT32 ? (const void *)&one_f32
                                                   : (const void *)&ones[row->dtype];
    dout.data = malloc(count * item);
    for (size_t i = 0; i < count; i++) memcpy((char *)dout.data + i * item, one, item);
    cc1d_backward_args args = {.size = sizeof args,
                               .dout = &dout,
                               .x = row,
                               .weight = &w,
                               .dx = &out,
                               .activation = activation,
                               .scratch = scratch,
                               .scratch_size = sizeof scratch};
    args.scratch = scratch + (16 - (uintptr_t)scratch % 16) % 16;
    args.scratch_size -= 16;
    CHECK_STATUS(cc1d_backward(&args, &exec), CC1D_OK);
    free(dout.data);
}

/* One row of x through an activation and its slope, on each implementation. */
static void compare_rows_of(cc1d_activation activation, const char *activation_name, const void *x,
                            int32_t dtype, int64_t count) {
    const size_t item = cc1d_itemsize(dtype);
    char *expected = malloc((size_t)count * item), *got = malloc((size_t)count * item);
    const cc1d_tensor row = check_tensor((void *)(uintptr_t)x, dtype, 3, 1, 1, count);
    const char *name;
    for (int backward = 0; backward < 2; backward++) {
        cc1d_set_cpu_implementation("scalar");
        run_row(&row, expected, activation, backward);
        for (int i = 0; (name = cc1d_cpu_implementation(i)); i++) {
            cc1d_set_cpu_implementation(name);
            run_row(&row, got, activation, backward);
            for (int64_t t = 0; t < count; t++) {
                const double a = cc1d_load_f64(expected + (size_t)t * item, dtype);
                const double b = cc1d_load_f64(got + (size_t)t * item, dtype);
                if (memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b))) continue;
                CHECK(!"the same bits");
                printf("  %s: %s%s(%a) = %a, expected %a\n", name, activation_name, backward ? "'" : "",
                       cc1d_load_f64((const char *)x + (size_t)t * item, dtype), b, a);
                break;
            }
        }
    }
    cc1d_set_cpu_implementation(NULL);
    free(expected);
    free(got);
}

static void compare_rows(const void *x, int32_t dtype, int64_t count) {
#define COMPARE(constant, name) compare_rows_of(CC1D_ACTIVATION_##constant, name, x, dtype, count);
    CC1D_EACH_ACTIVATION(COMPARE)
#undef COMPARE
}

static void test_every_half(void) {
    static uint16_t x[65536];
    for (int i = 0; i < 65536; i++) x[i] = (uint16_t)i;
    compare_rows(x, CC1D_FLOAT16, 65536);
    compare_rows(x, CC1D_BFLOAT16, 65536);
}

static void test_floats(void) {
    enum { ROW = 1 << 16 };
    static float x[ROW];
    uint64_t u = 0;
    const uint32_t step = stride_of_sweep() / 4;
    while (u < 0x100000000u) {
        int64_t count = 0;
        for (; count < ROW && u < 0x100000000u; u += step) x[count++] = cc1d_from_bits_f32((uint32_t)u);
        compare_rows(x, CC1D_FLOAT32, count);
        if (check_failures) return;
    }
    /* Each lane alone on the far side of the fast path's limit. */
    for (int i = 0; i < ROW; i++)
        x[i] = i % 67 == 0 ? -64.0f - (float)(i % 80) : i % 71 == 0 ? NAN : (float)(i % 127) - 63;
    compare_rows(x, CC1D_FLOAT32, ROW);
    static double doubles[ROW];
    for (int i = 0; i < ROW; i++) doubles[i] = 9.0 * (double)x[i] + 0x1p-30 * i;
    compare_rows(doubles, CC1D_FLOAT64, ROW);
    static uint16_t halves[ROW]; /* and of the brief form's */
    for (int i = 0; i < ROW; i++) cc1d_store_f32(halves + i, CC1D_BFLOAT16, x[i]);
    compare_rows(halves, CC1D_BFLOAT16, ROW);
}

int main(void) {
    static const check_test tests[] = {
        {"error of silu and sigmoid in float", test_float_error},
        {"error of silu in double", test_double_error},
        {"silu of every float16 and bfloat16", test_halves_error},
        {"special values", test_special_values},
        {"rounding to 16 bits", test_rounding},
        {"every 16-bit input on every implementation", test_every_half},
        {"floats on every implementation", test_floats},
    };
    return check_run(tests, sizeof tests / sizeof *tests);
}
