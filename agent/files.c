#include "files.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine.h"
#include "pack.h"
#include "place.h"
#include "sink.h"

int files_root(pid_t workload, struct failure *failure)
{
    char path[64];
    struct stat own, seen;
    snprintf(path, sizeof path, "/proc/%d/root", (int)workload);
    int root = workload > 0 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    /* A process that has just begun is still where the agent is. */
    if (root >= 0 && (stat("/", &own) < 0 || fstat(root, &seen) < 0 || own.st_dev == seen.st_dev)) {
        close(root);
        root = -1;
    }
    if (root < 0)
        root = open(MACHINE, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return root < 0 ? fail_errno(failure, "the machine's root") : root;
}

int files_sync(struct work *work, struct failure *failure)
{
    (void)work;
    return syncfs(machine.upper) < 0 ? fail_errno(failure, "sync") : 0;
}

static int find(struct work *work, int *root, struct place *place, struct failure *failure)
{
    char *path = record_text(work->record, PATH);
    if (path == NULL || path[0] == 0)
        return fail(failure, INVALID, "a path that is none");
    *root = files_root(work->workload, failure);
    return *root < 0 ? -1 : place_find(*root, path, place, failure);
}

int files_status(struct work *work, struct failure *failure)
{
    static struct place place;
    int root;
    if (find(work, &root, &place, failure) < 0)
        return -1;
    put_place(&work->answer, root, &place);
    return 0;
}

/* What the kernel shows, unless it was asked for itself. */

static struct place packed;

/* Whether a path, in two parts, begins with another. */
static bool begins(const char *before, const char *below, const char *with)
{
    size_t length = strlen(before), size = strlen(with);
    if (length >= size)
        return strncmp(before, with, size) == 0;
    return strncmp(before, with, length) == 0 && strncmp(below, with + length, size - length) == 0;
}

static bool is_kernels_own(const char *shown)
{
    static const char *const own[] = { "/dev/", "/proc/", "/sys/" };
    const char *before = packed.clean[1] != 0 ? packed.clean : "";
    const char *below = shown + (packed.shown[0] == '/' ? 0 : strlen(packed.shown));
    for (size_t at = 0; at < sizeof own / sizeof *own; at++)
        if (begins(before, below, own[at]) && !begins(before, "/", own[at]))
            return true;
    return false;
}

int files_pack(struct work *work, struct failure *failure)
{
    int root, done;
    if (find(work, &root, &packed, failure) < 0)
        return -1;
    put_place(&work->answer, root, &packed);
    work->tell();
    sink_open(work->pipe);
    if (packed.is_directory || S_ISDIR(packed.status.st_mode)) {
        int directory = packed.is_directory
                            ? packed.directory
                            : openat(packed.directory, *packed.name != 0 ? packed.name : ".",
                                     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        done = directory < 0 ? fail_errno(failure, "%s", packed.clean)
                             : pack_tree(directory, packed.shown, is_kernels_own, failure);
    } else {
        done = pack_entry(packed.directory, packed.name, packed.shown, &packed.status, failure);
    }
    return done < 0 ? -1 : pack_finish(failure);
}
