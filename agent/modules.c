#include "modules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "common.h"
#include "machine.h"

#define FETCH "/modprobe"

/* Say whether software translates this code: QEMU's TCG has a name (target/i386/cpu.c). */
static bool is_translated(void)
{
    unsigned int got[4] = { 0 };
#if defined(__x86_64__)
    __cpuid(0x40000000, got[0], got[1], got[2], got[3]);
#endif
    return memcmp(&got[1], "TCGTCGTCGTCG", 12) == 0;
}

/* A processor's instructions for checksums are slower than the kernel's tables, where each of them is
 * a loop over bits. */
static bool is_of_use(const char *name)
{
    return strcmp(name, "crc32c_intel.ko") != 0 || !is_translated();
}

static void load(const char *name, const char *parameters)
{
    char path[256];
    snprintf(path, sizeof path, "/modules/%s", name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || (syscall(SYS_finit_module, file, parameters, 0) < 0 && errno != EEXIST))
        note("module %s: %s", name, reason(errno));
    if (file >= 0)
        close(file);
}

void modules_load(const char *stage)
{
    static char list[16384];
    ssize_t size = read_file("/modules.list", list, sizeof list);
    char *rest = list;
    for (char *line; size > 0 && (line = strsep(&rest, "\n")) != NULL;) {
        char *word = strsep(&line, " ");
        char *name = line != NULL ? strsep(&line, " ") : NULL;
        if (name != NULL && strcmp(word, stage) == 0 && is_of_use(name))
            load(name, line != NULL ? line : "");
    }
}

void modules_serve(void)
{
    if ((symlink("/init", FETCH) < 0 && errno != EEXIST)
        || !write_file("/proc/sys/kernel/modprobe", FETCH))
        note("modules: %s", reason(errno));
}

_Noreturn void modules_fetch(char **argv)
{
    static const char *const programs[] = {
        "/sbin/modprobe", "/usr/sbin/modprobe", "/bin/modprobe", "/usr/bin/modprobe",
    };
    /* The kernel's own processes have the first root of all, where nothing is mounted. */
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    if (chroot("/proc/1/root" MACHINE) == 0 && chdir("/") == 0)
        for (size_t at = 0; at < sizeof programs / sizeof *programs; at++)
            execv(programs[at], argv);
    _exit(1);
}
