/* fake_nvrtc.c - an NVRTC whose machine code is the text itself, see fake.h. */
#define _POSIX_C_SOURCE 200809L
#include "fake.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, COMPILATION = 6 };

typedef struct program {
    char *source;
    char option[2][64];
    const char *log;
    char *code;
} program;

extern fake_nvrtc fake_nvrtc_state;
fake_nvrtc fake_nvrtc_state = {.major = 13, .newest = 120};
#define STATE fake_nvrtc_state

static pthread_mutex_t record_lock = PTHREAD_MUTEX_INITIALIZER;
static const int known[] = {75, 80, 90, 120};

/* The functions of NVRTC, by the names and types of its interface. */
const char *nvrtcGetErrorString(int error);
int nvrtcVersion(int *major, int *minor);
int nvrtcGetNumSupportedArchs(int *count);
int nvrtcGetSupportedArchs(int *list);
int nvrtcCreateProgram(void **made, const char *source, const char *name, int headers,
                       const char *const *texts, const char *const *names);
int nvrtcDestroyProgram(void **p);
int nvrtcCompileProgram(void *p, int count, const char *const *options);
int nvrtcGetProgramLogSize(void *p, size_t *size);
int nvrtcGetProgramLog(void *p, char *log);
int nvrtcGetCUBINSize(void *p, size_t *size);
int nvrtcGetCUBIN(void *p, char *code);
int nvrtcGetPTXSize(void *p, size_t *size);
int nvrtcGetPTX(void *p, char *code);

const char *nvrtcGetErrorString(int error) {
    return error == COMPILATION ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR_OTHER";
}

int nvrtcVersion(int *major, int *minor) {
    *major = STATE.major;
    *minor = 1;
    return SUCCESS;
}

int nvrtcGetNumSupportedArchs(int *count) {
    *count = 0;
    while (*count < (int)(sizeof known / sizeof *known) && known[*count] <= STATE.newest) {
        ++*count;
    }
    return SUCCESS;
}

int nvrtcGetSupportedArchs(int *list) {
    int count;
    nvrtcGetNumSupportedArchs(&count);
    memcpy(list, known, (size_t)count * sizeof *list);
    return SUCCESS;
}

int nvrtcCreateProgram(void **made, const char *source, const char *name, int headers,
                       const char *const *texts, const char *const *names) {
    (void)name;
    (void)texts;
    (void)names;
    program *p = calloc(1, sizeof *p);
    p->source = strdup(source);
    *made = p;
    return headers ? COMPILATION : SUCCESS;
}

int nvrtcDestroyProgram(void **p) {
    program *gone = *p;
    free(gone->source);
    free(gone->code);
    free(gone);
    *p = NULL;
    return SUCCESS;
}

int nvrtcCompileProgram(void *p, int count, const char *const *options) {
    program *compiled = p;
    atomic_fetch_add(&STATE.compiles, 1);
    atomic_fetch_add(&STATE.compiling, 1);
    while (strstr(compiled->source, "SLOW") && STATE.hold) {
        sched_yield();
    }
    atomic_fetch_sub(&STATE.compiling, 1);
    if (strstr(compiled->source, "BROKEN")) {
        compiled->log = "note: a first line\nkernel(7): error: BROKEN is undefined\nmore\n";
        return COMPILATION;
    }
    compiled->log = "";
    for (int i = 0; i < 2 && i < count; i++) {
        snprintf(compiled->option[i], sizeof compiled->option[i], "%s", options[i]);
    }
    pthread_mutex_lock(&record_lock);
    memcpy(STATE.option, compiled->option, sizeof STATE.option);
    pthread_mutex_unlock(&record_lock);
    compiled->code = strdup(compiled->source);
    return SUCCESS;
}

int nvrtcGetProgramLogSize(void *p, size_t *size) {
    *size = strlen(((program *)p)->log) + 1;
    return SUCCESS;
}

int nvrtcGetProgramLog(void *p, char *log) {
    strcpy(log, ((program *)p)->log);
    return SUCCESS;
}

/* Machine code exists only for a real architecture. */
static int give(const program *p, const char *kind, size_t *size, char *code) {
    if (!strstr(p->option[0], kind)) {
        return COMPILATION;
    }
    if (size) {
        *size = strlen(p->code) + 1;
    }
    if (code) {
        strcpy(code, p->code);
    }
    return SUCCESS;
}

int nvrtcGetCUBINSize(void *p, size_t *size) { return give(p, "=sm_", size, NULL); }

int nvrtcGetCUBIN(void *p, char *code) { return give(p, "=sm_", NULL, code); }

int nvrtcGetPTXSize(void *p, size_t *size) { return give(p, "=compute_", size, NULL); }

int nvrtcGetPTX(void *p, char *code) { return give(p, "=compute_", NULL, code); }
