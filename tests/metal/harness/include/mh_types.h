/* Scalar types. half is clang's native 16-bit floating type; bfloat is a class, as clang 14 has none. */
#ifndef MH_TYPES_H
#define MH_TYPES_H

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
#ifndef MH_STRICT /* there half is the language's own */
typedef __fp16 half;
#endif
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long int64_t;
typedef unsigned long uint64_t;
typedef unsigned long size_t;
typedef long ptrdiff_t;

#define MH_INLINE inline __attribute__((always_inline))

namespace mh {
template <bool B, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { typedef T type; };
template <bool B, class T, class F> struct conditional { typedef T type; };
template <class T, class F> struct conditional<false, T, F> { typedef F type; };
/* The compiler's traits, as names that a function's signature can hold. */
template <class T> struct is_arithmetic { static constexpr bool value = __is_arithmetic(T); };
template <class T> struct is_integral { static constexpr bool value = __is_integral(T); };
template <class T> struct is_floating { static constexpr bool value = __is_floating_point(T); };
template <class T> struct remove_cv { typedef T type; };
template <class T> struct remove_cv<const T> { typedef T type; };
template <class T> struct remove_cv<volatile T> { typedef T type; };
template <class T> struct remove_cv<const volatile T> { typedef T type; };
template <class T, class U> struct is_same { static constexpr bool value = false; };
template <class T> struct is_same<T, T> { static constexpr bool value = true; };
} // namespace mh

struct bfloat {
    ushort bits;

    bfloat() = default;
    constexpr MH_INLINE bfloat(float value) : bits(round(value)) {}
    template <class T, class = typename mh::enable_if<mh::is_arithmetic<T>::value &&
                                                      !mh::is_same<T, float>::value>::type>
    constexpr MH_INLINE bfloat(T value) : bits(round(float(value))) {}
    constexpr MH_INLINE operator float() const { return __builtin_bit_cast(float, uint(bits) << 16); }
#ifdef MH_STRICT
    MH_INLINE operator float() const __constant { return __builtin_bit_cast(float, uint(bits) << 16); }
#endif

  private:
    /* To nearest even; NaN stays NaN. */
    static constexpr MH_INLINE ushort round(float value) {
        const uint word = __builtin_bit_cast(uint, value);
        if (value != value) {
            return ushort(word >> 16 | 0x40);
        }
        return ushort((word + 0x7FFF + (word >> 16 & 1)) >> 16);
    }
};

/* bfloat with bfloat gives bfloat, with any other type what float gives; an integer gives bfloat. */
#define MH_BFLOAT_OPERATOR(op)                                                                \
    MH_INLINE bfloat operator op(bfloat a, bfloat b) { return bfloat(float(a) op float(b)); } \
    template <class T>                                                                        \
    MH_INLINE typename mh::enable_if<                                                         \
        mh::is_arithmetic<T>::value,                                                          \
        typename mh::conditional<mh::is_floating<T>::value, float, bfloat>::type>::type       \
    operator op(bfloat a, T b) {                                                              \
        return float(a) op float(b);                                                          \
    }                                                                                         \
    template <class T>                                                                        \
    MH_INLINE typename mh::enable_if<                                                         \
        mh::is_arithmetic<T>::value,                                                          \
        typename mh::conditional<mh::is_floating<T>::value, float, bfloat>::type>::type       \
    operator op(T a, bfloat b) {                                                              \
        return float(a) op float(b);                                                          \
    }                                                                                         \
    template <class T> MH_INLINE bfloat &operator op##=(bfloat &a, T b) {                     \
        return a = bfloat(float(a) op float(b));                                              \
    }
MH_BFLOAT_OPERATOR(+)
MH_BFLOAT_OPERATOR(-)
MH_BFLOAT_OPERATOR(*)
MH_BFLOAT_OPERATOR(/)
#undef MH_BFLOAT_OPERATOR
MH_INLINE bfloat operator-(bfloat a) { return bfloat(-float(a)); }

