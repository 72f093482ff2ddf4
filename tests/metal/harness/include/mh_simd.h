/* SIMD-group and quad-group operations and barriers. Every one of them is a meeting of the lanes; the
 * default arguments say where the call stands, so that lanes that meet at different calls are found. */
#ifndef MH_SIMD_H
#define MH_SIMD_H

#define MH_PLACE int line = __builtin_LINE(), int column = __builtin_COLUMN()
#define MH_HERE \
    mh::place { __builtin_LINE(), __builtin_COLUMN() }

namespace mh {
struct place {
    int line, column;
};
template <class T> struct component { typedef T type; };
template <class T, int N> struct component<metal::vec<T, N>> { typedef T type; };

/* uniform: an argument that has to be the same in every lane. */
template <class T>
MH_INLINE const mh_meeting *meet(mh_text what, const T &value, int line, int column, int uniform = -1,
                                 int active = 0) {
#ifndef MH_STRICT /* there T carries an address space */
    typedef typename component<T>::type scalar;
    static_assert(sizeof(scalar) <= 4, "SIMD-group and quad-group functions take no 64-bit types");
    static_assert(!is_same<scalar, bfloat>::value,
                  "SIMD-group and quad-group functions take no bfloat: as_type<ushort> does");
#endif
    return mh_meet(what, active, uniform, &value, sizeof(T), line, column);
}
/* For functions that are defined for whatever lanes are active. */
template <class T>
MH_INLINE const mh_meeting *meet_active(mh_text what, const T &value, int line, int column,
                                        int uniform = -1) {
    return meet(what, value, line, column, uniform, 1);
}
/* The argument must be the same in all lanes of the group; it is compared in SIMD-groups only. */
MH_INLINE int alike(unsigned argument, unsigned width) { return width == MH_SIMD_WIDTH ? int(argument) : -1; }
/* The number of a lane of a group of `width`. */
MH_INLINE unsigned valid(mh_text what, unsigned lane, unsigned width, int line, int column) {
    if (lane >= width) mh_undefined(what, "reads lane", lane, "which does not exist", line, column);
    return lane;
}
template <class T> MH_INLINE T from(const mh_meeting *m, unsigned lane) {
    T value;
    __builtin_memcpy(&value, m->slot[lane % MH_SIMD_WIDTH], sizeof value);
    return value;
}
MH_INLINE void check_fill(mh_text what, unsigned delta, unsigned modulo, int line, int column) {
    const bool power = (modulo & (modulo - 1)) == 0;
    if (modulo < 2 || modulo > MH_SIMD_WIDTH || !power) {
        mh_undefined(what, "has the modulo", modulo, "which is not 2, 4, 8, 16 or 32", line, column);
    }
    if (delta > modulo) mh_undefined(what, "has the delta", delta, "above its modulo", line, column);
}
/* c ? a : b; written so, a and b may lie in different address spaces. */
template <class T> MH_INLINE T choose(bool c, T a, T b) { return c ? a : b; }
/* The first lane of a group of lanes that took part. */
MH_INLINE unsigned first(const mh_meeting *m, unsigned base, unsigned width) {
    unsigned lane = base;
    while (lane < base + width && !(m->present >> lane & 1)) lane++;
    return lane;
}
MH_INLINE bool present(const mh_meeting *m, unsigned lane) { return m->present >> lane & 1; }
template <class T>
MH_INLINE T from_present(const mh_meeting *m, mh_text what, unsigned lane, int line, int column) {
    if (!present(m, lane)) mh_undefined(what, "reads lane", lane, "which takes no part in it", line, column);
    return from<T>(m, lane);
}

/* Over the lanes [first, first + count) that exist, as a tree, so that every lane gets the same bits. */
template <class T, class F> MH_INLINE T reduce(const mh_meeting *m, unsigned first, unsigned count, F f) {
    T values[MH_SIMD_WIDTH];
    unsigned n = 0;
    for (unsigned i = first; i < first + count; i++) {
        if (present(m, i)) values[n++] = from<T>(m, i);
    }
    while (n > 1) {
        unsigned out = 0;
        for (unsigned i = 0; i + 1 < n; i += 2) values[out++] = f(values[i], values[i + 1]);
        if (n & 1) values[out++] = values[n - 1];
        n = out;
    }
    return values[0];
}
template <class T, class F> MH_INLINE T scan(const mh_meeting *m, T start, unsigned end, F f) {
    T sum = start;
    for (unsigned i = 0; i < end; i++) {
        if (present(m, i)) sum = f(sum, from<T>(m, i));
    }
    return sum;
}

#define MH_COMBINE(name, expression)                                                        \
    struct name {                                                                           \
        template <class T> MH_INLINE T operator()(T a, T b) const { return T(expression); } \
    };
MH_COMBINE(add, a + b)
MH_COMBINE(multiply, a *b)
MH_COMBINE(greater, metal::max(a, b))
MH_COMBINE(less, metal::min(a, b))
MH_COMBINE(conjunction, a &b)
MH_COMBINE(disjunction, a | b)
MH_COMBINE(exclusive, a ^ b)
#undef MH_COMBINE
} // namespace mh

