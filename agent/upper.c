#include "upper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "listing.h"
#include "machine.h"
#include "text.h"

enum { ENTERED = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

/* A directory that is being walked, and the one of the base below it. */
struct level {
    struct level *above;
    int upper, lower; /* -1: there is none */
    struct listing names, hidden;
    size_t name, hide;
    size_t path; /* so much of the path is its own */
    struct stat now, was;
    bool is_new, opaque, told;
};

static const struct walk *walk;
static struct text path;

static bool is_whiteout(const struct stat *status)
{
    return S_ISCHR(status->st_mode) && status->st_rdev == makedev(0, 0);
}

static bool is_opaque(int directory)
{
    char value;
    return fgetxattr(directory, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

static bool look(int directory, const char *name, struct stat *status)
{
    return directory >= 0 && fstatat(directory, name, status, AT_SYMLINK_NOFOLLOW) == 0;
}

static int refuse(struct failure *failure)
{
    return fail_errno(failure, "%.256s", path.data);
}

/* Mount points */

static bool is_empty_file(const struct stat *status)
{
    return S_ISREG(status->st_mode) && status->st_size == 0;
}

static bool holds_points_only(int directory, const char *above)
{
    struct listing listing;
    bool only = listing_read(directory, &listing) == 0;
    for (size_t at = 0; only && at < listing.count; at++) {
        struct stat status;
        struct text below = { 0 };
        const char *name = listing.name[at];
        if (!look(directory, name, &status) || is_empty_file(&status))
            continue;
        only = text_add(&below, above, strlen(above)) && text_add(&below, "/", 1)
               && text_add(&below, name, strlen(name))
               && upper_is_point(directory, name, below.data, &status);
        text_free(&below);
    }
    listing_free(&listing);
    return only;
}

bool upper_is_point(int directory, const char *name, const char *place, const struct stat *status)
{
    if (!machine_is_point(place))
        return false;
    if (!S_ISDIR(status->st_mode))
        return is_empty_file(status);
    int opened = openat(directory, name, ENTERED);
    bool only = opened >= 0 && holds_points_only(opened, place);
    if (opened >= 0)
        close(opened);
    return only;
}

/* The walk */

static struct level *leave(struct level *level)
{
    struct level *above = level->above;
    close(level->upper);
    if (level->lower >= 0)
        close(level->lower);
    listing_free(&level->names);
    listing_free(&level->hidden);
    free(level);
    return above;
}

/* Tell of a directory that is walked, and first of those that it is in. */
static int tell(struct level *level, struct failure *failure)
{
    if (level->told)
        return 0;
    if (tell(level->above, failure) < 0)
        return -1;
    level->told = true;
    char *end = path.data + level->path, after = *end;
    *end = 0;
    struct difference difference = { path.data, level->above->upper, strrchr(path.data, '/') + 1,
                                     &level->now, level->is_new ? NULL : &level->was };
    int done = walk->directory(&difference, level->upper, level->opaque, failure);
    *end = after;
    return done;
}

/* Begin with a directory; the descriptors are taken. */
static struct level *enter(struct level *above, int upper, int lower, struct failure *failure)
{
    struct level *level = calloc(1, sizeof *level);
    if (level != NULL) {
        *level = (struct level){ .above = above, .upper = upper, .lower = lower,
                                 .path = path.size };
        level->opaque = above != NULL && lower >= 0 && is_opaque(upper);
        if (listing_read(upper, &level->names) == 0
            && (!level->opaque || !walk->each || listing_read(lower, &level->hidden) == 0))
            return level;
    }
    refuse(failure);
    if (level != NULL) {
        leave(level);
    } else {
        close(upper);
        if (lower >= 0)
            close(lower);
    }
    return NULL;
}

static int entry(struct level *level, const char *name, const struct stat *now,
                 const struct stat *was, struct failure *failure)
{
    struct difference difference = { path.data, level->upper, name, now, was };
    if (now == NULL && was == NULL)
        return 0; /* it hides nothing */
    if (now != NULL && was == NULL && upper_is_point(level->upper, name, path.data, now))
        return 0;
    return tell(level, failure) < 0 ? -1 : walk->entry(&difference, failure);
}

static int directory(struct level **level, const char *name, const struct stat *now,
                     const struct stat *was, struct failure *failure)
{
    int opened = openat((*level)->upper, name, ENTERED);
    int beneath = was != NULL && S_ISDIR(was->st_mode) ? openat((*level)->lower, name, ENTERED) : -1;
    struct difference difference = { path.data, (*level)->upper, name, now, was };
    if (opened < 0) {
        if (beneath >= 0)
            close(beneath);
        return 0; /* it is none any more */
    }
    bool waits = walk->waits(&difference, opened);
    struct level *below = enter(*level, opened, beneath, failure);
    if (below == NULL)
        return -1;
    below->now = *now;
    below->is_new = was == NULL;
    if (was != NULL)
        below->was = *was;
    *level = below;
    return waits ? 0 : tell(below, failure);
}

/* The next name, of the upper or of what is hidden below it; `gone` where it is only there. */
static const char *next_name(struct level *level, bool *gone)
{
    const char *name = level->name < level->names.count ? level->names.name[level->name] : NULL;
    const char *other = level->hide < level->hidden.count ? level->hidden.name[level->hide] : NULL;
    int order = name == NULL ? 1 : other == NULL ? -1 : strcmp(name, other);
    *gone = order > 0;
    level->name += order <= 0 && name != NULL;
    level->hide += order >= 0 && other != NULL;
    return *gone ? other : name;
}

static int step(struct level **level, const char *name, bool gone, struct failure *failure)
{
    struct stat now, was;
    text_cut(&path, (*level)->path);
    if (!text_add(&path, "/", 1) || !text_add(&path, name, strlen(name)))
        return refuse(failure);
    const struct stat *before = look((*level)->lower, name, &was) ? &was : NULL;
    if (gone || !look((*level)->upper, name, &now) || is_whiteout(&now))
        return entry(*level, name, NULL, before, failure);
    if (S_ISDIR(now.st_mode))
        return directory(level, name, &now, before, failure);
    return entry(*level, name, &now, before, failure);
}

int upper_walk(const struct walk *with, struct failure *failure)
{
    bool base = access(BASE_PLACE, F_OK) == 0;
    int upper = openat(machine.upper, base ? "upper" : ".", ENTERED), done = 0;
    int lower = base ? open(BASE_PLACE, ENTERED) : -1;
    walk = with;
    if (!text_add(&path, "", 0) || upper < 0 || (base && lower < 0))
        return fail_errno(failure, "the upper");
    struct level *level = enter(NULL, upper, lower, failure);
    if (level == NULL)
        return -1;
    level->told = true;
    while (done == 0 && level != NULL) {
        bool gone;
        const char *name = next_name(level, &gone);
        if (name == NULL)
            level = leave(level);
        else
            done = step(&level, name, gone, failure);
    }
    while (level != NULL)
        level = leave(level);
    return done;
}
