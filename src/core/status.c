/* status.c - status names, and the calling thread's error line and kernel name. */
#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char error_line[512];
static _Thread_local char kernel_name[96];

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

const char *cc1d_last_kernel(void) { return kernel_name; }

cc1d_status cc1d_fail(cc1d_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error_line, sizeof error_line, format, arguments);
    va_end(arguments);
    return status;
}

/* Appends text at *end, leaving room for the terminator; no printf, because every call passes here. */
static void append(char **end, const char *text) {
    const char *limit = kernel_name + sizeof kernel_name - 1;
    while (*text && *end < limit) *(*end)++ = *text++;
}

void cc1d_ran_nothing(void) { strcpy(kernel_name, "none"); }

void cc1d_ran(const char *backend, const char *implementation, const char *kernel) {
    char *end = kernel_name;
    append(&end, backend);
    append(&end, "/");
    append(&end, implementation);
    append(&end, "/");
    append(&end, kernel);
    *end = '\0';
}
