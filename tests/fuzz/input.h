/* input.h - the fuzzer's bytes as numbers, and random numbers made of a few of them. */
#ifndef CC1D_FUZZ_INPUT_H
#define CC1D_FUZZ_INPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct fuzz_input {
    const uint8_t *at, *end;
} fuzz_input;

/* Past the end every number is 0, which each reader below makes its plainest choice. */
static inline uint64_t fuzz_bits(fuzz_input *in, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes && in->at < in->end; i++) value |= (uint64_t)*in->at++ << (8 * i);
    return value;
}

/* From 0 to count - 1. */
static inline int64_t fuzz_below(fuzz_input *in, int64_t count) {
    return count > 0 ? (int64_t)(fuzz_bits(in, count > 256 ? 2 : 1) % (uint64_t)count) : 0;
}

/* True for one byte value in n. */
static inline bool fuzz_rarely(fuzz_input *in, int n) { return fuzz_below(in, n) == n - 1; }

/* A number at which something ends, or any number. */
static inline int64_t fuzz_any(fuzz_input *in) {
    static const int64_t ends[] = {
        0,         -1,        1,         2,         3,         4,
        7,         255,       1 << 16,   INT32_MAX, INT32_MIN, (int64_t)INT32_MAX + 1,
        1LL << 40, 1LL << 60, 1LL << 61, 1LL << 62, INT64_MAX, INT64_MIN};
    enum { ENDS = sizeof ends / sizeof *ends };
    const int64_t choice = fuzz_below(in, ENDS + 4);
    if (choice >= ENDS) return (int64_t)fuzz_bits(in, choice == ENDS ? 8 : 2);
    return (int64_t)((uint64_t)ends[choice] + (fuzz_bits(in, 1) & 3u));
}

static inline uint64_t fuzz_random(uint64_t *state) { /* splitmix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

#endif
