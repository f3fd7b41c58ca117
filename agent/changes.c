/* What the machine has changed of its image: as a list, and as the tar of a layer, in which marks
 * are `.wh.NAME` and `.wh..wh..opq` (OCI image-spec, layer.md). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "files.h"
#include "listing.h"
#include "machine.h"
#include "pack.h"
#include "sink.h"
#include "text.h"
#include "upper.h"

#define MARK ".wh."
#define OPAQUE ".wh..wh..opq"

enum change { CHANGE_MODIFIED = 0, CHANGE_ADDED = 1, CHANGE_DELETED = 2 };
enum { LONGEST_HEADS = 64 };

/* A mount point's making changes the directory it is in. */
static bool has_point(int directory, const char *path)
{
    struct listing listing;
    bool found = false;
    if (listing_read(directory, &listing) < 0)
        return false;
    for (size_t at = 0; !found && at < listing.count; at++) {
        struct text below = { 0 };
        found = text_add(&below, path, strlen(path)) && text_add(&below, "/", 1)
                && text_add(&below, listing.name[at], strlen(listing.name[at]))
                && machine_is_point(below.data);
        text_free(&below);
    }
    listing_free(&listing);
    return found;
}

/* The list */

static int put_row(const struct difference *difference, struct failure *failure)
{
    enum change kind = difference->now == NULL   ? CHANGE_DELETED
                       : difference->was == NULL ? CHANGE_ADDED
                                                 : CHANGE_MODIFIED;
    size_t size = strlen(difference->path) + LONGEST_HEADS;
    unsigned char *room = malloc(size);
    struct writer writer = { room, 0, size, room == NULL };
    size_t row = put_begin(&writer, ROW);
    put_number(&writer, KIND, kind);
    put_text(&writer, PATH, difference->path);
    put_end(&writer, row);
    int done = room == NULL || sink_write(room, writer.size) < 0
                   ? fail_errno(failure, "%.256s", difference->path)
                   : 0;
    free(room);
    return done;
}

static int put_directory_row(const struct difference *difference, int opened, bool opaque,
                             struct failure *failure)
{
    (void)opened;
    (void)opaque;
    return put_row(difference, failure);
}

/* A directory that is as it was, or was made to mount on, counts only by what is in it. */
static bool is_same(const struct difference *difference, int opened)
{
    const struct stat *now = difference->now, *was = difference->was;
    if (was == NULL)
        return upper_is_point(difference->directory, difference->name, difference->path, now);
    if (now->st_mode != was->st_mode || now->st_uid != was->st_uid || now->st_gid != was->st_gid)
        return false;
    return (now->st_mtim.tv_sec == was->st_mtim.tv_sec
            && now->st_mtim.tv_nsec == was->st_mtim.tv_nsec)
           || has_point(opened, difference->path);
}

int files_changes(struct work *work, struct failure *failure)
{
    static const struct walk walk = { .each = true, .entry = put_row,
                                      .directory = put_directory_row, .waits = is_same };
    work->tell();
    sink_open(work->pipe);
    if (upper_walk(&walk, failure) < 0)
        return -1;
    return sink_flush() < 0 ? fail_errno(failure, "the list") : 0;
}

/* The layer */

static int put_mark(const char *path, const char *name, const char *suffix, struct failure *failure)
{
    struct text mark = { 0 };
    bool done = text_add(&mark, path, strlen(path) - strlen(name)) && text_add(&mark, MARK, 4)
                && text_add(&mark, suffix, strlen(suffix));
    int packed = done ? pack_mark(mark.data, failure) : fail_errno(failure, "%.256s", path);
    text_free(&mark);
    return packed;
}

static int check_name(const struct difference *difference, struct failure *failure)
{
    if (strncmp(difference->name, MARK, strlen(MARK)) != 0)
        return 0;
    return fail(failure, INVALID,
                "%.256s cannot be part of an image: names that begin with " MARK
                " are marks of layers; rename it", difference->path);
}

static int put_entry(const struct difference *difference, struct failure *failure)
{
    const char *shown = difference->path + 1;
    if (check_name(difference, failure) < 0)
        return -1;
    if (difference->now == NULL)
        return put_mark(shown, difference->name, difference->name, failure);
    return pack_entry(difference->directory, difference->name, shown, difference->now, failure);
}

static int put_directory(const struct difference *difference, int opened, bool opaque,
                         struct failure *failure)
{
    const char *shown = difference->path + 1;
    struct text mark = { 0 };
    if (check_name(difference, failure) < 0 || pack_directory(opened, shown, failure) < 0)
        return -1;
    if (!opaque)
        return 0;
    bool done = text_add(&mark, shown, strlen(shown)) && text_add(&mark, "/" OPAQUE, sizeof OPAQUE);
    int packed = done ? pack_mark(mark.data, failure) : fail_errno(failure, "%.256s", shown);
    text_free(&mark);
    return packed;
}

static bool is_point(const struct difference *difference, int opened)
{
    (void)opened;
    return difference->was == NULL
           && upper_is_point(difference->directory, difference->name, difference->path,
                             difference->now);
}

int files_pack_layer(struct work *work, struct failure *failure)
{
    static const struct walk walk = { .entry = put_entry, .directory = put_directory,
                                      .waits = is_point };
    work->tell();
    sink_open(work->pipe);
    return upper_walk(&walk, failure) < 0 ? -1 : pack_finish(failure);
}

/* The root */

int files_pack_root(struct work *work, struct failure *failure)
{
    /* A copy of its mount alone: what is mounted in it is not there. */
    enum { CLONE = 1 }; /* OPEN_TREE_CLONE (linux/mount.h) */
    int mount = (int)syscall(SYS_open_tree, AT_FDCWD, MACHINE, CLONE | O_CLOEXEC);
    int root = mount < 0 ? -1 : openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return fail_errno(failure, "the machine's root");
    work->tell();
    sink_open(work->pipe);
    return pack_tree(root, "", NULL, failure) < 0 ? -1 : pack_finish(failure);
}
