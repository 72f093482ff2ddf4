/* reduce.h - weight gradients: adds the partial sums of a channel and tap, in a fixed order, and rounds once.
 *
 * Reads scratch[part][tap][channel], or [part][channel][tap] with taps_together: either way a part is a
 * row of columns. A group owns 32 columns; its 8 rows of threads take every 8th part, each with a compensated
 * sum (the error does not grow with the number of parts), and the rows are added in order. */
#ifdef CC1D_KERNEL_BACKWARD_REDUCE
#define COLUMNS 32
#define ROWS (CC1D_GROUP_SIZE / COLUMNS)
ENTRY(cc1d_backward_reduce, cc1d_reduce_params) {
    SHARED cc1d_real sums[CC1D_GROUP_SIZE];
    WAIT_FOR_EARLIER_LAUNCH();
    uint column = GROUP_X * COLUMNS + THREAD % COLUMNS, taps = (uint)p.width + 1;
    uint row = THREAD / COLUMNS;
    cc1d_real sum = 0, lost = 0;
    if (column < (uint)p.columns) {
        DEVICE const cc1d_real *first = scratch + LONG(p.partials) + column;
#pragma unroll 8
        for (uint part = row; part < (uint)p.parts; part += ROWS) {
            cc1d_real value = first[(cc1d_offset_t)part * (uint)p.columns] - lost;
            cc1d_real total = sum + value;
            lost = (total - sum) - value;
            lost = lost == lost ? lost : (cc1d_real)0; /* infinity - infinity */
            sum = total;
        }
    }
    sums[THREAD] = sum;
    BARRIER();
    if (row == 0 && column < (uint)p.columns) {
        for (uint other = 1; other < ROWS; other++) sum += sums[other * COLUMNS + THREAD];
        uint dim = (uint)p.columns / taps;
        uint d = p.taps_together ? column / taps : column % dim;
        uint k = p.taps_together ? column % taps : column / dim;
#if CC1D_HAS_DWEIGHT
        if (k < (uint)p.width)
            STORE(cc1d_weight_t, dweight + d * STRIDE(p.dweight, 0) + k * STRIDE(p.dweight, 1),
                  WEIGHT_FROM_REAL(sum));
#endif
#if CC1D_HAS_DBIAS
        if (k == (uint)p.width) STORE(cc1d_bias_t, dbias + d * STRIDE(p.dbias, 0), BIAS_FROM_REAL(sum));
#endif
    }
}
#endif
