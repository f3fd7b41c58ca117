/* The mounts of every machine: those that wait for it, and those of its own namespaces. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cgroup.h"
#include "machine.h"
#include "task.h"

struct machine machine = { .upper = -1, .root = -1 };

enum { PLAIN = MS_NOSUID | MS_NODEV | MS_NOEXEC };

/* Docker's default devices (moby, oci/defaults.go; runc, rootfs_linux.go). */
static void make_devices(void)
{
    static const struct {
        const char *name;
        unsigned int major, minor;
    } nodes[] = {
        { "null", 1, 3 }, { "zero", 1, 5 },    { "full", 1, 7 },
        { "tty", 5, 0 },  { "random", 1, 8 },  { "urandom", 1, 9 },
    };
    static const char *const links[][2] = {
        { "pts/ptmx", "ptmx" },           { "/proc/self/fd", "fd" },
        { "/proc/self/fd/0", "stdin" },   { "/proc/self/fd/1", "stdout" },
        { "/proc/self/fd/2", "stderr" },  { "/proc/kcore", "core" },
    };
    char path[64];
    for (size_t at = 0; at < sizeof nodes / sizeof *nodes; at++) {
        snprintf(path, sizeof path, DEVICES "/%s", nodes[at].name);
        mknod(path, S_IFCHR | 0666, makedev(nodes[at].major, nodes[at].minor));
    }
    for (size_t at = 0; at < sizeof links / sizeof *links; at++) {
        snprintf(path, sizeof path, DEVICES "/%s", links[at][1]);
        if (symlink(links[at][0], path) < 0)
            panic(path);
    }
}

void machine_prepare(void)
{
    static const char *const directories[] = { MACHINE, DEVICES, "/files", "/shares" };
    umask(0);
    for (size_t at = 0; at < sizeof directories / sizeof *directories; at++)
        mkdir(directories[at], 0755);
    if (mount("tmpfs", DEVICES, "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k") < 0
        || mkdir(DEVICES "/pts", 0755) < 0 || mkdir(DEVICES "/shm", 01777) < 0
        || mkdir(DEVICES "/mqueue", 0755) < 0
        || mount("devpts", DEVICES "/pts", "devpts", MS_NOSUID | MS_NOEXEC,
                 "newinstance,ptmxmode=0666,mode=0620,gid=5") < 0
        || mount("shm", DEVICES "/shm", "tmpfs", PLAIN, "mode=1777,size=65536k") < 0)
        panic(DEVICES);
    /* Some kernels have none. */
    mount("mqueue", DEVICES "/mqueue", "mqueue", PLAIN, NULL);
    make_devices();
    cgroup_open();
}

static int restrict_kernel(struct failure *failure)
{
    static const char *const paths[] = {
        "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
    };
    for (size_t at = 0; at < sizeof paths / sizeof *paths; at++) {
        const char *path = paths[at];
        if (mount(path, path, NULL, MS_BIND, NULL) < 0) {
            if (errno == ENOENT)
                continue;
            return fail_errno(failure, "%s", path);
        }
        if (mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | PLAIN, NULL) < 0)
            return fail_errno(failure, "%s, read-only", path);
    }
    return 0;
}

/* As runc has it: the terminal is the console too. */
static int show_console(int terminal, struct failure *failure)
{
    char source[32];
    snprintf(source, sizeof source, "/dev/pts/%d", terminal);
    int made = open("/dev/console", O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0666);
    if (made >= 0)
        close(made);
    if (mount(source, "/dev/console", NULL, MS_BIND, NULL) < 0)
        return fail_errno(failure, "/dev/console");
    return 0;
}

int machine_enter(int terminal, struct failure *failure)
{
    bool open = machine.init_system || machine.privileged;
    /* The agent's own root goes below the new one, and is let go. */
    if (chdir(MACHINE) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0
        || chdir("/") < 0)
        return fail_errno(failure, "root");
    if (mount("proc", "/proc", "proc", PLAIN, NULL) < 0)
        return fail_errno(failure, "/proc");
    if (cgroup_descriptor() >= 0
        && mount("cgroup", "/sys/fs/cgroup", "cgroup2", open ? PLAIN : PLAIN | MS_RDONLY, NULL) < 0)
        return fail_errno(failure, "/sys/fs/cgroup");
    if (!open && restrict_kernel(failure) < 0)
        return -1;
    return terminal < 0 ? 0 : show_console(terminal, failure);
}

void machine_leave(void)
{
    if (machine.upper < 0)
        return;
    tasks_end();
    syncfs(machine.upper);
    close(machine.upper);
    if (machine.root >= 0)
        close(machine.root);
    machine.upper = machine.root = -1;
    umount2(MACHINE, MNT_DETACH);
    /* If something still holds it, its journal tells the next mount. */
    if (umount2(UPPER_PLACE, 0) < 0)
        mount(NULL, UPPER_PLACE, NULL, MS_REMOUNT | MS_RDONLY, NULL);
}
