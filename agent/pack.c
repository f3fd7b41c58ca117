#include "pack.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "holes.h"
#include "listing.h"
#include "sink.h"
#include "tar_head.h"

enum {
    SMALL = 1 << 16, /* a hole in a file of this size is not worth a map */
    DIRECTORY = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
    MOST_LINKS = 16 << 20, /* bytes that are kept of names of files that have several */
};

static int refuse(struct failure *failure, const char *shown)
{
    return fail_errno(failure, "%s", shown);
}

/* What opening gives where a file was removed, or became something else, since it was listed. */
static bool is_gone(int number)
{
    return number == ENOENT || number == ELOOP || number == ENOTDIR || number == ENXIO;
}

/* Extended attributes that mean something elsewhere; no pax record can have the name of one with an
 * equals sign in it. */
bool attribute_is_kept(const char *name)
{
    return (strncmp(name, "user.", 5) == 0 && strchr(name, '=') == NULL)
           || strcmp(name, "security.capability") == 0
           || strcmp(name, "system.posix_acl_access") == 0
           || strcmp(name, "system.posix_acl_default") == 0;
}

static bool add_attributes(int fd, struct text *records)
{
    static char names[XATTR_LIST_MAX], value[XATTR_SIZE_MAX];
    ssize_t size = flistxattr(fd, names, sizeof names);
    for (char *name = names; size > 0 && name < names + size; name += strlen(name) + 1) {
        char key[sizeof "SCHILY.xattr." + XATTR_NAME_MAX];
        ssize_t length = attribute_is_kept(name) ? fgetxattr(fd, name, value, sizeof value) : -1;
        if (length < 0)
            continue; /* it was removed meanwhile */
        snprintf(key, sizeof key, "SCHILY.xattr.%.*s", XATTR_NAME_MAX, name);
        if (!tar_record(records, key, value, (size_t)length))
            return false;
    }
    return true;
}

static int put_head(const char *shown, const struct stat *status, struct head head)
{
    head.name = shown;
    head.mode = status->st_mode;
    head.uid = status->st_uid;
    head.gid = status->st_gid;
    head.time = status->st_mtim;
    return tar_head(&head);
}

/* Files that have several names */

struct linked {
    dev_t device;
    ino_t inode;
    char name[];
};

static int by_inode(const void *one, const void *other)
{
    const struct linked *a = one, *b = other;
    if (a->device != b->device)
        return a->device < b->device ? -1 : 1;
    return a->inode < b->inode ? -1 : a->inode > b->inode;
}

static void *linked_files;

static const char *first_name(const struct stat *status)
{
    struct linked wanted = { status->st_dev, status->st_ino };
    struct linked **found = tfind(&wanted, &linked_files, by_inode);
    return found != NULL ? (*found)->name : NULL;
}

static bool remember_name(const struct stat *status, const char *shown)
{
    static size_t used;
    size_t size = sizeof(struct linked) + strlen(shown) + 1;
    struct linked *linked = used + size <= MOST_LINKS ? malloc(size) : NULL;
    used += size;
    if (linked == NULL) {
        errno = ENOMEM;
        return false;
    }
    *linked = (struct linked){ status->st_dev, status->st_ino };
    strcpy(linked->name, shown);
    return tsearch(linked, &linked_files, by_inode) != NULL;
}

/* Regular files */

