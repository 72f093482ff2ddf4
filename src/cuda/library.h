/* library.h - shared libraries opened at run time, and function tables filled from them. */
#ifndef CC1D_CUDA_LIBRARY_H
#define CC1D_CUDA_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

/* One entry of a function table: where the address of the symbol goes. */
typedef struct cc1d_symbol {
    const char *name;
    size_t offset; /* of the function pointer in the table */
    bool required; /* else the pointer is NULL where the library lacks it */
} cc1d_symbol;

/* Opens a library by its absolute path, or by its name on the loader's search path; a path that is relative
 * to the current directory is refused. NULL: why has the reason. Never closed again. */
void *cc1d_library_open(const char *path, char *why, size_t size);

/* Fills the table. Returns NULL, or the name of the first required symbol that is missing. */
const char *cc1d_library_resolve(void *library, const cc1d_symbol *symbols, int count, void *table);

/* Writes the path of the file that a function of an opened library came from; false if unknown. */
bool cc1d_library_path(const void *table_entry, char *path, size_t size);

#endif
