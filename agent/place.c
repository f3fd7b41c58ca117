#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

enum { MOST_STEPS = 40 };

/* Take the last part off a path; the root stays empty. */
static void climb(struct text *path)
{
    const char *slash = path->size > 0 ? memrchr(path->data, '/', path->size) : NULL;
    text_cut(path, slash != NULL ? (size_t)(slash - path->data) : 0);
}

int place_clean(const char *path, char clean[static PATH_MAX], bool *climbs)
{
    size_t used = 0;
    *climbs = false;
    for (const char *at = path; *at != 0;) {
        size_t length = strcspn(at, "/");
        if (length == 2 && at[0] == '.' && at[1] == '.') {
            *climbs |= used == 0;
            while (used > 0 && clean[--used] != '/')
                ;
        } else if (length > 0 && !(length == 1 && at[0] == '.')) {
            if (used + 1 + length >= PATH_MAX) {
                errno = ENAMETOOLONG;
                return -1;
            }
            clean[used++] = '/';
            memcpy(clean + used, at, length);
            used += length;
        }
        at += length;
        at += strspn(at, "/");
    }
    if (used == 0)
        clean[used++] = '/';
    clean[used] = 0;
    return 0;
}

static bool ends_with(const char *path, size_t size, const char *end)
{
    size_t length = strlen(end);
    return size >= length && memcmp(path + size - length, end, length) == 0;
}

int place_find(int root, const char *path, struct place *place, struct failure *failure)
{
    size_t size = strlen(path);
    bool slashed = ends_with(path, size, "/");
    while (size > 0 && path[size - 1] == '/')
        size--;
    bool dotted = ends_with(path, size, "/.");
    bool climbs;
    if (place_clean(path, place->clean, &climbs) < 0)
        return fail_errno(failure, "%.64s…", path);
    char *last = strrchr(place->clean, '/') + 1;
    place->shown = dotted ? "." : *last != 0 ? last : "/";
    place->is_directory = dotted || slashed;
    place->name = place->is_directory ? "" : last;
    if (place->is_directory) {
        place->directory = open_in(root, place->clean, O_RDONLY | O_DIRECTORY);
        if (place->directory < 0 || fstat(place->directory, &place->status) < 0)
            return fail_errno(failure, "%s", path);
        return 0;
    }
    char first = *last;
    *last = 0;
    place->directory = open_in(root, place->clean, O_RDONLY | O_DIRECTORY);
    *last = first;
    char some;
    if (place->directory < 0
        || fstatat(place->directory, *last != 0 ? last : ".", &place->status,
                   AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0
        /* /proc/self leads nowhere for who is not among the machine's processes. */
        || (S_ISLNK(place->status.st_mode) && readlinkat(place->directory, last, &some, 1) < 0))
        return fail_errno(failure, "%s", path);
    return 0;
}

/* Read a symbolic link; false for anything else, and nothing. */
static bool read_link(int root, const char *directory, const char *name, size_t size,
                      char target[static PATH_MAX])
{
    char link[NAME_MAX + 1];
    if (size > NAME_MAX)
        return false;
    memcpy(link, name, size);
    link[size] = 0;
    int opened = open_in(root, directory, O_PATH | O_DIRECTORY);
    ssize_t length = opened < 0 ? -1 : readlinkat(opened, link, target, PATH_MAX - 1);
    if (opened >= 0)
        close(opened);
    if (length >= 0)
        target[length] = 0;
    return length >= 0;
}

/* Give the path that a path leads to, as far as there is something. It is only told, and never
 * used: by then the links may be others. */
static bool resolve(int root, const char *path, struct text *done)
{
    struct text waiting = { 0 };
    int links = 0;
    bool whole = text_add(&waiting, path, strlen(path));
    for (size_t at = 0; whole && at < waiting.size;) {
        char target[PATH_MAX];
        const char *name = waiting.data + at;
        size_t length = strcspn(name, "/");
        at += length + (name[length] == '/');
        if (length == 0 || (length == 1 && name[0] == '.'))
            continue;
        if (length == 2 && name[0] == '.' && name[1] == '.') {
            climb(done);
        } else if (links < MOST_STEPS
                   && read_link(root, done->size > 0 ? done->data : "/", name, length, target)) {
            struct text next = { 0 };
            links++;
            if (target[0] == '/')
                text_cut(done, 0);
            whole = text_add(&next, target, strlen(target)) && text_add(&next, "/", 1)
                    && text_add(&next, waiting.data + at, waiting.size - at);
            text_free(&waiting);
            waiting = next;
            at = 0;
        } else {
            whole = text_add(done, "/", 1) && text_add(done, name, length);
        }
    }
    text_free(&waiting);
    return whole;
}

void put_place(struct writer *writer, int root, const struct place *place)
{
    const struct stat *status = &place->status;
    struct text target = { 0 };
    unsigned char time[8];
    put_text(writer, NAME, place->shown);
    put_number(writer, SIZE, (uint64_t)status->st_size);
    put_number(writer, MODE, status->st_mode);
    set64(time, (uint64_t)status->st_mtim.tv_sec * 1000000000u + (uint64_t)status->st_mtim.tv_nsec);
    put_bytes(writer, MTIME, time, sizeof time);
    if (S_ISLNK(status->st_mode) && resolve(root, place->clean, &target))
        put_text(writer, LINK, target.size > 0 ? target.data : "/");
    text_free(&target);
}
