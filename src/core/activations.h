/* activations.h - every activation once: its constant CC1D_ACTIVATION_<constant> in causal_conv1d.h, and what
 * users call it.
 *
 * Names, validation and the CPU kernels are made from this list. What an activation computes stands in
 * cpu/arith.h (the definition of its bits), cpu/text/kernel_arith.h (the same in vectors) and
 * gpu/text/activation.h. */
#ifndef CC1D_ACTIVATIONS_H
#define CC1D_ACTIVATIONS_H

#include "causal_conv1d.h"

/* DO(constant, name), in the order of the constants' values. */
#define CC1D_EACH_ACTIVATION(DO) \
    DO(NONE, "none")             \
    DO(SILU, "silu")

/* DO(constant, name): what users call them too. */
#define CC1D_EACH_ACTIVATION_ALIAS(DO) DO(SILU, "swish")

#endif
