/* Loaded into the kernel of a medium machine (LD_PRELOAD): it lets this set the registers of its
 * processes where the processor has more of them than User Mode Linux knows of.
 *
 * PTRACE_SETREGSET takes the whole of them or nothing (Linux, arch/x86/kernel/fpu/regset.c,
 * `xstateregs_set`). The kernel of Debian 12 has room for 2696 bytes (arch/x86/um/user-offsets.c),
 * and processors with AMX (Intel's since Sapphire Rapids) have 8 KiB more: its first process would be
 * killed as it begins. What is cut off is the state of features that a process has to ask the host
 * for first (arch_prctl(2), ARCH_REQ_XCOMP_PERM), which a guest's cannot. Built without a C library:
 * what it calls is found in the kernel's. */
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MOST = 1 << 16, FEATURES = 512 }; /* where the header of XSAVE has which there are */
#define KNOWN 0x2ffULL /* the features in the first 2696 bytes: from the x87 to PKRU */

static long call(int request, pid_t pid, void *address, void *data)
{
    return syscall(SYS_ptrace, (long)request, (long)pid, address, data);
}

/* The kernel has one thread, and little room on its stacks. */
static long set_state(pid_t pid, struct iovec *given)
{
    static _Alignas(64) unsigned char whole[MOST];
    static size_t size;
    uint64_t features;
    if (size == 0) {
        struct iovec all = { .iov_base = whole, .iov_len = sizeof whole };
        if (call(PTRACE_GETREGSET, pid, (void *)NT_X86_XSTATE, &all) < 0)
            return -1;
        size = all.iov_len;
        memset(whole, 0, sizeof whole);
    }
    if (given->iov_len >= size)
        return call(PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, given);
    memcpy(whole, given->iov_base, given->iov_len);
    memcpy(&features, whole + FEATURES, sizeof features);
    features &= KNOWN;
    memcpy(whole + FEATURES, &features, sizeof features);
    struct iovec all = { .iov_base = whole, .iov_len = size };
    return call(PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, &all);
}

long ptrace(int request, ...)
{
    va_list given;
    va_start(given, request);
    pid_t pid = va_arg(given, pid_t);
    void *address = va_arg(given, void *), *data = va_arg(given, void *);
    va_end(given);
    if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE)
        return set_state(pid, data);
    /* The C library's gives the word that was read (ptrace(2), "C library/kernel differences"). */
    long word = 0;
    bool peeks = request >= PTRACE_PEEKTEXT && request <= PTRACE_PEEKUSER;
    long done = call(request, pid, address, peeks ? &word : data);
    if (done < 0 || !peeks)
        return done;
    errno = 0;
    return word;
}
