#include "places.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device.h"
#include "machine.h"

enum { SHARE = 1, TMPFS = 2 };

int place_point(const char *path, bool directory, struct failure *failure)
{
    if (directory) {
        int found = make_directories(machine.root, path);
        return found < 0 ? fail_errno(failure, "%s", path) : found;
    }
    int found = open_in(machine.root, path, O_PATH);
    if (found >= 0)
        return found;
    const char *slash = strrchr(path, '/');
    char *above = slash != NULL ? strndup(path, (size_t)(slash - path)) : strdup("");
    int parent = make_directories(machine.root, above);
    free(above);
    int made = parent < 0 ? -1 : openat(parent, slash != NULL ? slash + 1 : path,
                                        O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (made >= 0)
        close(made);
    if (parent >= 0)
        close(parent);
    found = open_in(machine.root, path, O_PATH);
    return found < 0 ? fail_errno(failure, "%s", path) : found;
}

const char *place_name(int fd)
{
    static char path[2][64];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "/proc/self/fd/%d", fd);
    return path[turn];
}

/* Make a bound mount read-only; a descriptor of the place below it would name what it hides. */
static int restrict_mount(const char *target, struct failure *failure)
{
    int shown = open_in(machine.root, target, O_PATH);
    int done = shown < 0 ? -1 : mount(NULL, place_name(shown), NULL,
                                      MS_BIND | MS_REMOUNT | MS_RDONLY, NULL);
    if (done < 0)
        fail_errno(failure, "%s, read-only", target);
    if (shown >= 0)
        close(shown);
    return done;
}

int place_bind(const char *source, const char *target, bool directory, bool read_only,
               struct failure *failure)
{
    int point = place_point(target, directory, failure);
    if (point < 0)
        return -1;
    int done = mount(source, place_name(point), NULL, MS_BIND | MS_REC, NULL);
    if (done < 0)
        fail_errno(failure, "%s", target);
    close(point);
    return done < 0 || !read_only ? done : restrict_mount(target, failure);
}

int machine_show(const char *source, const char *target, struct failure *failure)
{
    return place_bind(source, target, false, true, failure);
}

int place_move(const char *source, const char *target, struct failure *failure)
{
    int point = place_point(target, true, failure);
    if (point < 0)
        return -1;
    int done = mount(source, place_name(point), NULL, MS_MOVE, NULL);
    if (done < 0)
        fail_errno(failure, "%s", target);
    close(point);
    return done;
}

/* Mounts */

/* Split off the mount options that are flags. */
static unsigned long take_flags(char *options)
{
    static const struct {
        const char *name;
        unsigned long set, clear;
    } known[] = {
        { "ro", MS_RDONLY, 0 },
        { "rw", 0, MS_RDONLY },
        { "nosuid", MS_NOSUID, 0 },
        { "suid", 0, MS_NOSUID },
        { "nodev", MS_NODEV, 0 },
        { "dev", 0, MS_NODEV },
        { "noexec", MS_NOEXEC, 0 },
        { "exec", 0, MS_NOEXEC },
        { "noatime", MS_NOATIME, 0 },
        { "atime", 0, MS_NOATIME },
        { "nodiratime", MS_NODIRATIME, 0 },
        { "diratime", 0, MS_NODIRATIME },
        { "relatime", MS_RELATIME, 0 },
        { "norelatime", 0, MS_RELATIME },
        { "strictatime", MS_STRICTATIME, 0 },
        { "nostrictatime", 0, MS_STRICTATIME },
        { "defaults", 0, 0 },
        { "nomand", 0, 0 },
    };
    unsigned long flags = 0;
    char *kept = options, *rest;
    for (char *option = strtok_r(options, ",", &rest); option; option = strtok_r(NULL, ",", &rest)) {
        size_t at = 0, count = sizeof known / sizeof *known, length = strlen(option);
        while (at < count && strcmp(option, known[at].name) != 0)
            at++;
        if (at < count) {
            flags = (flags | known[at].set) & ~known[at].clear;
            continue;
        }
        memmove(kept, option, length);
        kept += length;
        *kept++ = ',';
    }
    if (kept > options)
        kept--;
    *kept = 0;
    return flags;
}

