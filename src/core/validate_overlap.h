/* validate_overlap.h - no output may overlap itself or another tensor of the call. */
#ifndef CC1D_VALIDATE_OVERLAP_H
#define CC1D_VALIDATE_OVERLAP_H

#include "problem.h"
#include "status.h"

/* CC1D_ERROR_VALUE if an output of the problem overlaps itself or anything else. Tensors with equal strides
 * (slices of one wider tensor) are decided exactly; others overlap where their address ranges do. On
 * Metal tensors of one buffer are compared, by their offsets in it. Of an update, out may be x itself. */
cc1d_status cc1d_check_overlap(const cc1d_problem *problem);

#endif