namespace metal {

enum class mem_flags : uint {
    mem_none = MH_MEM_NONE,
    mem_device = MH_MEM_DEVICE,
    mem_threadgroup = MH_MEM_THREADGROUP,
    mem_texture = MH_MEM_TEXTURE,
    mem_threadgroup_imageblock = 8,
    mem_object_data = 16,
};
constexpr mem_flags operator|(mem_flags a, mem_flags b) { return mem_flags(uint(a) | uint(b)); }

MH_INLINE void threadgroup_barrier(mem_flags flags, MH_PLACE) {
    mh_threadgroup_barrier(uint(flags), line, column);
}
MH_INLINE void simdgroup_barrier(mem_flags flags, MH_PLACE) {
    mh_simdgroup_barrier(uint(flags), line, column);
}

#define MH_REDUCTION(name, combine)                                                                \
    template <class T> MH_INLINE T simd_##name(T data, MH_PLACE) {                                 \
        return mh::reduce<T>(mh::meet_active("simd_" #name, data, line, column), 0, MH_SIMD_WIDTH, \
                             mh::combine());                                                       \
    }                                                                                              \
    template <class T> MH_INLINE T quad_##name(T data, MH_PLACE) {                                 \
        const mh_meeting *m = mh::meet_active("quad_" #name, data, line, column);                  \
        return mh::reduce<T>(m, m->lane & ~3u, 4, mh::combine());                                  \
    }
MH_REDUCTION(sum, add)
MH_REDUCTION(product, multiply)
MH_REDUCTION(max, greater)
MH_REDUCTION(min, less)
MH_REDUCTION(and, conjunction)
MH_REDUCTION(or, disjunction)
MH_REDUCTION(xor, exclusive)

#define MH_PREFIX(name, combine, start)                                                            \
    template <class T> MH_INLINE T simd_prefix_inclusive_##name(T data, MH_PLACE) {                \
        const mh_meeting *m = mh::meet_active("simd_prefix_inclusive_" #name, data, line, column); \
        return mh::scan<T>(m, T(start), m->lane + 1, mh::combine());                               \
    }                                                                                              \
    template <class T> MH_INLINE T simd_prefix_exclusive_##name(T data, MH_PLACE) {                \
        const mh_meeting *m = mh::meet_active("simd_prefix_exclusive_" #name, data, line, column); \
        return mh::scan<T>(m, T(start), m->lane, mh::combine());                                   \
    }
MH_PREFIX(sum, add, 0)
MH_PREFIX(product, multiply, 1)

/* Shuffles. `base` and `width` are the lane's quad or the whole SIMD-group. */
#define MH_SHUFFLE(group, base, width, name, argument, call, result)                   \
    template <class T> MH_INLINE T group##_##name(T data, ushort argument, MH_PLACE) { \
        mh_text what = #group "_" #name;                                               \
        const mh_meeting *m = mh::call;                                                \
        return result;                                                                 \
    }
#define MH_RELATIVE(group, base, width, name, result) \
    MH_SHUFFLE(group, base, width, name, by, meet(what, data, line, column, mh::alike(by, width)), result)
#define MH_SHUFFLES(group, base, width)                                                                     \
    MH_SHUFFLE(group, base, width, shuffle, lane, meet(what, data, line, column),                           \
               mh::from<T>(m, (base) + mh::valid(what, lane, width, line, column)))                         \
    MH_SHUFFLE(                                                                                             \
        group, base, width, broadcast, lane, meet_active(what, data, line, column, mh::alike(lane, width)), \
        mh::from_present<T>(m, what, (base) + mh::valid(what, lane, width, line, column), line, column))    \
    template <class T> MH_INLINE T group##_broadcast_first(T data, MH_PLACE) {                              \
        const mh_meeting *m = mh::meet_active(#group "_broadcast_first", data, line, column);               \
        return mh::from<T>(m, mh::first(m, base, width));                                                   \
    }                                                                                                       \
    MH_RELATIVE(group, base, width, shuffle_xor,                                                            \
                mh::from<T>(m, (base) + mh::valid(what, (m->lane - (base)) ^ by, width, line, column)))     \
    MH_RELATIVE(group, base, width, shuffle_up,                                                             \
                mh::choose(m->lane - (base) < by, data, mh::from<T>(m, m->lane - by)))                      \
    MH_RELATIVE(group, base, width, shuffle_down,                                                           \
                mh::choose(m->lane - (base) + by >= width, data, mh::from<T>(m, m->lane + by)))             \
    MH_RELATIVE(group, base, width, shuffle_rotate_up,                                                      \
                mh::from<T>(m, (base) + ((m->lane - by) & (width - 1))))                                    \
    MH_RELATIVE(group, base, width, shuffle_rotate_down,                                                    \
                mh::from<T>(m, (base) + ((m->lane + by) & (width - 1))))
