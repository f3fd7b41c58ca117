#include "land.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "directories.h"
#include "journal.h"
#include "pack.h"
#include "place.h"
#include "remove.h"

enum {
    NEW = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
    ENTERED = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
    LARGEST_MAJOR = (1 << 12) - 1,
    LARGEST_MINOR = (1 << 20) - 1,
};
#define LARGEST_ID UINT64_C(0xfffffffe)
#define LARGEST_SECOND (INT64_C(1) << 32) /* what file systems can have */

static struct landing into;

/* What is being made: its path from the tree's root, and where it is. */
struct spot {
    const struct entry *entry;
    const char *path;
    int directory;
    const char *name;
};

void land_open(const struct landing *landing)
{
    into = *landing;
    directories_open(landing->root, landing->path);
}

static int refuse(const struct spot *spot, struct failure *failure)
{
    return fail_errno(failure, "%.256s", spot->entry->name.data);
}

static void note_made(const char *path)
{
    journal_add(JOURNAL_MADE, path, (struct timespec){ 0 });
}

/* Give a name in a tar as a path from the tree's root; empty: the root itself. */
static int inside(const struct text *name, char path[static PATH_MAX], struct failure *failure)
{
    char clean[PATH_MAX];
    bool climbs;
    if (place_clean(name->data, clean, &climbs) < 0)
        return fail_errno(failure, "%.64s…", name->data);
    if (climbs)
        return fail(failure, INVALID, "'%.256s' is outside of the root", name->data);
    strcpy(path, clean + 1);
    return 0;
}

/* Owner, mode, attributes, times */

static int owner_of(const struct entry *entry, uid_t *uid, gid_t *gid, struct failure *failure)
{
    *uid = into.owned ? into.uid : (uid_t)entry->uid;
    *gid = into.owned ? into.gid : (gid_t)entry->gid;
    if (!into.owned && (entry->uid > LARGEST_ID || entry->gid > LARGEST_ID))
        return fail(failure, INVALID, "the owner of '%.256s' is out of range", entry->name.data);
    return 0;
}

static struct timespec time_of(const struct entry *entry)
{
    struct timespec time = entry->time;
    if (time.tv_sec > LARGEST_SECOND || time.tv_sec < -LARGEST_SECOND)
        time = (struct timespec){ time.tv_sec > 0 ? LARGEST_SECOND : -LARGEST_SECOND, 0 };
    return time;
}

static int set_attributes(int fd, const struct text *records)
{
    static const char prefix[] = "SCHILY.xattr.";
    const char *at = records->data, *end = at + records->size;
    struct pax pax;
    while (at < end && pax_next(&at, end, &pax)) {
        size_t skipped = sizeof prefix - 1;
        char name[XATTR_NAME_MAX + 1];
        if (pax.key_size <= skipped || memcmp(pax.key, prefix, skipped) != 0)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(pax.key_size - skipped), pax.key + skipped);
        if (attribute_is_kept(name) && fsetxattr(fd, name, pax.value, pax.size, 0) < 0
            && errno != EOPNOTSUPP) /* a tmpfs of an older kernel has no `user.` */
            return -1;
    }
    return 0;
}

/* In this order: a change of owner takes some away. What is so already is left alone. */
static int dress(int fd, const struct spot *spot, struct failure *failure)
{
    struct stat status;
    uid_t uid;
    gid_t gid;
    if (owner_of(spot->entry, &uid, &gid, failure) < 0)
        return -1;
    if (fstat(fd, &status) < 0
        || ((status.st_uid != uid || status.st_gid != gid) && fchown(fd, uid, gid) < 0)
        || fchmod(fd, spot->entry->mode) < 0 || set_attributes(fd, &spot->entry->records) < 0)
        return refuse(spot, failure);
    return 0;
}

static int set_time(int directory, const char *name, struct timespec time)
{
    struct timespec times[2] = { time, time };
    return utimensat(directory, name, times, AT_SYMLINK_NOFOLLOW);
}

