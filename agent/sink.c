#include "sink.h"

#include <errno.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

enum { ROOM = 1 << 17, MOST_AT_ONCE = 1 << 30 };

static int target = -1;
static unsigned char waiting[ROOM];
static size_t used;

void sink_open(int fd)
{
    target = fd;
    used = 0;
}

int sink_flush(void)
{
    if (!write_all(target, waiting, used))
        return -1;
    used = 0;
    return 0;
}

int sink_write(const void *data, size_t size)
{
    const unsigned char *at = data;
    while (size > 0) {
        size_t part = size < ROOM - used ? size : ROOM - used;
        memcpy(waiting + used, at, part);
        used += part;
        at += part;
        size -= part;
        if (used == ROOM && sink_flush() < 0)
            return -1;
    }
    return 0;
}

int sink_zeros(uint64_t size)
{
    while (size > 0) {
        size_t part = size < ROOM - used ? (size_t)size : ROOM - used;
        memset(waiting + used, 0, part);
        used += part;
        size -= part;
        if (used == ROOM && sink_flush() < 0)
            return -1;
    }
    return 0;
}

/* Read into the buffer: what is small is not worth a call of its own, and some files of the
 * kernel's can only be read. */
static ssize_t read_some(int source, uint64_t offset, uint64_t size)
{
    size_t part = size < ROOM - used ? (size_t)size : ROOM - used;
    ssize_t count = pread(source, waiting + used, part, (off_t)offset);
    if (count > 0)
        used += (size_t)count;
    return used == ROOM && sink_flush() < 0 ? -1 : count;
}

int sink_copy(int source, uint64_t offset, uint64_t size)
{
    bool passes = size >= ROOM;
    if (passes && sink_flush() < 0)
        return -1;
    while (size > 0) {
        off_t from = (off_t)offset;
        ssize_t count = passes ? sendfile(target, source, &from,
                                          size < MOST_AT_ONCE ? (size_t)size : MOST_AT_ONCE)
                               : read_some(source, offset, size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EINVAL && passes) {
            passes = false;
            continue;
        }
        if (count < 0)
            return -1;
        if (count == 0)
            break;
        offset += (uint64_t)count;
        size -= (uint64_t)count;
    }
    return sink_zeros(size);
}
