/* params.h - the one struct of 32-bit words that a GPU kernel gets after its buffers; read by the host and by
 * the kernels.
 *
 * Only plain ints, so that the layout is the same in C, MSL and CUDA C++, and on Metal travels as one list of
 * integers. */
#ifndef CC1D_PARAMS_H
#define CC1D_PARAMS_H

typedef struct cc1d_long {
    int lo, hi; /* the two halves of a 64-bit value */
} cc1d_long;

/* Strides, in elements, of a tensor's canonical dimensions (problem.h). */
typedef struct cc1d_place {
    cc1d_long stride[3];
} cc1d_place;

/* n / divisor == (mulhi(n, multiplier) + n) >> shift for every 0 <= n < 2^31. */
typedef struct cc1d_divisor {
    int divisor, multiplier, shift;
} cc1d_divisor;

/* forward, backward, and the states at either end of a sequence. "target" is what the kernel writes in x's
 * shape (out, dx), "side" the second input of that shape (residual, dout), "last" the states after a sequence
 * (dfinal_states).
 * Of states alone: "target" has their rows, "side" is positions, "last" out_indices; `batch` counts them,
 * `run` the rows of the target, `parts` the steps of a row of initial_states. */
typedef struct cc1d_conv_params {
    cc1d_place x, target, side, initial, last, weight, bias, seq;
    int batch, dim, seqlen, width, sequences;
    /* A grid row (y) is a slab: this many batch rows (or rows of states), in `units` work units. How a unit's
     * index splits, fastest first: by `inner`, then `middle`, then the row of the slab. */
    int slab, units;
    cc1d_divisor inner;  /* time path: segments of a row; channel path: tiles of a time step's packs */
    cc1d_divisor middle; /* time path: channels; channel path: groups of runs of time steps */
    int run; /* time path: blocks of a segment; channel path: time steps of a run; wide path: of a part */
    int lane_bits;                            /* time path: log2 of a team's lanes */
    int column_bits;                          /* channel path: log2 of a group's packs of channels */
    int parts;                                /* weight gradients: partial sums per channel and tap */
    cc1d_long partials;                       /* where they start in scratch, in elements */
    int x_offset, target_offset, side_offset; /* elements from a 16-byte boundary to the first one */
#if !defined(CC1D_SPECIALISED) || CC1D_POOL
    /* Of a pool of states, whose strides are `initial`; only a launch that has one passes what follows. */
    cc1d_place indices, out_indices, has_initial;
    int rows, state_len;
    cc1d_long pad_slot_id;
#endif
#if !defined(CC1D_SPECIALISED) || CC1D_HAS_PRE_GATE || CC1D_HAS_POST_GATE
    /* Of gates; only a launch that has one passes what follows. */
    cc1d_place pre_gate, post_gate, dpre_gate, dpost_gate;
    int pre_gate_offset, post_gate_offset, dpre_gate_offset, dpost_gate_offset; /* as x_offset */
#endif
} cc1d_conv_params;

typedef struct cc1d_reduce_params {
    cc1d_place dweight, dbias;
    int columns; /* dim * (width + 1) */
    int width, parts;
    int taps_together; /* whether the sums of a channel lie together, not those of a tap */
    cc1d_long partials;
} cc1d_reduce_params;

typedef struct cc1d_update_params {
    cc1d_place x, out, state, weight, bias, cache, indices, accepted, out_indices, seq, parents, side, nodes;
    int batch, dim, seqlen, width, state_len;
    int sequences, total; /* ragged: rows, of at most seqlen steps each, and steps of x */
    int rows;             /* of conv_state */
    int column_bits;      /* log2 of a group's packs of channels */
    cc1d_long pad_slot_id;
    int slab, units;    /* as above; rows are batch rows, or a group's bundles of them */
    cc1d_divisor inner; /* channels, or tiles of a group's packs of them */
#if !defined(CC1D_SPECIALISED) || CC1D_HAS_PRE_GATE || CC1D_HAS_POST_GATE
    cc1d_place pre_gate, post_gate;
#endif
} cc1d_update_params;

#endif