MH_SHUFFLES(simd, 0u, 32u)
MH_SHUFFLES(quad, m->lane & ~3u, 4u)
#undef MH_SHUFFLES
#undef MH_RELATIVE
#undef MH_SHUFFLE

/* The lanes below (above) the shuffled ones take the filling's last (first) lanes. */
template <class T>
MH_INLINE T simd_shuffle_and_fill_up(T data, T filling, ushort delta, ushort modulo, MH_PLACE) {
    mh_text what = "simd_shuffle_and_fill_up";
    mh::check_fill(what, delta, modulo, line, column);
    const mh_meeting *m = mh::meet(what, data, line, column, delta * 64 + modulo);
    const unsigned at = m->lane % modulo, base = m->lane - at;
    T moved = mh::from<T>(m, base + (at - delta) % modulo);
    const mh_meeting *f = mh::meet(what, filling, line, column);
    return mh::choose(at < delta, mh::from<T>(f, base + at + modulo - delta), moved);
}
template <class T>
MH_INLINE T simd_shuffle_and_fill_down(T data, T filling, ushort delta, ushort modulo, MH_PLACE) {
    mh_text what = "simd_shuffle_and_fill_down";
    mh::check_fill(what, delta, modulo, line, column);
    const mh_meeting *m = mh::meet(what, data, line, column, delta * 64 + modulo);
    const unsigned at = m->lane % modulo, base = m->lane - at;
    T moved = mh::from<T>(m, base + (at + delta) % modulo);
    const mh_meeting *f = mh::meet(what, filling, line, column);
    return mh::choose(at + delta >= modulo, mh::from<T>(f, base + at + delta - modulo), moved);
}
/* A place of its own type, which no number for the modulo becomes. */
template <class T>
MH_INLINE T simd_shuffle_and_fill_up(T data, T filling, ushort delta, mh::place at = MH_HERE) {
    return simd_shuffle_and_fill_up(data, filling, delta, ushort(MH_SIMD_WIDTH), at.line, at.column);
}
template <class T>
MH_INLINE T simd_shuffle_and_fill_down(T data, T filling, ushort delta, mh::place at = MH_HERE) {
    return simd_shuffle_and_fill_down(data, filling, delta, ushort(MH_SIMD_WIDTH), at.line, at.column);
}

/* Votes. */
struct simd_vote {
    typedef ulong vote_t;
    vote_t bits;
    explicit constexpr simd_vote(vote_t v = 0) : bits(v) {}
    explicit constexpr operator vote_t() const { return bits; }
    constexpr bool all() const { return bits == 0xFFFFFFFFul; }
    constexpr bool any() const { return bits != 0; }
};
MH_INLINE simd_vote simd_ballot(bool predicate, MH_PLACE) {
    const mh_meeting *m = mh::meet_active("simd_ballot", predicate, line, column);
    ulong bits = 0;
    for (unsigned i = 0; i < MH_SIMD_WIDTH; i++) {
        if (mh::present(m, i) && mh::from<bool>(m, i)) bits |= 1ul << i;
    }
    return simd_vote(bits);
}
MH_INLINE simd_vote simd_active_threads_mask(MH_PLACE) {
    return simd_vote(mh::meet_active("simd_active_threads_mask", true, line, column)->present);
}
MH_INLINE bool simd_all(bool predicate, MH_PLACE) {
    return mh::reduce<bool>(mh::meet_active("simd_all", predicate, line, column), 0, MH_SIMD_WIDTH,
                            mh::conjunction());
}
MH_INLINE bool simd_any(bool predicate, MH_PLACE) {
    return mh::reduce<bool>(mh::meet_active("simd_any", predicate, line, column), 0, MH_SIMD_WIDTH,
                            mh::disjunction());
}
MH_INLINE bool simd_is_first(MH_PLACE) {
    const mh_meeting *m = mh::meet_active("simd_is_first", true, line, column);
    return m->lane == mh::first(m, 0, MH_SIMD_WIDTH);
}
MH_INLINE bool quad_all(bool predicate, MH_PLACE) {
    const mh_meeting *m = mh::meet_active("quad_all", predicate, line, column);
    return mh::reduce<bool>(m, m->lane & ~3u, 4, mh::conjunction());
}
MH_INLINE bool quad_any(bool predicate, MH_PLACE) {
    const mh_meeting *m = mh::meet_active("quad_any", predicate, line, column);
    return mh::reduce<bool>(m, m->lane & ~3u, 4, mh::disjunction());
}

} // namespace metal
#endif
