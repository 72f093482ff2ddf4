/* driver.h - the CUDA driver (libcuda) as a table of functions, opened on first use.
 *
 * The types are declared here, after the driver's documented binary interface, so that building
 * needs no CUDA header. */
#ifndef CC1D_CUDA_DRIVER_H
#define CC1D_CUDA_DRIVER_H

#include "core/status.h"

#include <stdint.h>

typedef int cu_result; /* 0 is success */
typedef int cu_device;
typedef struct CUctx_st *cu_context;
typedef struct CUmod_st *cu_module;
typedef struct CUfunc_st *cu_function;
typedef struct CUstream_st *cu_stream;

enum { CU_ATTRIBUTE_CAPABILITY_MAJOR = 75, CU_ATTRIBUTE_CAPABILITY_MINOR = 76 };
enum { CU_CAPTURE_MODE_RELAXED = 2 };
enum { CU_LAUNCH_PROGRAMMATIC_SERIALIZATION = 6 };

typedef struct cu_launch_attribute {
    int id;
    union {
        int allowed;
        char size[64];
    } value __attribute__((aligned(8)));
} cu_launch_attribute;

typedef struct cu_launch_config {
    unsigned grid[3], block[3], shared_bytes;
    cu_stream stream;
    cu_launch_attribute *attributes;
    unsigned attribute_count;
} cu_launch_config;

typedef struct cc1d_driver {
    cu_result (*init)(unsigned flags);
    cu_result (*driver_version)(int *version); /* 1000 * major + 10 * minor, of CUDA */
    cu_result (*error_name)(cu_result error, const char **name);
    cu_result (*error_string)(cu_result error, const char **text);
    cu_result (*device_count)(int *count);
    cu_result (*device_get)(cu_device *device, int ordinal);
    cu_result (*device_name)(char *name, int size, cu_device device);
    cu_result (*device_attribute)(int *value, int attribute, cu_device device);
    cu_result (*primary_retain)(cu_context *context, cu_device device);
    cu_result (*context_current)(cu_context *context);
    cu_result (*context_device)(cu_device *device);
    cu_result (*context_push)(cu_context context);
    cu_result (*context_pop)(cu_context *context);
    cu_result (*module_load)(cu_module *module, const void *image);
    cu_result (*module_function)(cu_function *function, cu_module module, const char *name);
    cu_result (*launch)(cu_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                        cu_stream stream, void **arguments, void **extra);
    cu_result (*launch_config)(const cu_launch_config *config, cu_function function, void **arguments,
                               void **extra);                            /* NULL before CUDA 11.8 */
    cu_result (*context_id)(cu_context context, unsigned long long *id); /* NULL before CUDA 12 */
    cu_result (*exchange_capture_mode)(int *mode);                       /* NULL before CUDA 10.1 */
    int version;                                                         /* of CUDA, as above */
} cc1d_driver;

/* The driver, opened and initialised; NULL: why says what is in the way. A failure is not
 * remembered: the next call tries again. Any thread may call it; after the first success it is one
 * load. A child after fork() whose parent had initialised CUDA gets NULL. */
const cc1d_driver *cc1d_driver_get(char *why, size_t size);

/* Sets the error line to the failing call and the driver's name and text for the error. */
cc1d_status cc1d_driver_fail(const cc1d_driver *driver, const char *call, cu_result error);

/* The same, as text. */
void cc1d_driver_describe(const cc1d_driver *driver, const char *call, cu_result error, char *text,
                          size_t size);

#endif
