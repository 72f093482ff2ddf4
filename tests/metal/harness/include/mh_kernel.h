/* From the runtime's record of one thread to a kernel's typed parameters, and the table of kernels that
 * the compiled library exports. */
#ifndef MH_KERNEL_H
#define MH_KERNEL_H

namespace mh {

#define MH_PLAIN inline __attribute__((no_sanitize("address"), always_inline))

template <class F> struct signature;
template <int I, class A, class... Rest> struct nth { typedef typename nth<I - 1, Rest...>::type type; };
template <class A, class... Rest> struct nth<0, A, Rest...> { typedef A type; };
template <class... A> struct signature<void (*)(A...)> {
    template <int I> using parameter = typename nth<I, A...>::type;
};

/* A buffer parameter is a pointer or a reference to what is bound. */
template <class P> struct bound;
template <class T> struct bound<T *> {
    static constexpr unsigned size = 0; /* how much it uses is known only as it runs */
    static MH_PLAIN T *get(const mh_thread *t, unsigned i) { return static_cast<T *>(t->buffers[i]); }
};
template <> struct bound<void *> {
    static constexpr unsigned size = 0;
    static MH_PLAIN void *get(const mh_thread *t, unsigned i) { return t->buffers[i]; }
};
template <class T> struct bound<T &> {
    static constexpr unsigned size = sizeof(T);
    static MH_PLAIN T &get(const mh_thread *t, unsigned i) { return *static_cast<T *>(t->buffers[i]); }
};

/* A grid parameter is an integer or a vector of two or three. */
template <class P> struct grid {
    static MH_PLAIN P get(unsigned v) { return P(v); }
    static MH_PLAIN P get(const mh_uint3 &v) { return P(v.x); }
};
template <class T> struct grid<metal::vec<T, 2>> {
    static MH_PLAIN metal::vec<T, 2> get(const mh_uint3 &v) {
        metal::vec<T, 2> out;
        out.e[0] = T(v.x), out.e[1] = T(v.y);
        return out;
    }
};
template <class T> struct grid<metal::vec<T, 3>> {
    static MH_PLAIN metal::vec<T, 3> get(const mh_uint3 &v) {
        metal::vec<T, 3> out;
        out.e[0] = T(v.x), out.e[1] = T(v.y), out.e[2] = T(v.z);
        return out;
    }
};
template <class P> struct grid<const P> : grid<P> {};

} // namespace mh

typedef struct mh_kernel {
    void (*entry)(const mh_thread *);
    void (*function)();
    const unsigned *buffer_sizes; /* per buffer parameter: the bytes that must be bound, 0 if unknown */
} mh_kernel;

/* The compiler's table of globals and the red zones around them. */
struct mh_global {
    unsigned long begin, size, padded, name, module, initialised, location, indicator;
};
static const mh_global *mh_globals;
static unsigned long mh_global_count;

extern "C" {
/* The linker's names for the two ends of the loaded image. */
extern __attribute__((visibility("hidden"))) const char __ehdr_start, _end;
__attribute__((visibility("hidden"))) void __asan_init() {}
__attribute__((visibility("hidden"))) void __asan_register_globals(const mh_global *globals,
                                                                   unsigned long n) {
    mh_globals = globals;
    mh_global_count = n;
}
__attribute__((visibility("hidden"))) void __asan_unregister_globals(const mh_global *, unsigned long) {}
__attribute__((visibility("hidden"))) void
__asan_register_elf_globals(unsigned long *, const mh_global *first, const mh_global *last) {
    __asan_register_globals(first, (unsigned long)(last - first));
}
__attribute__((visibility("hidden"))) void __asan_unregister_elf_globals(unsigned long *, const mh_global *,
                                                                         const mh_global *) {}
__attribute__((visibility("default"), no_sanitize("address"))) const mh_global *
mh_image_globals(unsigned long *count) {
    *count = mh_global_count;
    return mh_globals;
}
__attribute__((visibility("default"), no_sanitize("address"))) void mh_image_range(const char **begin,
                                                                                   const char **end) {
    *begin = &__ehdr_start;
    *end = &_end;
}
}
#endif
