/* validate_shape.h - the shapes that arguments must have, from the letters of their table. */
#ifndef CC1D_VALIDATE_SHAPE_H
#define CC1D_VALIDATE_SHAPE_H

#include "arguments.h"
#include "status.h"

/* The letters of an argument's shape in this call: what has x's shape is (total, D) in an update with
 * cu_seqlens. */
const char *cc1d_letters_of(const cc1d_arguments *arguments, const cc1d_argument *argument);

/* Checks the shape of an argument that is there, and takes from it the sizes that it sets. */
cc1d_status cc1d_take_shape(cc1d_problem *problem, const cc1d_arguments *arguments,
                            const cc1d_argument *argument);

#endif