namespace mh {
/* Types whose arithmetic is done by the float functions. */
template <class T> struct is_float { static constexpr bool value = false; };
template <> struct is_float<float> { static constexpr bool value = true; };
template <> struct is_float<half> { static constexpr bool value = true; };
template <> struct is_float<bfloat> { static constexpr bool value = true; };
template <class T, class R = T> using if_float = typename enable_if<is_float<T>::value, R>::type;
template <class T, class R = T> using if_integer = typename enable_if<is_integral<T>::value, R>::type;
template <class T> struct is_scalar {
    static constexpr bool value = is_float<T>::value || is_integral<T>::value;
};
template <class T, class R = T> using if_scalar = typename enable_if<is_scalar<T>::value, R>::type;
template <class T> struct make_unsigned;
template <> struct make_unsigned<char> { typedef uchar type; };
template <> struct make_unsigned<signed char> { typedef uchar type; };
template <> struct make_unsigned<uchar> { typedef uchar type; };
template <> struct make_unsigned<short> { typedef ushort type; };
template <> struct make_unsigned<ushort> { typedef ushort type; };
template <> struct make_unsigned<int> { typedef uint type; };
template <> struct make_unsigned<uint> { typedef uint type; };
template <> struct make_unsigned<long> { typedef ulong type; };
template <> struct make_unsigned<ulong> { typedef ulong type; };
} // namespace mh

namespace metal {
using ::bfloat;
#ifndef MH_STRICT
using ::half;
#endif
using ::int16_t;
using ::int32_t;
using ::int64_t;
using ::int8_t;
using ::ptrdiff_t;
using ::size_t;
using ::uchar;
using ::uint;
using ::uint16_t;
using ::uint32_t;
using ::uint64_t;
using ::uint8_t;
using ::ulong;
using ::ushort;

template <class T> struct numeric_limits;
#define MH_LIMITS(T, low, high, tiny, eps, digits_, is_int, is_sign)                           \
    template <> struct numeric_limits<T> {                                                     \
        static constexpr bool is_specialized = true, is_integer = is_int, is_signed = is_sign; \
        static constexpr int digits = digits_;                                                 \
        static constexpr T lowest() { return T(low); }                                         \
        static constexpr T max() { return T(high); }                                           \
        static constexpr T min() { return T(tiny); }                                           \
        static constexpr T epsilon() { return T(eps); }                                        \
        static constexpr T infinity() { return T(is_int ? 0 : __builtin_inff()); }             \
        static constexpr T quiet_NaN() { return T(is_int ? 0 : __builtin_nanf("")); }          \
    };
MH_LIMITS(float, -0x1.fffffep127f, 0x1.fffffep127f, 0x1p-126f, 0x1p-23f, 24, false, true)
MH_LIMITS(half, -65504.0f, 65504.0f, 0x1p-14f, 0x1p-10f, 11, false, true)
MH_LIMITS(char, -128, 127, -128, 0, 7, true, true)
MH_LIMITS(int8_t, -128, 127, -128, 0, 7, true, true)
MH_LIMITS(uchar, 0, 255, 0, 0, 8, true, false)
MH_LIMITS(short, -32768, 32767, -32768, 0, 15, true, true)
MH_LIMITS(ushort, 0, 65535, 0, 0, 16, true, false)
MH_LIMITS(int, -2147483647 - 1, 2147483647, -2147483647 - 1, 0, 31, true, true)
MH_LIMITS(uint, 0, 4294967295u, 0, 0, 32, true, false)
MH_LIMITS(long, -9223372036854775807l - 1, 9223372036854775807l, -9223372036854775807l - 1, 0, 63, true, true)
MH_LIMITS(ulong, 0, 18446744073709551615ul, 0, 0, 64, true, false)
#undef MH_LIMITS
template <> struct numeric_limits<bfloat> {
    static constexpr bool is_specialized = true, is_integer = false, is_signed = true;
    static constexpr int digits = 8;
    static bfloat lowest() { return bfloat(-0x1.fep127f); }
    static bfloat max() { return bfloat(0x1.fep127f); }
    static bfloat min() { return bfloat(0x1p-126f); }
    static bfloat epsilon() { return bfloat(0x1p-7f); }
    static bfloat infinity() { return bfloat(__builtin_inff()); }
    static bfloat quiet_NaN() { return bfloat(__builtin_nanf("")); }
};
} // namespace metal
#endif
