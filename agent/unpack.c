/* UNPACK: a tar, put into a directory of the machine; if anything is wrong, what was new is taken
 * back. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "files.h"
#include "land.h"
#include "place.h"
#include "users.h"

/* Docker's words. */
#define ROOT_READ_ONLY "container rootfs is marked read-only"
#define VOLUME_READ_ONLY "mounted volume is marked read-only"

static int check_target(int root, const char *path, struct failure *failure)
{
    struct stat machines, targets;
    struct statvfs system;
    int target = open_in(root, path, O_RDONLY | O_DIRECTORY);
    if (target < 0 && errno == ENOTDIR)
        return fail(failure, INVALID, "extraction point is not a directory");
    if (target < 0 || fstatvfs(target, &system) < 0 || fstat(root, &machines) < 0
        || fstat(target, &targets) < 0)
        return fail_errno(failure, "%s", path);
    close(target);
    if (!(system.f_flag & ST_RDONLY))
        return 0;
    return fail(failure, FORBIDDEN, "%s",
                machines.st_dev == targets.st_dev ? ROOT_READ_ONLY : VOLUME_READ_ONLY);
}

static int find_owner(struct work *work, struct landing *landing, struct failure *failure)
{
    char *user = record_text(work->record, USER);
    struct identity identity;
    if (user == NULL)
        return fail(failure, INVALID, "a user with a zero byte in the name");
    if (user[0] == 0)
        return 0;
    if (identify(landing->root, user, (struct bytes){ NULL, 0 }, &identity, failure) < 0) {
        failure->status = INVALID;
        return -1;
    }
    landing->owned = true;
    landing->uid = identity.uid;
    landing->gid = identity.gid;
    return 0;
}

static int land(struct failure *failure)
{
    struct entry *entry;
    int more;
    while ((more = tar_next(&entry, failure)) > 0)
        if (land_entry(entry, failure) < 0)
            return -1;
    return more < 0 ? -1 : tar_end(failure);
}

/* What the tar asks for cannot be, unless it is the machine's own matter. */
static void blame(struct failure *failure)
{
    int error = failure->error;
    bool hosts = error == 0 || error == EIO || error == EMFILE || error == ENFILE || error == ENOMEM;
    if (failure->status == NOT_FOUND || failure->status == UNSUPPORTED
        || (failure->status == FAILED && !hosts))
        failure->status = INVALID;
    else if (error == EROFS)
        fail(failure, FORBIDDEN, VOLUME_READ_ONLY);
}

int files_unpack(struct work *work, struct failure *failure)
{
    static char path[PATH_MAX];
    struct landing landing = { .path = path,
                               .same_kind = record_number(work->record, NO_OVERWRITE_DIR) };
    char *asked = record_text(work->record, PATH);
    bool climbs;
    if (asked == NULL || asked[0] == 0)
        return fail(failure, INVALID, "a path that is none");
    if (place_clean(asked, path, &climbs) < 0)
        return fail_errno(failure, "%.64s…", asked);
    landing.root = files_root(work->workload, failure);
    if (landing.root < 0 || check_target(landing.root, path, failure) < 0
        || find_owner(work, &landing, failure) < 0)
        return -1;
    tar_open(work->pipe);
    land_open(&landing);
    if (land(failure) < 0) {
        blame(failure);
        land_undo();
        return -1;
    }
    land_finish();
    return 0;
}
