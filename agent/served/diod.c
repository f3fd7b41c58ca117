/* Loaded into diod(8) before all else (LD_PRELOAD): it makes of it a server that has its tree as its
 * root, and no capability but those that files need.
 *
 * What is at /shares becomes the root, so that names lead nowhere else. As each share is a mount of
 * its own there, and diod walks into no mount, all files are said to be of one device; those of one
 * server are so, but for what was mounted below a share before. Built without a C library: what it
 * calls is found in diod's. */
#include <fcntl.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FAILED = 71, DEVICE = 1 }; /* sysexits.h */
#define KEPT                                                                                        \
    (1U << CAP_CHOWN | 1U << CAP_DAC_OVERRIDE | 1U << CAP_FOWNER | 1U << CAP_FSETID                 \
     | 1U << CAP_SETGID | 1U << CAP_SETUID | 1U << CAP_MKNOD)

__attribute__((constructor)) static void confine(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct sets[2] = { { .effective = KEPT, .permitted = KEPT } };
    bool done = chroot("/shares") == 0 && chdir("/") == 0;
    for (unsigned long each = 0; done && prctl(PR_CAPBSET_READ, each, 0, 0, 0) >= 0; each++)
        done = prctl(PR_CAPBSET_DROP, each, 0, 0, 0) == 0;
    if (!done || syscall(SYS_capset, &header, sets) < 0) {
        static const char why[] = "diod cannot be confined\n";
        if (write(STDERR_FILENO, why, sizeof why - 1) < 0)
            _exit(FAILED + 1);
        _exit(FAILED);
    }
}

static int look(const char *path, struct stat *status, int flags)
{
    int found = (int)syscall(SYS_newfstatat, AT_FDCWD, path, status, flags);
    if (found == 0)
        status->st_dev = DEVICE;
    return found;
}

int stat(const char *path, struct stat *status)
{
    return look(path, status, 0);
}

int lstat(const char *path, struct stat *status)
{
    return look(path, status, AT_SYMLINK_NOFOLLOW);
}

/* As programs have it that were built before glibc 2.33. */
int __xstat(int version, const char *path, struct stat *status);
int __lxstat(int version, const char *path, struct stat *status);

int __xstat(int version, const char *path, struct stat *status)
{
    (void)version;
    return look(path, status, 0);
}

int __lxstat(int version, const char *path, struct stat *status)
{
    (void)version;
    return look(path, status, AT_SYMLINK_NOFOLLOW);
}
