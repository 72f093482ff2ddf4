/* How a launch ends early: a failed check, or a signal from an access that no check saw. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mh.h"

static struct sigaction old_segv, old_bus;
static _Alignas(16) uint8_t signal_stack[64 * 1024];
static stack_t old_stack;

const char *mh_where(void) {
    static char text[200];
    const mh_thread *t = mh.thread;
    if (!t) {
        return "outside any thread";
    }
    snprintf(text, sizeof text, "thread_position_in_grid (%u,%u,%u), threadgroup (%u,%u,%u), thread %u",
             t->thread_position_in_grid.x, t->thread_position_in_grid.y, t->thread_position_in_grid.z,
             t->threadgroup_position_in_grid.x, t->threadgroup_position_in_grid.y,
             t->threadgroup_position_in_grid.z, t->thread_index_in_threadgroup);
    return text;
}

_Noreturn void mh_fail(int status, const void *pc, const char *format, ...) {
    mh_report *report = mh.report;
    report->status = status;
    report->pc = (uint64_t)(uintptr_t)pc;
    int used = snprintf(report->message, sizeof report->message, "kernel '%s': ", mh.launch->name);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(report->message + used, sizeof report->message - (size_t)used, format, arguments);
    va_end(arguments);
    mh_abandon();
}

static void on_signal(int number, siginfo_t *info, void *context) {
    (void)context;
    if (!mh.thread) { /* not a kernel's doing: give it back to whoever handled it before */
        sigaction(number, number == SIGSEGV ? &old_segv : &old_bus, NULL);
        return;
    }
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    if (mh_overflowed_own_stack(info->si_addr)) {
        mh_fail(MH_FAULT, NULL, "stack overflow: a thread's variables need too much memory (%s)", mh_where());
    }
    mh_fail(MH_FAULT, NULL, "memory fault at %p (%s)", info->si_addr, mh_where());
}

void mh_faults_install(void) {
    stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack};
    sigaltstack(&stack, &old_stack);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &old_segv);
    sigaction(SIGBUS, &action, &old_bus);
}

void mh_faults_remove(void) {
    sigaction(SIGSEGV, &old_segv, NULL);
    sigaction(SIGBUS, &old_bus, NULL);
    sigaltstack(&old_stack, NULL);
}
