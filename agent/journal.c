#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "machine.h"

/* After each path, so that they can be read from the end. */
struct note {
    struct timespec time;
    uint32_t kind, size;
};

enum { ROOM = 1 << 16, MOST_ENTRY = PATH_MAX + sizeof(struct note) };

static int file = -1;
static off_t written;
static char waiting[ROOM];
static size_t used;

static int flush(void)
{
    if (file < 0)
        file = openat(machine.upper, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
        file = memfd_create("journal", MFD_CLOEXEC);
    if (file < 0)
        return -1;
    for (size_t at = 0; at < used;) {
        ssize_t count = pwrite(file, waiting + at, used - at, written + (off_t)at);
        if (count < 0 && errno != EINTR)
            return -1;
        at += count > 0 ? (size_t)count : 0;
    }
    written += (off_t)used;
    used = 0;
    return 0;
}

int journal_reserve(void)
{
    return ROOM - used < MOST_ENTRY ? flush() : 0;
}

void journal_add(enum journal_kind kind, const char *path, struct timespec time)
{
    struct note note = { time, kind, (uint32_t)strlen(path) };
    memcpy(waiting + used, path, note.size);
    memcpy(waiting + used + note.size, &note, sizeof note);
    used += note.size + sizeof note;
}

/* Read what is before an offset, from the file or from what waits. */
static bool read_before(off_t end, void *data, size_t size)
{
    off_t from = end - (off_t)size;
    if (from >= written) {
        memcpy(data, waiting + (from - written), size);
        return true;
    }
    return from >= 0 && pread(file, data, size, from) == (ssize_t)size;
}

void journal_backwards(enum journal_kind kind, void (*work)(char *path, struct timespec time))
{
    char path[PATH_MAX];
    struct note note;
    for (off_t end = written + (off_t)used; end > 0; end -= (off_t)(note.size + sizeof note)) {
        if (!read_before(end, &note, sizeof note) || note.size >= sizeof path
            || !read_before(end - (off_t)sizeof note, path, note.size))
            return;
        path[note.size] = 0;
        if (note.kind == kind)
            work(path, note.time);
    }
}
