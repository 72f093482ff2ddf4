/* vec<T, N>, its packed form, and their names. A vector is loaded and stored as a whole, with the
 * alignment that Metal gives it; components and swizzles are named members. */
#ifndef MH_VECTOR_H
#define MH_VECTOR_H

namespace mh {
/* What holds the bits of a component inside a clang vector. */
template <class T> struct storage { typedef T type; };
template <> struct storage<bool> { typedef uchar type; };
template <> struct storage<bfloat> { typedef ushort type; };
} // namespace mh

namespace metal {

template <class T, int N> struct vec;

/* Calls M once for each component index. */
#define MH_EACH_2(M) M(0), M(1)
#define MH_EACH_3(M) M(0), M(1), M(2)
#define MH_EACH_4(M) M(0), M(1), M(2), M(3)

/* Constant memory is the one address space whose pointers convert to no other. */
#ifdef MH_STRICT
#define MH_GETTER_FROM_CONSTANT(length, name, ...) \
    MH_INLINE vec<T, length> mh_get_##name() const __constant { return vec<T, length>(__VA_ARGS__); }
#define MH_FROM_CONSTANT                               \
    MH_INLINE vec(const __constant vec &o) : v(o.v) {} \
    MH_INLINE T operator[](uint i) const __constant { return e[i]; }
#define MH_PACKED_FROM_CONSTANT(N)                                                                   \
    packed_vec(const packed_vec &) = default;                                                        \
    packed_vec &operator=(const packed_vec &) = default;                                             \
    MH_INLINE packed_vec(const __constant packed_vec &o) : packed_vec(vec<T, N>(o)) {}               \
    MH_INLINE operator vec<T, N>() const __constant { return vec<T, N>(MH_EACH_##N(MH_AT_MEMBER)); } \
    MH_INLINE T operator[](uint i) const __constant { return e[i]; }
#else
#define MH_GETTER_FROM_CONSTANT(length, name, ...)
#define MH_FROM_CONSTANT
#define MH_PACKED_FROM_CONSTANT(N)
#endif

/* A swizzle is a property: mh_swizzles.h, which toolchain.py writes, has one line for each. */
#define MH_GETTER(length, name, ...)                                                       \
    MH_INLINE vec<T, length> mh_get_##name() const { return vec<T, length>(__VA_ARGS__); } \
    MH_GETTER_FROM_CONSTANT(length, name, __VA_ARGS__)
#define MH_SETTER(length, name, ...) \
    MH_INLINE void mh_put_##name(vec<T, length> s) { __VA_ARGS__; }
#define MH_READABLE(length, name, accessor) __declspec(property(get = mh_get_##accessor)) vec<T, length> name;
#define MH_WRITABLE(length, name, accessor) \
    __declspec(property(get = mh_get_##accessor, put = mh_put_##accessor)) vec<T, length> name;

#include "mh_swizzles.h"

/* Operators of vec<T, N>, component by component, for scalars too (they convert to a vector). */
#define MH_ASSIGNING(N, name, op)                                                             \
    friend MH_INLINE vec operator op(vec a, vec b) { return vec(MH_EACH_##N(MH_AT_##name)); } \
    MH_INLINE vec &operator op##=(vec b) { return *this = *this op b; }
#define MH_COMPARING(N, name, op)                             \
    friend MH_INLINE vec<bool, N> operator op(vec a, vec b) { \
        return vec<bool, N>(MH_EACH_##N(MH_AT_##name));       \
    }
#define MH_AT_ADD(i) T(a.e[i] + b.e[i])
#define MH_AT_SUB(i) T(a.e[i] - b.e[i])
#define MH_AT_MUL(i) T(a.e[i] * b.e[i])
#define MH_AT_DIV(i) T(a.e[i] / b.e[i])
#define MH_AT_REM(i) T(a.e[i] % b.e[i])
#define MH_AT_AND(i) T(a.e[i] & b.e[i])
#define MH_AT_OR(i) T(a.e[i] | b.e[i])
#define MH_AT_XOR(i) T(a.e[i] ^ b.e[i])
#define MH_AT_SHL(i) T(a.e[i] << (b.e[i] & T(sizeof(T) * 8 - 1)))
#define MH_AT_SHR(i) T(a.e[i] >> (b.e[i] & T(sizeof(T) * 8 - 1)))
#define MH_AT_EQ(i) a.e[i] == b.e[i]
#define MH_AT_NE(i) a.e[i] != b.e[i]
#define MH_AT_LT(i) a.e[i] < b.e[i]
#define MH_AT_LE(i) a.e[i] <= b.e[i]
#define MH_AT_GT(i) a.e[i] > b.e[i]
#define MH_AT_GE(i) a.e[i] >= b.e[i]
#define MH_AT_ALSO(i) bool(a.e[i]) && bool(b.e[i])
#define MH_AT_EITHER(i) bool(a.e[i]) || bool(b.e[i])
#define MH_AT_NEG(i) T(-e[i])
#define MH_AT_NOT(i) T(~e[i])
#define MH_AT_NO(i) !bool(e[i])
#define MH_AT_SAME(i) s
#define MH_AT_CONVERT(i) T(o.e[i])

/* The formatter would take the macros' arguments apart. */
/* clang-format off */
#define MH_VECTOR(N, names, members)                                                             \
    template <class T> struct vec<T, N> {                                                        \
        typedef typename mh::storage<T>::type mh_storage __attribute__((ext_vector_type(N)));    \
        union {                                                                                  \
            mh_storage v;                                                                        \
            T e[N];                                                                              \
            struct { T members; };                                                               \
            struct { T names; };                                                                 \
        };                                                                                       \
        MH_SWIZZLES_##N                                                                          \
        vec() = default;                                                                         \
        MH_INLINE vec(const vec &o) : v(o.v) {}                                                  \
        MH_FROM_CONSTANT                                                                         \
        constexpr MH_INLINE vec(T s) : vec(MH_EACH_##N(MH_AT_SAME)) {}                           \
        template <class U>                                                                       \
        explicit MH_INLINE vec(const vec<U, N> &o) : vec(MH_EACH_##N(MH_AT_CONVERT)) {}          \
        MH_CONSTRUCTORS_##N                                                                      \
        MH_INLINE vec &operator=(const vec &o) { v = o.v; return *this; }                        \
        MH_INLINE T &operator[](uint i) { return e[i]; }                                         \
        MH_INLINE const T &operator[](uint i) const { return e[i]; }                             \
        MH_ASSIGNING(N, ADD, +) MH_ASSIGNING(N, SUB, -) MH_ASSIGNING(N, MUL, *)                  \
        MH_ASSIGNING(N, DIV, /) MH_ASSIGNING(N, REM, %) MH_ASSIGNING(N, AND, &)                  \
        MH_ASSIGNING(N, OR, |) MH_ASSIGNING(N, XOR, ^) MH_ASSIGNING(N, SHL, <<)                  \
        MH_ASSIGNING(N, SHR, >>)                                                                 \
        MH_COMPARING(N, EQ, ==) MH_COMPARING(N, NE, !=) MH_COMPARING(N, LT, <)                   \
        MH_COMPARING(N, LE, <=) MH_COMPARING(N, GT, >) MH_COMPARING(N, GE, >=)                   \
        MH_COMPARING(N, ALSO, &&) MH_COMPARING(N, EITHER, ||)                                    \
        MH_INLINE vec operator+() const { return *this; }                                        \
        MH_INLINE vec operator-() const { return vec(MH_EACH_##N(MH_AT_NEG)); }                  \
        MH_INLINE vec operator~() const { return vec(MH_EACH_##N(MH_AT_NOT)); }                  \
        MH_INLINE vec<bool, N> operator!() const { return vec<bool, N>(MH_EACH_##N(MH_AT_NO)); } \
        MH_INLINE vec &operator++() { return *this += vec(T(1)); }                               \
        MH_INLINE vec &operator--() { return *this -= vec(T(1)); }                               \
        MH_INLINE vec operator++(int) { vec old = *this; ++*this; return old; }                  \
        MH_INLINE vec operator--(int) { vec old = *this; --*this; return old; }                  \
    };
/* clang-format on */

#define MH_COMMA ,
#define MH_CONSTRUCTORS_2 \
    constexpr MH_INLINE vec(T a, T b) : e{a, b} {}
#define MH_CONSTRUCTORS_3                                              \
    constexpr MH_INLINE vec(T a, T b, T c) : e{a, b, c} {}             \
    MH_INLINE vec(const vec<T, 2> &a, T b) : vec(a.e[0], a.e[1], b) {} \
    MH_INLINE vec(T a, const vec<T, 2> &b) : vec(a, b.e[0], b.e[1]) {}
#define MH_CONSTRUCTORS_4                                                                          \
    constexpr MH_INLINE vec(T a, T b, T c, T d) : e{a, b, c, d} {}                                 \
    MH_INLINE vec(const vec<T, 2> &a, T b, T c) : vec(a.e[0], a.e[1], b, c) {}                     \
    MH_INLINE vec(T a, const vec<T, 2> &b, T c) : vec(a, b.e[0], b.e[1], c) {}                     \
    MH_INLINE vec(T a, T b, const vec<T, 2> &c) : vec(a, b, c.e[0], c.e[1]) {}                     \
    MH_INLINE vec(const vec<T, 2> &a, const vec<T, 2> &b) : vec(a.e[0], a.e[1], b.e[0], b.e[1]) {} \
    MH_INLINE vec(const vec<T, 3> &a, T b) : vec(a.e[0], a.e[1], a.e[2], b) {}                     \
    MH_INLINE vec(T a, const vec<T, 3> &b) : vec(a, b.e[0], b.e[1], b.e[2]) {}

MH_VECTOR(2, r MH_COMMA g, x MH_COMMA y)
MH_VECTOR(3, r MH_COMMA g MH_COMMA b, x MH_COMMA y MH_COMMA z)
MH_VECTOR(4, r MH_COMMA g MH_COMMA b MH_COMMA a, x MH_COMMA y MH_COMMA z MH_COMMA w)

/* Packed vectors have the alignment of their component. */
template <class T, int N> struct packed_vec;
#define MH_PACKED(N, members)                                                                               \
    template <class T> struct packed_vec<T, N> {                                                            \
        union {                                                                                             \
            T e[N];                                                                                         \
            struct {                                                                                        \
                T members;                                                                                  \
            };                                                                                              \
        };                                                                                                  \
        packed_vec() = default;                                                                             \
        MH_PACKED_FROM_CONSTANT(N)                                                                          \
        MH_INLINE packed_vec(T s) : packed_vec(vec<T, N>(s)) {}                                             \
        MH_INLINE packed_vec(const vec<T, N> &o) { *this = o; }                                             \
        template <class... A, class = typename mh::enable_if<(sizeof...(A) > 1)>::type>                     \
        MH_INLINE packed_vec(A... a) : packed_vec(vec<T, N>(a...)) {}                                       \
        MH_INLINE packed_vec &operator=(const vec<T, N> &o) {                                               \
            for (int i = 0; i < N; i++) e[i] = o.e[i];                                                      \
            return *this;                                                                                   \
        }                                                                                                   \
        MH_INLINE operator vec<T, N>() const { return vec<T, N>(MH_EACH_##N(MH_AT_MEMBER)); }               \
        MH_INLINE T &operator[](uint i) { return e[i]; }                                                    \
        MH_INLINE const T &operator[](uint i) const { return e[i]; }                                        \
        MH_PACKED_OPERATOR(N, +) MH_PACKED_OPERATOR(N, -) MH_PACKED_OPERATOR(N, *) MH_PACKED_OPERATOR(N, /) \
    };
#define MH_AT_MEMBER(i) e[i]
#define MH_PACKED_OPERATOR(N, op)                                                                  \
    friend MH_INLINE vec<T, N> operator op(const packed_vec &a, const packed_vec &b) {             \
        return vec<T, N>(a) op vec<T, N>(b);                                                       \
    }                                                                                              \
    friend MH_INLINE vec<T, N> operator op(const packed_vec &a, const vec<T, N> &b) {              \
        return vec<T, N>(a) op b;                                                                  \
    }                                                                                              \
    friend MH_INLINE vec<T, N> operator op(const vec<T, N> &a, const packed_vec &b) {              \
        return a op vec<T, N>(b);                                                                  \
    }                                                                                              \
    friend MH_INLINE vec<T, N> operator op(const packed_vec &a, T b) { return vec<T, N>(a) op b; } \
    friend MH_INLINE vec<T, N> operator op(T a, const packed_vec &b) { return a op vec<T, N>(b); } \
    MH_INLINE packed_vec &operator op##=(const vec<T, N> &b) { return *this = *this op b; }
MH_PACKED(2, x MH_COMMA y)
MH_PACKED(3, x MH_COMMA y MH_COMMA z)
MH_PACKED(4, x MH_COMMA y MH_COMMA z MH_COMMA w)

template <class T, size_t N> struct array {
    T elements[N];
    MH_INLINE T &operator[](size_t i) { return elements[i]; }
    MH_INLINE const T &operator[](size_t i) const { return elements[i]; }
    static constexpr size_t size() { return N; }
};

} // namespace metal

/* Each type has its name in the global namespace and in metal. */
#define MH_NAME(T, N)              \
    typedef metal::vec<T, N> T##N; \
    namespace metal {              \
    using ::T##N;                  \
    }                              \
    static_assert(sizeof(T##N) == (N == 3 ? 4 : N) * sizeof(T), "Metal's size; and instantiates");
#define MH_PACKED_NAME(T, N)                       \
    typedef metal::packed_vec<T, N> packed_##T##N; \
    namespace metal {                              \
    using ::packed_##T##N;                         \
    }
#define MH_NAMES(T) MH_NAME(T, 2) MH_NAME(T, 3) MH_NAME(T, 4)
#define MH_PACKED_NAMES(T) MH_PACKED_NAME(T, 2) MH_PACKED_NAME(T, 3) MH_PACKED_NAME(T, 4)
MH_NAMES(bool)
MH_NAMES(char)
MH_NAMES(uchar)
MH_NAMES(short)
MH_NAMES(ushort)
MH_NAMES(int)
MH_NAMES(uint)
MH_NAMES(long)
MH_NAMES(ulong)
MH_NAMES(half)
MH_NAMES(bfloat)
MH_NAMES(float)
MH_PACKED_NAMES(char)
MH_PACKED_NAMES(uchar)
MH_PACKED_NAMES(short)
MH_PACKED_NAMES(ushort)
MH_PACKED_NAMES(int)
MH_PACKED_NAMES(uint)
MH_PACKED_NAMES(half)
MH_PACKED_NAMES(bfloat)
MH_PACKED_NAMES(float)
#endif
