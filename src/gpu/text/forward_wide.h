/* forward_wide.h - y for any width and any strides: a thread computes one step of one channel and reads its
 * taps.
 *
 * Reads x from device memory about once (a SIMD-group's taps overlap in the cache); writes y once. */
#ifdef CC1D_KERNEL_FORWARD_WIDE
ENTRY(cc1d_forward_wide, cc1d_conv_params) {
    START_NEXT_LAUNCH();
    cc1d_wide_place m;
    if (!cc1d_find_wide(p, GROUP_X * CC1D_GROUP_SIZE + THREAD, GROUP_Y, m)) return;
    cc1d_wide_sequence q = cc1d_wide_sequence_of(SEQ_ARGUMENT p, m.b, m.t);
    cc1d_real y = 0;
    if (!q.padding) {
        y = cc1d_activate(cc1d_wide_acc(WIDE_ARGUMENTS p, q, m));
#if CC1D_HAS_POST_GATE
        y *= X_TO_REAL(LOAD(cc1d_x_t, post_gate + ELEMENT(p.post_gate, m.b, m.d, m.t)));
#endif
#if CC1D_HAS_RESIDUAL
        y += X_TO_REAL(LOAD(cc1d_x_t, side + ELEMENT(p.side, m.b, m.d, m.t)));
#endif
    }
    STORE(cc1d_x_t, target + ELEMENT(p.target, m.b, m.d, m.t), X_FROM_REAL(y));
}
#endif
