/* Conversions between float and half, which clang calls where the processor's own are not enabled. */
#include <stdint.h>
#include <string.h>

#include "mh.h"

float __gnu_h2f_ieee(uint16_t half);
uint16_t __gnu_f2h_ieee(float value);
uint16_t __truncdfhf2(double value);

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float __gnu_h2f_ieee(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    const uint32_t exponent = half >> 10 & 31, fraction = half & 0x3FF;
    if (exponent == 31) {
        return float_of(sign | 0x7F800000 | fraction << 13 | (fraction ? 0x400000 : 0));
    }
    if (exponent == 0) { /* fraction * 2^-24 is exact */
        const float magnitude = (float)fraction * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

/* Rounds to nearest even from the 53-bit significand at once, so that a double is rounded only once. */
uint16_t __truncdfhf2(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint16_t sign = (uint16_t)(bits >> 48 & 0x8000);
    const int exponent = (int)(bits >> 52 & 0x7FF) - 1023;
    uint64_t fraction = bits & 0xFFFFFFFFFFFFFu;
    if (exponent == 1024) {
        return (uint16_t)(sign | 0x7C00 | (fraction ? 0x200 | fraction >> 42 : 0));
    }
    if (exponent < -25) {
        return sign;
    }
    /* Below 2^-14 the unit is fixed at 2^-24: the significand moves further right. */
    const int shift = exponent < -14 ? 42 + (-14 - exponent) : 42;
    const uint32_t biased = exponent < -14 ? 0 : (uint32_t)(exponent + 14);
    fraction |= (uint64_t)1 << 52;
    const uint64_t kept = fraction >> shift;
    const uint64_t rest = fraction - (kept << shift), middle = (uint64_t)1 << (shift - 1);
    /* The leading one carries into the exponent: biased is one too small on purpose. */
    uint64_t result = ((uint64_t)biased << 10) + kept;
    if (rest > middle || (rest == middle && (result & 1))) {
        result++;
    }
    return (uint16_t)(sign | (result < 0x7C00 ? result : 0x7C00));
}

uint16_t __gnu_f2h_ieee(float value) { return __truncdfhf2((double)value); }
