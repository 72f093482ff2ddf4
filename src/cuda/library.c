/* library.c - shared libraries opened at run time. */
#if !defined(_WIN32) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* dladdr */
#endif
#include "library.h"

#include <stdio.h>
#include <string.h>

#if defined(_WIN32)

void *cc1d_library_open(const char *path, char *why, size_t size) {
    snprintf(why, size, "%s: this build cannot open libraries at run time", path);
    return NULL;
}

static void *find(void *library, const char *name) {
    (void)library;
    (void)name;
    return NULL;
}

bool cc1d_library_path(const void *table_entry, char *path, size_t size) {
    (void)table_entry;
    (void)path;
    (void)size;
    return false;
}

#else

#include <dlfcn.h>

void *cc1d_library_open(const char *path, char *why, size_t size) {
    if (strchr(path, '/') && *path != '/') {
        snprintf(why, size, "%s: expected an absolute path", path);
        return NULL;
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *reason = dlerror();
        snprintf(why, size, "%s", reason ? reason : path);
    }
    return library;
}

static void *find(void *library, const char *name) { return dlsym(library, name); }

bool cc1d_library_path(const void *table_entry, char *path, size_t size) {
    void *address;
    memcpy(&address, table_entry, sizeof address);
    Dl_info found;
    if (!dladdr(address, &found) || !found.dli_fname) {
        return false;
    }
    return snprintf(path, size, "%s", found.dli_fname) < (int)size;
}

#endif

const char *cc1d_library_resolve(void *library, const cc1d_symbol *symbols, int count, void *table) {
    for (int i = 0; i < count; i++) {
        void *address = find(library, symbols[i].name);
        if (!address && symbols[i].required) {
            return symbols[i].name;
        }
        /* By bytes: C has no conversion from an object pointer to a function pointer. */
        memcpy((char *)table + symbols[i].offset, &address, sizeof address);
    }
    return NULL;
}