static int mount_tmpfs(struct bytes asked, const char *target, struct failure *failure)
{
    char *options = record_text(asked, OPTIONS);
    int point = options != NULL ? place_point(target, true, failure) : -1;
    if (options == NULL)
        fail(failure, INVALID, "the options of %s", target);
    if (point < 0)
        return -1;
    unsigned long flags = take_flags(options);
    if (record_number(asked, READ_ONLY))
        flags |= MS_RDONLY;
    int done = mount("tmpfs", place_name(point), "tmpfs", flags, options);
    if (done < 0)
        fail_errno(failure, "%s", target);
    close(point);
    free(options);
    return done;
}

/* Mount a share, which is found by its tag; `vsock:PORT`: at that port of the host. */
static int attach_share(const char *tag, const char *place, const char *further)
{
    char options[1024], transport[64] = "trans=virtio";
    unsigned int port;
    int host = -1;
    if (sscanf(tag, "vsock:%u", &port) == 1) {
        host = device_connect(port);
        if (host < 0)
            return -1;
        snprintf(transport, sizeof transport, "trans=fd,rfdno=%d,wfdno=%d", host, host);
    }
    snprintf(options, sizeof options, "%s,version=9p2000.L%s%s", transport,
             further[0] != 0 ? "," : "", further);
    int done = mount(tag, place, "9p", MS_NOATIME, options), why = errno;
    if (host >= 0)
        close(host); /* the mount has its own */
    errno = why;
    return done;
}

/* A share can be mounted once: further mounts of it are bound from there. */
static int open_share(const char *tag, const char *further, struct failure *failure)
{
    char place[PATH_MAX];
    snprintf(place, sizeof place, "/shares/%s", tag);
    if (tag[0] == 0 || strchr(tag, '/') != NULL)
        return fail(failure, INVALID, "the tag of a share");
    if (mkdir(place, 0755) == 0) {
        if (attach_share(tag, place, further) < 0) {
            fail_errno(failure, "share %s", tag);
            rmdir(place);
            return -1;
        }
    }
    int opened = open(place, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return opened < 0 ? fail_errno(failure, "share %s", tag) : opened;
}

static int mount_share(struct bytes asked, const char *target, struct failure *failure)
{
    const char *tag = record_text(asked, TAG), *below = record_text(asked, SUBPATH);
    const char *options = record_text(asked, OPTIONS);
    struct stat status;
    if (tag == NULL || below == NULL || options == NULL)
        return fail(failure, INVALID, "the share at %s", target);
    int share = open_share(tag, options, failure);
    if (share < 0)
        return -1;
    int source = open_in(share, below, O_PATH);
    int done = source < 0 || fstat(source, &status) < 0 ? -1 : 0;
    if (done < 0) {
        fail_errno(failure, "share %s: %s", tag, below);
    } else {
        char path[64];
        snprintf(path, sizeof path, "%s", place_name(source));
        done = place_bind(path, target, S_ISDIR(status.st_mode), record_number(asked, READ_ONLY),
                    failure);
    }
    if (source >= 0)
        close(source);
    close(share);
    return done;
}

int place_asked(struct bytes asked, struct failure *failure)
{
    char *target = record_text(asked, TARGET);
    if (target == NULL || target[0] != '/')
        return fail(failure, INVALID, "the target of a mount");
    uint64_t kind = record_number(asked, KIND);
    int done = kind == SHARE   ? mount_share(asked, target, failure)
               : kind == TMPFS ? mount_tmpfs(asked, target, failure)
                               : fail(failure, UNSUPPORTED, "a mount of this kind");
    free(target);
    return done;
}
