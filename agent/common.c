#include "common.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int fail(struct failure *failure, enum status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    failure->status = status;
    failure->error = 0;
    vsnprintf(failure->text, sizeof failure->text, format, arguments);
    va_end(arguments);
    return -1;
}

static enum status status_of(int number)
{
    switch (number) {
    case ENOENT:
        return NOT_FOUND;
    case EROFS:
    case EACCES:
    case EPERM:
        return FORBIDDEN;
    case ENOSPC:
    case EDQUOT:
        return NO_SPACE;
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case EISDIR:
        return INVALID;
    case EOPNOTSUPP:
    case ENOSYS:
        return UNSUPPORTED;
    default:
        return FAILED;
    }
}

const char *reason(int number)
{
    static char text[128];
    snprintf(text, sizeof text, "%s", strerror(number));
    text[0] = (char)tolower((unsigned char)text[0]);
    return text;
}

int fail_errno(struct failure *failure, const char *format, ...)
{
    int number = errno;
    va_list arguments;
    va_start(arguments, format);
    failure->status = status_of(number);
    failure->error = number;
    int used = vsnprintf(failure->text, sizeof failure->text, format, arguments);
    va_end(arguments);
    if (used >= 0 && (size_t)used < sizeof failure->text)
        snprintf(failure->text + used, sizeof failure->text - (size_t)used, ": %s", reason(number));
    errno = number;
    return -1;
}

void note(const char *format, ...)
{
    char line[512] = "<3>heft-agent: ";
    size_t head = strlen(line);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + head, sizeof line - head - 1, format, arguments);
    va_end(arguments);
    strcat(line, "\n");
    int log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
    int target = log < 0 ? STDERR_FILENO : log;
    if (write(target, line, strlen(line)) < 0)
        errno = 0; /* nobody is left to be told */
    if (log >= 0)
        close(log);
}

void panic(const char *what)
{
    note("%s: %s", what, strerror(errno));
    exit(1); /* of PID 1: the kernel panics, and the machine's monitor sees that */
}

void *allocate(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL)
        panic("no memory");
    return memory;
}

void keep_only(const int *kept, int count)
{
    unsigned int from = STDERR_FILENO + 1;
    for (;;) {
        unsigned int next = UINT_MAX;
        for (int at = 0; at < count; at++)
            if (kept[at] >= (int)from && (unsigned int)kept[at] < next)
                next = (unsigned int)kept[at];
        if (from < next)
            syscall(SYS_close_range, from, next == UINT_MAX ? UINT_MAX : next - 1, 0);
        if (next == UINT_MAX)
            return;
        from = next + 1;
    }
}

bool write_all(int fd, const void *data, size_t size)
{
    const char *at = data;
    while (size > 0) {
        ssize_t count = write(fd, at, size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return false;
        at += count;
        size -= (size_t)count;
    }
    return true;
}

bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool done = write_all(fd, text, strlen(text));
    int number = errno;
    close(fd);
    errno = number;
    return done;
}

ssize_t read_file_at(int directory, const char *path, char *buffer, size_t size)
{
    int fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    size_t used = 0;
    ssize_t count;
    while (used + 1 < size && (count = read(fd, buffer + used, size - 1 - used)) > 0)
        used += (size_t)count;
    close(fd);
    buffer[used] = 0;
    return (ssize_t)used;
}

ssize_t read_file(const char *path, char *buffer, size_t size)
{
    return read_file_at(AT_FDCWD, path, buffer, size);
}

int open_in(int root, const char *path, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned int)flags | O_CLOEXEC,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    for (int attempt = 0;; attempt++) {
        int fd = (int)syscall(SYS_openat2, root, path[0] != 0 ? path : "/", &how, sizeof how);
        /* EAGAIN: something was renamed meanwhile, and the kernel cannot tell that the path did
         * not lead out; it says to try again. */
        if (fd >= 0 || errno != EAGAIN || attempt == 64)
            return fd;
    }
}

int make_directories(int root, const char *path)
{
    char whole[PATH_MAX];
    if (strlen(path) >= sizeof whole) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int found = open_in(root, path, O_PATH | O_DIRECTORY);
    if (found >= 0 || errno != ENOENT)
        return found;
    /* From the root down: what is a link there is followed by the next step's look at it. */
    strcpy(whole, path);
    int above = open_in(root, "/", O_PATH | O_DIRECTORY);
    for (char *at = whole; above >= 0 && *at != 0;) {
        at += strspn(at, "/");
        size_t length = strcspn(at, "/");
        if (length == 0)
            break;
        char after = at[length];
        at[length] = 0;
        int made = mkdirat(above, at, 0755);
        int number = errno;
        close(above);
        if (made < 0 && number != EEXIST) {
            errno = number;
            return -1;
        }
        above = open_in(root, whole, O_PATH | O_DIRECTORY);
        at += length;
        *at = after;
    }
    return above;
}