static bool put_sparse(int fd, const char *shown, const struct stat *status, struct text *records,
                       const struct extent *extents, int count)
{
    const char *slash = strrchr(shown, '/'), *last = slash != NULL ? slash + 1 : shown;
    struct text name = { 0 }, map = { 0 }, size = { 0 };
    uint64_t stored = 0;
    bool done = text_add(&name, shown, (size_t)(last - shown))
                && text_format(&name, "%sGNUSparseFile.0/", slash != NULL ? "" : "/")
                && text_add(&name, last, strlen(last)) && text_format(&map, "%d\n", count)
                && text_format(&size, "%" PRIu64, (uint64_t)status->st_size);
    for (int at = 0; done && at < count; at++) {
        stored += extents[at].size;
        done = text_format(&map, "%" PRIu64 "\n%" PRIu64 "\n", extents[at].offset,
                           extents[at].size);
    }
    size_t padding = tar_padding(map.size);
    stored += map.size + padding;
    done = done && tar_record(records, "GNU.sparse.major", "1", 1)
           && tar_record(records, "GNU.sparse.minor", "0", 1)
           && tar_record(records, "GNU.sparse.name", shown, strlen(shown))
           && tar_record(records, "GNU.sparse.realsize", size.data, size.size)
           && put_head(name.data, status,
                       (struct head){ .kind = TAR_FILE, .size = stored, .records = records }) == 0
           && sink_write(map.data, map.size) == 0 && sink_zeros(padding) == 0;
    for (int at = 0; done && at < count; at++)
        done = sink_copy(fd, extents[at].offset, extents[at].size) == 0;
    text_free(&name);
    text_free(&map);
    text_free(&size);
    return done && sink_zeros(tar_padding(stored)) == 0;
}

static bool put_file(int fd, const char *shown, struct text *records)
{
    static struct extent extents[MOST_EXTENTS + 2];
    struct stat status;
    if (fstat(fd, &status) < 0)
        return false;
    if (!S_ISREG(status.st_mode))
        return true; /* it became something else meanwhile */
    uint64_t size = (uint64_t)status.st_size;
    bool full = size <= SMALL || (uint64_t)status.st_blocks * 512 >= size;
    int count = full ? 0 : holes_find(fd, size, extents);
    if (count < 0 || !add_attributes(fd, records))
        return false;
    if (count > 0)
        return put_sparse(fd, shown, &status, records, extents, count);
    struct head head = { .kind = TAR_FILE, .size = size, .records = records };
    return put_head(shown, &status, head) == 0 && sink_copy(fd, 0, size) == 0
           && sink_zeros(tar_padding(size)) == 0;
}

static int open_file(int directory, const char *name, const char *shown)
{
    struct text records = { 0 };
    int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    bool done = put_file(fd, shown, &records);
    int number = errno;
    text_free(&records);
    close(fd);
    errno = number;
    return done ? 0 : -1;
}

static int put_symlink(int directory, const char *name, const char *shown,
                       const struct stat *status)
{
    char target[PATH_MAX + 1];
    ssize_t size = readlinkat(directory, name, target, sizeof target - 1);
    if (size < 0)
        return errno == EINVAL ? 0 : -1; /* it became something else meanwhile */
    target[size] = 0;
    return put_head(shown, status, (struct head){ .kind = TAR_SYMLINK, .link = target });
}

/* Entries */

static int put_entry(int directory, const char *name, const char *shown, const struct stat *status)
{
    mode_t mode = status->st_mode;
    const char *known = status->st_nlink > 1 && !S_ISSOCK(mode) ? first_name(status) : NULL;
    int done = 0;
    if (known != NULL)
        return put_head(shown, status, (struct head){ .kind = TAR_LINK, .link = known });
    if (S_ISREG(mode))
        done = open_file(directory, name, shown);
    else if (S_ISLNK(mode))
        done = put_symlink(directory, name, shown, status);
    else if (S_ISFIFO(mode))
        done = put_head(shown, status, (struct head){ .kind = TAR_FIFO });
    else if (S_ISCHR(mode) || S_ISBLK(mode))
        done = put_head(shown, status,
                        (struct head){ .kind = S_ISCHR(mode) ? TAR_CHARACTER : TAR_DEVICE,
                                       .device = status->st_rdev });
    if (done == 0 && status->st_nlink > 1 && !S_ISSOCK(mode) && !remember_name(status, shown))
        return -1;
    return done;
}

