#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "task.h"

enum { ROOM = 1 << 17, MOST_AT_ONCE = 1 << 30 };

static int source = -1;
static unsigned char room[ROOM];
static size_t at, end;
static bool splices;

void source_open(int fd)
{
    source = fd;
    splices = true;
    at = end = 0;
}

/* What a read or splice gave: 0 only at the stream's own end, which the agent leaves open as long
 * as it has not stopped the work. -2: try again. */
static ssize_t checked(ssize_t count, const char *name, struct failure *failure)
{
    if (task_is_stopped())
        return fail(failure, CANCELLED, "it was stopped");
    if (count < 0 && errno == EINTR)
        return -2;
    return count < 0 ? fail_errno(failure, "%s", name) : count;
}

static int truncated(struct failure *failure)
{
    return fail(failure, INVALID, "unexpected end of the tar");
}

/* Have something to take: 1, 0 at the end, -1. */
static int fill(struct failure *failure)
{
    if (at < end)
        return 1;
    ssize_t count;
    while ((count = checked(read(source, room, sizeof room), "the tar", failure)) == -2)
        ;
    at = 0;
    end = count > 0 ? (size_t)count : 0;
    return count > 0 ? 1 : (int)count;
}

static size_t take(uint64_t size)
{
    size_t part = size < end - at ? (size_t)size : end - at;
    at += part;
    return part;
}

int source_read(void *data, size_t size, struct failure *failure)
{
    for (size_t done = 0; done < size;) {
        int more = fill(failure);
        if (more <= 0)
            return more == 0 && done > 0 ? truncated(failure) : more;
        const unsigned char *from = room + at;
        size_t part = take(size - done);
        memcpy((char *)data + done, from, part);
        done += part;
    }
    return 1;
}

int source_skip(uint64_t size, struct failure *failure)
{
    while (size > 0) {
        int more = fill(failure);
        if (more <= 0)
            return more == 0 ? truncated(failure) : -1;
        size -= take(size);
    }
    return 0;
}

int source_pour(int fd, uint64_t size, const char *name, struct failure *failure)
{
    while (size > 0) {
        if (at == end && size >= ROOM && splices) {
            size_t most = size < MOST_AT_ONCE ? (size_t)size : MOST_AT_ONCE;
            ssize_t count = splice(source, NULL, fd, NULL, most, 0);
            if (count < 0 && errno == EINVAL) {
                splices = false; /* a file system that does not take it */
                continue;
            }
            if ((count = checked(count, name, failure)) == -2)
                continue;
            if (count <= 0)
                return count == 0 ? truncated(failure) : -1;
            size -= (uint64_t)count;
            continue;
        }
        int more = fill(failure);
        if (more <= 0)
            return more == 0 ? truncated(failure) : -1;
        const unsigned char *from = room + at;
        size_t part = take(size);
        if (!write_all(fd, from, part))
            return fail_errno(failure, "%s", name);
        size -= part;
    }
    return 0;
}

int source_end(struct failure *failure)
{
    int more;
    while ((more = fill(failure)) > 0)
        at = end;
    return more;
}
