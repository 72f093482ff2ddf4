/* status.h - the calling thread's error line and kernel name. */
#ifndef CC1D_STATUS_H
#define CC1D_STATUS_H

#include "causal_conv1d.h"

#if defined(__GNUC__)
#define CC1D_PRINTF(line, first) __attribute__((format(printf, line, first)))
#else
#define CC1D_PRINTF(line, first)
#endif

/* Sets the thread's error line and returns status, so that a check is one return statement. */
cc1d_status cc1d_fail(cc1d_status status, const char *format, ...) CC1D_PRINTF(2, 3);

/* Records the kernel that a call ran, as "<backend>/<implementation>/<kernel>", in static storage. */
void cc1d_ran(const char *backend, const char *implementation, const char *kernel);

/* Records that nothing had to run. */
void cc1d_ran_nothing(void);

#endif