int pack_entry(int directory, const char *name, const char *shown, const struct stat *status,
               struct failure *failure)
{
    if (put_entry(directory, name, shown, status) < 0 && !is_gone(errno))
        return refuse(failure, shown);
    return 0;
}

int pack_directory(int directory, const char *shown, struct failure *failure)
{
    struct text name = { 0 }, records = { 0 };
    struct stat status;
    size_t size = strlen(shown);
    bool slashed = size > 0 && shown[size - 1] == '/';
    bool done = text_add(&name, shown, size) && (slashed || text_add(&name, "/", 1))
                && fstat(directory, &status) == 0 && add_attributes(directory, &records)
                && put_head(name.data, &status,
                            (struct head){ .kind = TAR_DIRECTORY, .records = &records }) == 0;
    if (!done)
        refuse(failure, shown);
    text_free(&name);
    text_free(&records);
    return done ? 0 : -1;
}

int pack_mark(const char *shown, struct failure *failure)
{
    struct head head = { .name = shown, .kind = TAR_FILE };
    return tar_head(&head) < 0 ? refuse(failure, shown) : 0;
}

int pack_finish(struct failure *failure)
{
    if (sink_zeros(2 * TAR_BLOCK) < 0 || sink_flush() < 0)
        return fail_errno(failure, "the end of the tar");
    return 0;
}

/* Trees */

/* A directory that is being packed. */
struct level {
    struct level *above;
    struct listing listing;
    size_t at;
    int directory;
    size_t shown; /* so much of the name is its own, with a slash */
};

static struct level *enter(struct level *above, int directory, struct text *shown,
                           struct failure *failure)
{
    struct level *level = calloc(1, sizeof *level);
    if (level == NULL) {
        refuse(failure, shown->data);
        close(directory);
        return NULL;
    }
    *level = (struct level){ .above = above, .directory = directory };
    if ((shown->size > 0 && pack_directory(directory, shown->data, failure) < 0))
        goto failed;
    bool slashed = shown->size == 0 || shown->data[shown->size - 1] == '/';
    if (listing_read(directory, &level->listing) == 0 && (slashed || text_add(shown, "/", 1))) {
        level->shown = shown->size;
        return level;
    }
    refuse(failure, shown->data);
failed:
    close(directory);
    listing_free(&level->listing);
    free(level);
    return NULL;
}

static struct level *leave(struct level *level)
{
    struct level *above = level->above;
    close(level->directory);
    listing_free(&level->listing);
    free(level);
    return above;
}

/* Pack what is at a name; of a directory, go into it. */
static int put_child(struct level **level, const char *name, struct text *shown,
                     struct failure *failure)
{
    int directory = (*level)->directory;
    struct stat status;
    if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
        return is_gone(errno) ? 0 : refuse(failure, shown->data);
    if (!S_ISDIR(status.st_mode))
        return pack_entry(directory, name, shown->data, &status, failure);
    int inner = openat(directory, name, DIRECTORY);
    if (inner < 0)
        return is_gone(errno) ? 0 : refuse(failure, shown->data);
    struct level *below = enter(*level, inner, shown, failure);
    if (below == NULL)
        return -1;
    *level = below;
    return 0;
}

int pack_tree(int directory, const char *root, pack_skip *skip, struct failure *failure)
{
    struct text shown = { 0 };
    struct level *level = NULL;
    int done = text_add(&shown, root, strlen(root)) ? 0 : refuse(failure, root);
    if (done == 0 && (level = enter(NULL, directory, &shown, failure)) == NULL)
        done = -1;
    while (done == 0 && level != NULL) {
        if (level->at == level->listing.count) {
            level = leave(level);
            continue;
        }
        const char *name = level->listing.name[level->at++];
        text_cut(&shown, level->shown);
        if (!text_add(&shown, name, strlen(name)))
            done = refuse(failure, name);
        else if (skip == NULL || !skip(shown.data))
            done = put_child(&level, name, &shown, failure);
    }
    while (level != NULL)
        level = leave(level);
    text_free(&shown);
    return done;
}
