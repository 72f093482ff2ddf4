/* Atomic types and functions. Threads run one at a time, so the plain operation is atomic; what the
 * harness adds is the bounds check and the traffic, and that atomics do not race with each other. */
#ifndef MH_ATOMIC_H
#define MH_ATOMIC_H

namespace metal {

enum memory_order { memory_order_relaxed };

template <class T> struct atomic { T mh_value; };
typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<bool> atomic_bool;
typedef atomic<float> atomic_float;
typedef atomic<ulong> atomic_ulong;

/* Not instrumented: mh_atomic_access has checked the access. */
#define MH_ATOMIC inline __attribute__((no_sanitize("address"), noinline))

template <class T> MH_ATOMIC T atomic_load_explicit(const volatile atomic<T> *object, memory_order) {
    mh_atomic_access(object, sizeof(T), MH_ATOMIC_LOAD, __builtin_return_address(0));
    return object->mh_value;
}
template <class T>
MH_ATOMIC void atomic_store_explicit(volatile atomic<T> *object, typename mh::identity<T>::type value,
                                     memory_order) {
    mh_atomic_access(object, sizeof(T), MH_ATOMIC_STORE, __builtin_return_address(0));
    object->mh_value = value;
}
template <class T>
MH_ATOMIC bool
atomic_compare_exchange_weak_explicit(volatile atomic<T> *object, typename mh::identity<T>::type *expected,
                                      typename mh::identity<T>::type desired, memory_order, memory_order) {
    mh_atomic_access(object, sizeof(T), MH_ATOMIC_UPDATE, __builtin_return_address(0));
    const T old = object->mh_value;
    const bool same = __builtin_memcmp(&old, expected, sizeof(T)) == 0;
    if (same) {
        object->mh_value = desired;
    } else {
        *expected = old;
    }
    return same;
}

#define MH_FETCH(name, expression)                                                                     \
    template <class T>                                                                                 \
    MH_ATOMIC T atomic_##name##_explicit(volatile atomic<T> *object, typename mh::identity<T>::type b, \
                                         memory_order) {                                               \
        mh_atomic_access(object, sizeof(T), MH_ATOMIC_UPDATE, __builtin_return_address(0));            \
        const T a = object->mh_value;                                                                  \
        object->mh_value = T(expression);                                                              \
        return a;                                                                                      \
    }
MH_FETCH(exchange, b)
MH_FETCH(fetch_add, a + b)
MH_FETCH(fetch_sub, a - b)
MH_FETCH(fetch_and, a &b)
MH_FETCH(fetch_or, a | b)
MH_FETCH(fetch_xor, a ^ b)
MH_FETCH(fetch_max, a < b ? b : a)
MH_FETCH(fetch_min, b < a ? b : a)
#undef MH_FETCH

} // namespace metal
#endif
