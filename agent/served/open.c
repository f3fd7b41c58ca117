/* Loaded into what serves files to guests (virtfs-proxy-helper(1), diod(8)): named pipes are not
 * opened. Who opens one waits for its other end, and whoever shares a directory with a guest can put
 * one in the place of a file that the guest has: its server would wait for good, and with it all of
 * the guest that asks for files. What pipes are for is the guest's own kernel's.
 *
 * Built without a C library: what it calls is found in the server's. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#undef open64 /* some C libraries have no other name for it, glibc has */

enum { PAUSE = 10, PAUSES = 4500 }; /* milliseconds; /proc/sys/fs/lease-break-time is 45 s */

/* Open without waiting for a pipe; but who has a lease is given time to let go, as open(2) does. */
static int opened(const char *path, int flags, mode_t mode)
{
    int fd = -1;
    for (int turn = 0; turn < PAUSES; turn++) {
        fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_NONBLOCK, mode);
        if (fd >= 0 || errno != EWOULDBLOCK || flags & O_NONBLOCK)
            break;
        poll(NULL, 0, PAUSE);
    }
    return fd;
}

static int open_file(const char *path, int flags, mode_t mode)
{
    struct stat status;
    int fd = opened(path, flags, mode);
    if (fd < 0 || flags & O_PATH)
        return fd;
    if (syscall(SYS_fstat, fd, &status) == 0 && S_ISFIFO(status.st_mode)) {
        close(fd);
        errno = ENXIO;
        return -1;
    }
    if (!(flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    return fd;
}

static mode_t mode_of(int flags, va_list further)
{
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(further, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list further;
    va_start(further, flags);
    mode_t mode = mode_of(flags, further);
    va_end(further);
    return open_file(path, flags, mode);
}

/* One and the same here: neither has a limit of 2 GiB. */
extern __typeof__(open) open64 __attribute__((alias("open")));
