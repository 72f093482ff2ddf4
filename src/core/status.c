/* status.c - status names, and the calling thread's error line and kernel name. */
#include "status.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char error_line[512];
static _Thread_local const char *kernel_parts[3]; /* static storage: every call passes here */

const char *cc1d_version(void) { return CC1D_VERSION_STRING; }

const char *cc1d_status_name(cc1d_status status) {
    switch (status) {
    case CC1D_OK: return "CC1D_OK";
    case CC1D_ERROR_TYPE: return "CC1D_ERROR_TYPE";
    case CC1D_ERROR_VALUE: return "CC1D_ERROR_VALUE";
    case CC1D_ERROR_UNSUPPORTED: return "CC1D_ERROR_UNSUPPORTED";
    case CC1D_ERROR_MEMORY: return "CC1D_ERROR_MEMORY";
    case CC1D_ERROR_DEVICE: return "CC1D_ERROR_DEVICE";
    }
    return "unknown status";
}

const char *cc1d_last_error(void) { return error_line; }

const char *cc1d_last_kernel(void) {
    static _Thread_local char name[96];
    if (!kernel_parts[0]) return "";
    if (!kernel_parts[1]) return kernel_parts[0];
    snprintf(name, sizeof name, "%s/%s/%s", kernel_parts[0], kernel_parts[1], kernel_parts[2]);
    return name;
}

cc1d_status cc1d_fail(cc1d_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error_line, sizeof error_line, format, arguments);
    va_end(arguments);
    return status;
}

void cc1d_ran_nothing(void) { cc1d_ran("none", NULL, NULL); }

void cc1d_ran(const char *backend, const char *implementation, const char *kernel) {
    kernel_parts[0] = backend;
    kernel_parts[1] = implementation;
    kernel_parts[2] = kernel;
}
