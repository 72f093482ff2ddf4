/* activation.h - the activation and its derivative (docs/numerics.md); all that a kernel knows of either.
 *
 * CC1D_ACTIVATION is a number of cc1d_activation: 0 none, 1 silu. */

#if CC1D_ACTIVATION == 0
#define SLOPE_SHOWS_INFINITY 0
FN cc1d_real cc1d_activate(cc1d_real acc) { return acc; }
/* The derivative of activate at acc, times dout. */
FN cc1d_real cc1d_activation_gradient(cc1d_real dout, cc1d_real acc) { return dout; }

#elif CC1D_ACTIVATION == 1
/* Where a tap is infinite, so is the acc of its own step, and the slope is no number. So are then the
 * gradients of the channel's weights, whatever the taps are multiplied by elsewhere. */
#define SLOPE_SHOWS_INFINITY 1
/* silu is acc * s with s = 1 / (1 + e), e = e^-acc; slope, its derivative, is s * (1 + acc * (1 - s)). There
 * 1 - s is e * s: 1 minus a rounded s has lost the bits that large acc multiplies. Where e is infinite s is
 * 0, and fmin turns their product, a NaN, into the 1 that 1 - s is. */

#if CC1D_X_DTYPE == 3
FN cc1d_real cc1d_silu(cc1d_real acc) { return acc / (1.0 + exp(-acc)); }
FN cc1d_real cc1d_slope(cc1d_real acc) {
    cc1d_real e = exp(-acc), s = 1.0 / (1.0 + e);
    return s * fma(acc, fmin(e * s, 1.0), 1.0);
}
#elif CC1D_X_DTYPE == 0
/* e^-acc / 4 within 1.01 ulp: e^r * 2^n with |r| <= ln2 / 2. e^r = 1 + r + r^2 q(r), q minimax of degree 4,
 * relative error 2^-28. n comes from adding 1.5 * 2^23, which leaves it in the low bits. ln2 is split so that
 * n * 0.693359375 is exact. -acc is held in [-86.6, 90.2]. There n is -125, whose 2^(n-2) has an exponent
 * field of zeros, and 130, whose has one of all ones: 0 and infinity, as 1 + e^-acc sees it. */
FN float cc1d_quarter_exp_of_minus(float acc) {
    float x = fmin(fmax(-acc, -86.6f), 90.2f);
    float shifted = fma(x, 1.44269504f, 12582912.0f);
    float n = shifted - 12582912.0f;
    float r = fma(n, 2.12194440e-4f, fma(n, -0.693359375f, x));
    float q = fma(r, 0.0013814599f, 0.008368717f);
    q = fma(r, q, 0.04166839f);
    q = fma(r, q, 0.16666521f);
    q = fma(r, q, 0.49999994f);
    float e = fma(r * r, q, r) + 1.0f;
    return e * AS_FLOAT((AS_UINT(shifted) << 23) + 0x3e800000u);
}
/* value / d, r being 1 / d within 3 ulp, within 0.5 ulp + 2^-40 by one correction step. Where the step is not
 * finite (value or d infinite) the plain product already is the limit: inf, -0, or NaN for -inf; where it is
 * 0 the product has the right sign. */
FN float cc1d_corrected_quotient(float value, float d, float r) {
    float y = value * r;
    float rest = fma(-y, d, value);
    return fabs(rest) > 0.0f ? fma(rest, r, y) : y;
}
/* Within 2.3 ulp. d and acc are a quarter, so that the reciprocal is a normal number wherever e^-acc is
 * finite. A GPU that flushes subnormals gives 0 for |acc| < 2^-124, and the product without its correction
 * (3 ulp) for |y| < 2^-101, where the step is subnormal. */
FN float cc1d_silu(float acc) {
    float d = cc1d_quarter_exp_of_minus(acc) + 0.25f;
    return cc1d_corrected_quotient(acc * 0.25f, d, cc1d_reciprocal_approximate(d));
}
/* q = e / 4, d = (1 + e) / 4, r = 4 s: the quotient is s, q * r is 1 - s. Errors in units of 2^-24, relative:
 * 2.1 of q, which moves s by e / (1 + e) of it and 1 - s by 1 / (1 + e) of it; 1 of d in both; 2 of r, in
 * 1 - s alone; 1 of each of the two products, the quotient and the fma. In all 10.1, 5 eps of
 * s * (1 + |acc| (1 - s)). Flushed, it is 0 for acc < -87, where it is below 2^-118. */
FN float cc1d_slope(float acc) {
    float q = cc1d_quarter_exp_of_minus(acc);
    float d = q + 0.25f;
    float r = cc1d_reciprocal(d);
    return cc1d_corrected_quotient(0.25f, d, r) * fma(acc, fmin(q * r, 1.0f), 1.0f);
}
#else
/* 16-bit results need 2^-12; the approximations have 2^-21 (by Metal's specification 2^-15.2 where acc < -50
 * and the result is below 1e-20), and the rounding of acc * log2(e) costs at most 2^-17 where the result is
 * in range. e^-acc is scaled by 2^-24, so r = 2^24 s is a normal number until the result is below the
 * smallest 16-bit number (acc = -105). acc * r is subnormal only where the result is too, so a GPU that
 * flushes subnormals loses no normal result; it would overflow for large acc, which are their own silu: s is
 * 1 - 2^-92 there. */
FN cc1d_real cc1d_silu(cc1d_real acc) {
    float r =
        cc1d_reciprocal_approximate(cc1d_exp2_approximate(fma(acc, -1.44269504f, -24.0f)) + 5.96046448e-8f);
    return acc > 64.0f ? acc : acc * r * 5.96046448e-8f;
}
/* Within 2^-16 of s * (1 + |acc| (1 - s)), by Metal's specification 2^-15 where acc < -40. Flushed, it is 0
 * for acc < -87, where it is below 2^-118. */
FN cc1d_real cc1d_slope(cc1d_real acc) {
#if CC1D_HAS_POST_GATE /* whose gradient takes silu: both are made of the same e / 2^24 and 2^24 s */
    float e = cc1d_exp2_approximate(fma(acc, -1.44269504f, -24.0f));
    float s = cc1d_reciprocal_approximate(e + 5.96046448e-8f);
    return s * 5.96046448e-8f * fma(acc, fmin(e * s, 1.0f), 1.0f);
#else
    float e = cc1d_exp2_approximate(acc * -1.44269504f);
    float s = cc1d_reciprocal_approximate(1.0f + e);
    return s * fma(acc, fmin(e * s, 1.0f), 1.0f);
#endif
}
#endif
FN cc1d_real cc1d_activate(cc1d_real acc) { return cc1d_silu(acc); }
FN cc1d_real cc1d_activation_gradient(cc1d_real dout, cc1d_real acc) { return dout * cc1d_slope(acc); }
#endif
