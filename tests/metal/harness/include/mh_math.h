/* Functions on scalars and, component by component, on vectors: common, math, integer, relational,
 * geometric and bit casts. half and bfloat are computed in float and rounded once. */
#ifndef MH_MATH_H
#define MH_MATH_H

template <class To, class From> MH_INLINE To as_type(From from) {
    static_assert(sizeof(To) == sizeof(From), "as_type needs types of the same size");
    To to; /* vectors have a copy constructor of their own, so __builtin_bit_cast refuses them */
    __builtin_memcpy(&to, &from, sizeof to);
    return to;
}

namespace mh {
template <class T> struct identity { typedef T type; };
/* a * b + c rounded once to 16 bits: the double result is made odd where it is inexact. */
MH_INLINE double fma_to_odd(double a, double b, double c) {
    const double product = a * b, sum = product + c;
    const double back = sum - product, error = (product - (sum - back)) + (c - back);
    ulong bits = __builtin_bit_cast(ulong, sum);
    if (error != 0 && sum - sum == 0 && !(bits & 1)) {
        bits += (error > 0) == (sum > 0) ? 1 : -1;
    }
    return __builtin_bit_cast(double, bits);
}
} // namespace mh

namespace metal {
namespace mh_functions {

/* f for each component. */
#define MH_MAP_1(R, name)                                                         \
    template <class T> MH_INLINE vec<R, 2> name(const vec<T, 2> &x) {             \
        return vec<R, 2>(name(x.e[0]), name(x.e[1]));                             \
    }                                                                             \
    template <class T> MH_INLINE vec<R, 3> name(const vec<T, 3> &x) {             \
        return vec<R, 3>(name(x.e[0]), name(x.e[1]), name(x.e[2]));               \
    }                                                                             \
    template <class T> MH_INLINE vec<R, 4> name(const vec<T, 4> &x) {             \
        return vec<R, 4>(name(x.e[0]), name(x.e[1]), name(x.e[2]), name(x.e[3])); \
    }
/* The later arguments may also be scalars, which convert. */
#define MH_ARGUMENT(N) const vec<typename mh::identity<T>::type, N> &
#define MH_MAP_2(name)                                                                      \
    template <class T> MH_INLINE vec<T, 2> name(const vec<T, 2> &x, MH_ARGUMENT(2) y) {     \
        return vec<T, 2>(name(x.e[0], y.e[0]), name(x.e[1], y.e[1]));                       \
    }                                                                                       \
    template <class T> MH_INLINE vec<T, 3> name(const vec<T, 3> &x, MH_ARGUMENT(3) y) {     \
        return vec<T, 3>(name(x.e[0], y.e[0]), name(x.e[1], y.e[1]), name(x.e[2], y.e[2])); \
    }                                                                                       \
    template <class T> MH_INLINE vec<T, 4> name(const vec<T, 4> &x, MH_ARGUMENT(4) y) {     \
        return vec<T, 4>(name(x.e[0], y.e[0]), name(x.e[1], y.e[1]), name(x.e[2], y.e[2]),  \
                         name(x.e[3], y.e[3]));                                             \
    }
#define MH_MAP_3(name)                                                                                    \
    template <class T> MH_INLINE vec<T, 2> name(const vec<T, 2> &x, MH_ARGUMENT(2) y, MH_ARGUMENT(2) z) { \
        return vec<T, 2>(name(x.e[0], y.e[0], z.e[0]), name(x.e[1], y.e[1], z.e[1]));                     \
    }                                                                                                     \
    template <class T> MH_INLINE vec<T, 3> name(const vec<T, 3> &x, MH_ARGUMENT(3) y, MH_ARGUMENT(3) z) { \
        return vec<T, 3>(name(x.e[0], y.e[0], z.e[0]), name(x.e[1], y.e[1], z.e[1]),                      \
                         name(x.e[2], y.e[2], z.e[2]));                                                   \
    }                                                                                                     \
    template <class T> MH_INLINE vec<T, 4> name(const vec<T, 4> &x, MH_ARGUMENT(4) y, MH_ARGUMENT(4) z) { \
        return vec<T, 4>(name(x.e[0], y.e[0], z.e[0]), name(x.e[1], y.e[1], z.e[1]),                      \
                         name(x.e[2], y.e[2], z.e[2]), name(x.e[3], y.e[3], z.e[3]));                     \
    }

#define MH_FLOAT_1(name, expression)                         \
    template <class T> MH_INLINE mh::if_float<T> name(T a) { \
        const float x = float(a);                            \
        return T(expression);                                \
    }                                                        \
    MH_MAP_1(T, name)
/* Not templates, so that pow(2, x) finds the float one. */
#define MH_FLOAT_2(name, expression)                                                       \
    MH_INLINE float name(float x, float y) { return float(expression); }                   \
    MH_INLINE half name(half a, half b) { return half(name(float(a), float(b))); }         \
    MH_INLINE bfloat name(bfloat a, bfloat b) { return bfloat(name(float(a), float(b))); } \
    MH_MAP_2(name)
#define MH_INTEGER_1(name, expression)                         \
    template <class T> MH_INLINE mh::if_integer<T> name(T x) { \
        typedef typename mh::make_unsigned<T>::type U;         \
        constexpr int bits = sizeof(T) * 8;                    \
        (void)bits;                                            \
        return T(expression);                                  \
    }                                                          \
    MH_MAP_1(T, name)

MH_FLOAT_1(acos, __builtin_acosf(x))
MH_FLOAT_1(acosh, __builtin_acoshf(x))
MH_FLOAT_1(asin, __builtin_asinf(x))
MH_FLOAT_1(asinh, __builtin_asinhf(x))
MH_FLOAT_1(atan, __builtin_atanf(x))
MH_FLOAT_1(atanh, __builtin_atanhf(x))
MH_FLOAT_1(ceil, __builtin_ceilf(x))
MH_FLOAT_1(cos, __builtin_cosf(x))
MH_FLOAT_1(cosh, __builtin_coshf(x))
MH_FLOAT_1(cospi, __builtin_cos(double(x) * 3.14159265358979323846))
MH_FLOAT_1(exp, __builtin_expf(x))
MH_FLOAT_1(exp10, __builtin_pow(10.0, double(x)))
MH_FLOAT_1(exp2, __builtin_exp2f(x))
MH_FLOAT_1(fabs, __builtin_fabsf(x))
MH_FLOAT_1(floor, __builtin_floorf(x))
MH_FLOAT_1(fract,
           (x - x == 0 ? __builtin_fminf(x - __builtin_floorf(x), 0x1.fffffep-1f) : (x != x ? x : 0.0f)))
MH_FLOAT_1(log, __builtin_logf(x))
MH_FLOAT_1(log10, __builtin_log10f(x))
MH_FLOAT_1(log2, __builtin_log2f(x))
MH_FLOAT_1(rint, __builtin_rintf(x))
MH_FLOAT_1(round, __builtin_roundf(x))
MH_FLOAT_1(rsqrt, 1.0 / __builtin_sqrt(double(x)))
MH_FLOAT_1(sin, __builtin_sinf(x))
MH_FLOAT_1(sinh, __builtin_sinhf(x))
MH_FLOAT_1(sinpi, __builtin_sin(double(x) * 3.14159265358979323846))
MH_FLOAT_1(sqrt, __builtin_sqrtf(x))
MH_FLOAT_1(tan, __builtin_tanf(x))
MH_FLOAT_1(tanh, __builtin_tanhf(x))
MH_FLOAT_1(trunc, __builtin_truncf(x))
MH_FLOAT_1(sign, (x > 0 ? 1.0f : x < 0 ? -1.0f : x == 0 ? x : 0.0f))
MH_FLOAT_1(saturate, __builtin_fminf(__builtin_fmaxf(x, 0.0f), 1.0f))
MH_FLOAT_2(atan2, __builtin_atan2f(x, y))
MH_FLOAT_2(copysign, __builtin_copysignf(x, y))
MH_FLOAT_2(fdim, __builtin_fdimf(x, y))
MH_FLOAT_2(fmax, __builtin_fmaxf(x, y))
MH_FLOAT_2(fmin, __builtin_fminf(x, y))
MH_FLOAT_2(fmod, __builtin_fmodf(x, y))
MH_FLOAT_2(pow, __builtin_powf(x, y))
MH_FLOAT_2(powr, __builtin_powf(x, y))
MH_FLOAT_2(nextafter, __builtin_nextafterf(x, y))
MH_FLOAT_2(step, (y < x ? 0.0f : 1.0f))

MH_INLINE float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
MH_INLINE half fma(half a, half b, half c) { return half(mh::fma_to_odd(a, b, c)); }
MH_INLINE bfloat fma(bfloat a, bfloat b, bfloat c) {
    const double odd = mh::fma_to_odd(float(a), float(b), float(c));
    float nearest = float(odd); /* made odd once more on the way from 53 to 24 bits */
    uint bits = __builtin_bit_cast(uint, nearest);
    if (double(nearest) != odd && nearest - nearest == 0 && !(bits & 1)) {
        bits += (double(nearest) < odd) == (nearest > 0) ? 1 : -1;
    }
    return bfloat(__builtin_bit_cast(float, bits));
}
MH_MAP_3(fma)

template <class T> MH_INLINE mh::if_scalar<T> min(T a, T b) { return b < a || a != a ? b : a; }
template <class T> MH_INLINE mh::if_scalar<T> max(T a, T b) { return a < b || a != a ? b : a; }
MH_MAP_2(min)
MH_MAP_2(max)
template <class T> MH_INLINE mh::if_scalar<T> clamp(T x, T low, T high) { return min(max(x, low), high); }
MH_MAP_3(clamp)
template <class T> MH_INLINE mh::if_scalar<T> min3(T a, T b, T c) { return min(a, min(b, c)); }
template <class T> MH_INLINE mh::if_scalar<T> max3(T a, T b, T c) { return max(a, max(b, c)); }
template <class T> MH_INLINE mh::if_scalar<T> median3(T a, T b, T c) {
    return max(min(a, b), min(max(a, b), c));
}
template <class T> MH_INLINE mh::if_float<T> mix(T a, T b, T t) { return T(a + (b - a) * t); }
MH_MAP_3(mix)
template <class T> MH_INLINE mh::if_float<T> smoothstep(T low, T high, T x) {
    const T t = clamp(T((x - low) / (high - low)), T(0), T(1));
    return T(t * t * (T(3) - T(2) * t));
}
MH_MAP_3(smoothstep)
template <class T> MH_INLINE mh::if_float<T> ldexp(T x, int n) { return T(__builtin_ldexpf(float(x), n)); }
template <class T> MH_INLINE int ilogb(T x) { return __builtin_ilogbf(float(x)); }
template <class T> MH_INLINE mh::if_float<T> frexp(T x, int &exponent) {
    return T(__builtin_frexpf(float(x), &exponent));
}
template <class T> MH_INLINE mh::if_float<T> modf(T x, typename mh::identity<T>::type &whole) {
    whole = trunc(x);
    return T(x - whole);
}
template <class T> MH_INLINE mh::if_float<T> sincos(T x, typename mh::identity<T>::type &cosine) {
    cosine = cos(x);
    return sin(x);
}
template <class T> MH_INLINE mh::if_float<T> divide(T a, T b) { return T(a / b); }
MH_MAP_2(divide)

/* Relational. */
#define MH_TEST(name, expression)                                  \
    template <class T> MH_INLINE mh::if_float<T, bool> name(T a) { \
        const float x = float(a);                                  \
        return expression;                                         \
    }                                                              \
    MH_MAP_1(bool, name)
MH_TEST(isfinite, x - x == 0)
MH_TEST(isinf, __builtin_fabsf(x) == __builtin_inff())
MH_TEST(isnan, x != x)
MH_TEST(signbit, bool(__builtin_signbitf(x)))
template <class T> MH_INLINE mh::if_float<T, bool> isnormal(T x) {
    const T magnitude = fabs(x);
    return isfinite(x) && magnitude >= numeric_limits<T>::min();
}
#define MH_COMPARISON(name, expression)                          \
    MH_INLINE bool name(float x, float y) { return expression; } \
    template <class T> MH_INLINE mh::if_float<T, bool> name(T x, T y) { return name(float(x), float(y)); }
MH_COMPARISON(isunordered, x != x || y != y)
MH_COMPARISON(isordered, x == x && y == y)
MH_COMPARISON(isequal, x == y)
MH_COMPARISON(isnotequal, x != y)
MH_COMPARISON(isless, x < y)
MH_COMPARISON(islessequal, x <= y)
MH_COMPARISON(isgreater, x > y)
MH_COMPARISON(isgreaterequal, x >= y)
MH_COMPARISON(islessgreater, x<y || x> y)
MH_INLINE bool any(bool x) { return x; }
MH_INLINE bool all(bool x) { return x; }
template <int N> MH_INLINE bool any(const vec<bool, N> &x) {
    bool result = false;
    for (int i = 0; i < N; i++) result = result || x.e[i];
    return result;
}
template <int N> MH_INLINE bool all(const vec<bool, N> &x) {
    bool result = true;
    for (int i = 0; i < N; i++) result = result && x.e[i];
    return result;
}
template <class T> MH_INLINE mh::if_scalar<T> select(T a, T b, bool c) { return c ? b : a; }
template <class T, int N> MH_INLINE vec<T, N> select(vec<T, N> a, vec<T, N> b, bool c) { return c ? b : a; }
template <class T, int N>
MH_INLINE vec<T, N> select(const vec<T, N> &a, const vec<T, N> &b, const vec<bool, N> &c) {
    vec<T, N> result = a;
    for (int i = 0; i < N; i++) result.e[i] = c.e[i] ? b.e[i] : a.e[i];
    return result;
}

/* Integer. */
MH_INTEGER_1(popcount, __builtin_popcountl(ulong(U(x))))
MH_INTEGER_1(clz, (U(x) ? __builtin_clzl(ulong(U(x))) - (64 - bits) : bits))
MH_INTEGER_1(ctz, (U(x) ? __builtin_ctzl(ulong(U(x))) : bits))
MH_INTEGER_1(reverse_bits, U(__builtin_bitreverse64(ulong(U(x))) >> (64 - bits)))
template <class T> MH_INLINE mh::if_integer<T> abs(T x) { return T(x < 0 ? -x : x); }
template <class T> MH_INLINE mh::if_float<T> abs(T x) { return fabs(x); }
MH_MAP_1(T, abs)
template <class T> MH_INLINE mh::if_integer<T> absdiff(T a, T b) { return T(a < b ? b - a : a - b); }
template <class T> MH_INLINE mh::if_integer<T> rotate(T x, T n) {
    typedef typename mh::make_unsigned<T>::type U;
    const uint bits = sizeof(T) * 8, k = uint(n) & (bits - 1);
    return T(k ? U(U(x) << k | U(x) >> (bits - k)) : U(x));
}
MH_MAP_2(rotate)
MH_INLINE uint mulhi(uint a, uint b) { return uint(ulong(a) * b >> 32); }
MH_INLINE int mulhi(int a, int b) { return int(long(a) * b >> 32); }
MH_INLINE ulong mulhi(ulong a, ulong b) { return ulong((unsigned __int128)a * b >> 64); }
MH_INLINE uint mul24(uint a, uint b) { return (a & 0xFFFFFF) * (b & 0xFFFFFF); }
MH_INLINE uint mad24(uint a, uint b, uint c) { return mul24(a, b) + c; }
template <class T> MH_INLINE mh::if_integer<T> addsat(T a, T b) {
    T sum;
    return !__builtin_add_overflow(a, b, &sum) ? sum
           : b < 0                             ? numeric_limits<T>::min()
                                               : numeric_limits<T>::max();
}
template <class T> MH_INLINE mh::if_integer<T> subsat(T a, T b) {
    T difference;
    return !__builtin_sub_overflow(a, b, &difference) ? difference
           : b < 0 || numeric_limits<T>::min() == 0
               ? (b < 0 ? numeric_limits<T>::max() : numeric_limits<T>::min())
               : numeric_limits<T>::min();
}
template <class T> MH_INLINE mh::if_integer<T> extract_bits(T x, uint offset, uint count) {
    typedef typename mh::make_unsigned<T>::type U;
    const uint bits = sizeof(T) * 8;
    return count == 0 ? T(0) : T(T(U(x) << (bits - offset - count)) >> (bits - count));
}
template <class T> MH_INLINE mh::if_integer<T> insert_bits(T base, T bits, uint offset, uint count) {
    const ulong mask = (count == 64 ? ~0ul : (1ul << count) - 1) << offset;
    return T((ulong(base) & ~mask) | (ulong(bits) << offset & mask));
}

/* Geometric. */
template <class T, int N> MH_INLINE T dot(const vec<T, N> &a, const vec<T, N> &b) {
    T sum = T(a.e[0] * b.e[0]);
    for (int i = 1; i < N; i++) sum = T(sum + a.e[i] * b.e[i]);
    return sum;
}
template <class T> MH_INLINE vec<T, 3> cross(const vec<T, 3> &a, const vec<T, 3> &b) {
    return vec<T, 3>(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x);
}
template <class T, int N> MH_INLINE T length_squared(const vec<T, N> &a) { return dot(a, a); }
template <class T, int N> MH_INLINE T length(const vec<T, N> &a) { return sqrt(dot(a, a)); }
template <class T, int N> MH_INLINE T distance(const vec<T, N> &a, const vec<T, N> &b) {
    return length(a - b);
}
template <class T, int N> MH_INLINE vec<T, N> normalize(const vec<T, N> &a) { return a * rsqrt(dot(a, a)); }

} // namespace mh_functions
using namespace mh_functions;
namespace fast {
using namespace mh_functions;
}
namespace precise {
using namespace mh_functions;
}
} // namespace metal
#endif
