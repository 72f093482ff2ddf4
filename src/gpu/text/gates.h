/* gates.h - the gates around a convolution: y = post_gate * act(conv(pre_gate * x)).
 *
 * A tap is pre_gate * x, rounded once to x's dtype, wherever it is formed: a lane's neighbours and the states
 * see the same bits. */
#if CC1D_HAS_PRE_GATE
FN cc1d_x_t cc1d_gated(cc1d_x_t step, cc1d_x_t gate) {
#if CC1D_X_DTYPE == 1
    return (cc1d_x_t)cc1d_multiply_halves(step, gate);
#elif CC1D_X_DTYPE == 2
    return (cc1d_x_t)cc1d_multiply_bfloats(step, gate);
#else
    return step * gate;
#endif
}

FN cc1d_pack cc1d_gated_pack(cc1d_pack v, cc1d_pack gate) {
    cc1d_pack product = cc1d_zero_pack();
#if ITEM_BYTES == 2
#pragma unroll
    for (int i = 0; i < PACK_WORDS; i++)
#if CC1D_X_DTYPE == 1
        product.word[i] = cc1d_multiply_halves(v.word[i], gate.word[i]);
#else
        product.word[i] = cc1d_multiply_bfloats(v.word[i], gate.word[i]);
#endif
#else
#pragma unroll
    for (int c = 0; c < VEC; c++)
        product = cc1d_pack_with(product, c, cc1d_pack_bits(v, c) * cc1d_pack_bits(gate, c));
#endif
    return product;
}
#define PRE_GATE_PARAMETER DEVICE const cc1d_x_t *pre_gate,
#define PRE_GATE_ARGUMENT pre_gate,
#else
#define PRE_GATE_PARAMETER
#define PRE_GATE_ARGUMENT
#endif

/* What taps are made of, as it was loaded: several loads are in flight before the first product. */
struct cc1d_raw {
    cc1d_pack x;
#if CC1D_HAS_PRE_GATE
    cc1d_pack gate;
#endif
};

FN cc1d_raw cc1d_zero_raw() {
    cc1d_raw raw;
    raw.x = cc1d_zero_pack();
#if CC1D_HAS_PRE_GATE
    raw.gate = cc1d_zero_pack();
#endif
    return raw;
}

FN cc1d_pack cc1d_taps_of(cc1d_raw raw) {
#if CC1D_HAS_PRE_GATE
    return cc1d_gated_pack(raw.x, raw.gate);
#else
    return raw.x;
#endif
}

/* A pack of dout, and of the gate that its steps went through. */
struct cc1d_given {
    cc1d_pack dout;
#if CC1D_HAS_POST_GATE
    cc1d_pack gate;
#endif
};

FN cc1d_given cc1d_nothing_given() {
    cc1d_given given;
    given.dout = cc1d_zero_pack();
#if CC1D_HAS_POST_GATE
    given.gate = cc1d_zero_pack();
#endif
    return given;
}

/* An element of a tensor of x's shape. */
#define ELEMENT(place, b, d, t) ((b)*STRIDE(place, 0) + (d)*STRIDE(place, 1) + (uint)(t)*STRIDE(place, 2))

/* The tap of step t, loaded where it is used. */
#if CC1D_HAS_PRE_GATE
#define TAP_BITS(b, d, t)                                 \
    cc1d_gated(LOAD(cc1d_x_t, x + ELEMENT(p.x, b, d, t)), \
               LOAD(cc1d_x_t, pre_gate + ELEMENT(p.pre_gate, b, d, t)))
#else
#define TAP_BITS(b, d, t) LOAD(cc1d_x_t, x + ELEMENT(p.x, b, d, t))
#endif

/* What backward finds beside the weights' gradients: that of a gated tap, from which dx and dpre_gate come.
 */
#define SENDS_BACK (CC1D_HAS_DX || CC1D_HAS_DPRE_GATE)