/* Make room for something that is no directory. */
static int clear(const struct spot *spot, bool keep_file, struct failure *failure)
{
    struct stat status;
    if (fstatat(spot->directory, spot->name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : refuse(spot, failure);
    if (S_ISDIR(status.st_mode)) {
        if (into.same_kind)
            return fail(failure, INVALID, "cannot overwrite directory \"%.200s\" with non-directory",
                        spot->path);
        return remove_tree(spot->directory, spot->name) < 0 ? refuse(spot, failure) : 0;
    }
    if (!keep_file && unlinkat(spot->directory, spot->name, 0) < 0)
        return refuse(spot, failure);
    return 0;
}

/* Files */

static int pour(int fd, const struct spot *spot, struct failure *failure)
{
    const struct entry *entry = spot->entry;
    if (!entry->sparse)
        return tar_pour(fd, entry->size, failure);
    for (size_t at = 0; at < entry->extent_count; at++) {
        const struct extent *extent = &entry->extents[at];
        if (lseek(fd, (off_t)extent->offset, SEEK_SET) < 0)
            return refuse(spot, failure);
        if (tar_pour(fd, extent->size, failure) < 0)
            return -1;
    }
    return ftruncate(fd, (off_t)entry->size) < 0 ? refuse(spot, failure) : 0;
}

static int fill(int fd, const struct spot *spot, struct failure *failure)
{
    struct timespec time = time_of(spot->entry), times[2] = { time, time };
    if (pour(fd, spot, failure) < 0 || dress(fd, spot, failure) < 0)
        return -1;
    return futimens(fd, times) < 0 ? refuse(spot, failure) : 0;
}

/* Write it beside what it is to take the place of. */
static int replace_file(const struct spot *spot, struct failure *failure)
{
    char name[32];
    uint64_t random;
    if (clear(spot, true, failure) < 0)
        return -1;
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        return refuse(spot, failure);
    snprintf(name, sizeof name, ".heft-%016llx", (unsigned long long)random);
    int fd = openat(spot->directory, name, NEW, 0600);
    if (fd < 0)
        return refuse(spot, failure);
    int done = fill(fd, spot, failure);
    close(fd);
    if (done == 0 && renameat(spot->directory, name, spot->directory, spot->name) < 0)
        done = refuse(spot, failure);
    if (done < 0)
        unlinkat(spot->directory, name, 0);
    return done;
}

static int make_file(const struct spot *spot, struct failure *failure)
{
    int fd = openat(spot->directory, spot->name, NEW, 0600);
    if (fd < 0)
        return errno == EEXIST ? replace_file(spot, failure) : refuse(spot, failure);
    note_made(spot->path);
    int done = fill(fd, spot, failure);
    close(fd);
    return done;
}

/* All else */

static int make_directory(const struct spot *spot, struct failure *failure)
{
    struct stat status;
    int made = mkdirat(spot->directory, spot->name, 0700);
    if (made < 0 && errno == EEXIST
        && fstatat(spot->directory, spot->name, &status, AT_SYMLINK_NOFOLLOW) == 0
        && !S_ISDIR(status.st_mode)) {
        if (into.same_kind)
            return fail(failure, INVALID,
                        "cannot overwrite non-directory \"%.200s\" with directory", spot->path);
        if (unlinkat(spot->directory, spot->name, 0) == 0)
            made = mkdirat(spot->directory, spot->name, 0700);
    }
    if (made < 0 && errno != EEXIST)
        return refuse(spot, failure);
    if (made == 0)
        note_made(spot->path);
    int fd = openat(spot->directory, spot->name, ENTERED);
    if (fd < 0)
        return refuse(spot, failure);
    int done = dress(fd, spot, failure);
    close(fd);
    if (done == 0 && (done = journal_reserve()) < 0)
        refuse(spot, failure);
    if (done == 0)
        journal_add(JOURNAL_TIME, spot->path, time_of(spot->entry));
    return done;
}

static int make_device(const struct spot *spot, struct failure *failure)
{
    const struct entry *entry = spot->entry;
    mode_t kind = entry->kind == TAR_CHARACTER ? S_IFCHR : S_IFBLK;
    if (entry->major > LARGEST_MAJOR || entry->minor > LARGEST_MINOR)
        return fail(failure, INVALID, "the device number of '%.256s' is out of range",
                    entry->name.data);
    /* It is what overlayfs marks removed files with. */
    if (kind == S_IFCHR && entry->major == 0 && entry->minor == 0)
        return fail(failure, INVALID, "the device number of '%.256s' is reserved",
                    entry->name.data);
    dev_t device = makedev((unsigned int)entry->major, (unsigned int)entry->minor);
    if (mknodat(spot->directory, spot->name, kind | (entry->mode & 0777), device) < 0)
        return refuse(spot, failure);
    return 0;
}

static int make_link(const struct spot *spot, struct failure *failure)
{
    char target[PATH_MAX];
    if (inside(&spot->entry->link, target, failure) < 0)
        return -1;
    char *slash = strrchr(target, '/'), *last = slash != NULL ? slash + 1 : target;
    int above = -1, done = -1;
    if (slash != NULL)
        *slash = 0;
    /* Both directories are needed at once. */
    int directory = fcntl(spot->directory, F_DUPFD_CLOEXEC, 3);
    if (directory >= 0 && (above = directories_enter(slash != NULL ? target : "")) >= 0
        && journal_reserve() == 0)
        done = linkat(above, last, directory, spot->name, 0);
    if (done < 0)
        refuse(spot, failure);
    if (directory >= 0)
        close(directory);
    if (done == 0)
        note_made(spot->path);
    return done;
}

static int make_other(const struct spot *spot, struct failure *failure)
{
    const struct entry *entry = spot->entry;
    uid_t uid;
    gid_t gid;
    int done = 0;
    if (owner_of(entry, &uid, &gid, failure) < 0 || clear(spot, false, failure) < 0)
        return -1;
    if (entry->kind == TAR_LINK)
        return make_link(spot, failure);
    if (entry->kind == TAR_SYMLINK)
        done = symlinkat(entry->link.data, spot->directory, spot->name);
    else if (entry->kind == TAR_FIFO)
        done = mkfifoat(spot->directory, spot->name, entry->mode & 0777);
    else if (entry->kind == TAR_CHARACTER || entry->kind == TAR_DEVICE)
        done = make_device(spot, failure);
    else
        return fail(failure, INVALID, "unhandled tar header type '%c' at '%.256s'",
                    entry->kind >= ' ' && entry->kind < 0x7f ? entry->kind : '?',
                    entry->name.data);
    if (done < 0)
        return entry->kind == TAR_SYMLINK || entry->kind == TAR_FIFO ? refuse(spot, failure) : -1;
    note_made(spot->path);
    if (fchownat(spot->directory, spot->name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0
        || set_time(spot->directory, spot->name, time_of(entry)) < 0)
        return refuse(spot, failure);
    return 0;
}

int land_entry(const struct entry *entry, struct failure *failure)
{
    char path[PATH_MAX], above[PATH_MAX];
    if (inside(&entry->name, path, failure) < 0)
        return -1;
    if (path[0] == 0)
        return entry->kind == TAR_DIRECTORY
                   ? 0
                   : fail(failure, INVALID, "'%.256s' is not a directory", entry->name.data);
    char *slash = strrchr(path, '/');
    snprintf(above, sizeof above, "%.*s", slash != NULL ? (int)(slash - path) : 0, path);
    struct spot spot = { entry, path, directories_enter(above),
                         slash != NULL ? slash + 1 : path };
    if (spot.directory < 0 || journal_reserve() < 0)
        return refuse(&spot, failure);
    return (entry->kind == TAR_DIRECTORY ? make_directory
            : entry->kind == TAR_FILE    ? make_file
                                         : make_other)(&spot, failure);
}

/* The end */

/* Work on what is at a path, in its directory. */
static int enter_above(char *path, const char **name)
{
    char *slash = strrchr(path, '/');
    *name = slash != NULL ? slash + 1 : path;
    if (slash != NULL)
        *slash = 0;
    return directories_known(slash != NULL ? path : "");
}

static void set_directory_time(char *path, struct timespec time)
{
    const char *name;
    int directory = enter_above(path, &name);
    if (directory >= 0)
        set_time(directory, name, time);
}

static void remove_made(char *path, struct timespec time)
{
    const char *name;
    int directory = enter_above(path, &name);
    (void)time;
    if (directory >= 0 && unlinkat(directory, name, 0) < 0 && (errno == EISDIR || errno == EPERM))
        unlinkat(directory, name, AT_REMOVEDIR);
}

void land_finish(void)
{
    journal_backwards(JOURNAL_TIME, set_directory_time);
}

void land_undo(void)
{
    journal_backwards(JOURNAL_MADE, remove_made);
}
