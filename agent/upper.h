/* The machine's upper, read as overlayfs keeps it, beside the base below it.
 *
 * Marks of overlayfs (the kernel's Documentation/filesystems/overlayfs.rst): a character device 0:0
 * hides a name of the base, the attribute `trusted.overlay.opaque` all that a directory has there.
 * Uppers are only ever mounted without redirects and metadata-only copies, so that there are no
 * others. The upper may be that of a running machine: it is walked by descriptors, and no link is
 * followed.
 */
#ifndef UPPER_H
#define UPPER_H

#include <sys/stat.h>

#include "common.h"

/* What is different at a path. */
struct difference {
    const char *path; /* from the root, with a slash before it */
    int directory;    /* of the upper: it is in there */
    const char *name;
    const struct stat *now; /* NULL: it is gone */
    const struct stat *was; /* NULL: it is new */
};

/* What is told of a walk, names in the order of their bytes. */
struct walk {
    /* Whether what an opaque directory hides is gone one by one. */
    bool each;
    /* Something that is no directory, or that is gone. */
    int (*entry)(const struct difference *difference, struct failure *failure);
    /* A directory, before what is in it; `opened` is it, and `opaque` whether it hides one. */
    int (*directory)(const struct difference *difference, int opened, bool opaque,
                     struct failure *failure);
    /* Whether that is only told of if something in it is. */
    bool (*waits)(const struct difference *difference, int opened);
};

int upper_walk(const struct walk *walk, struct failure *failure);

/* Whether something new was made to mount on, and is nothing else. */
bool upper_is_point(int directory, const char *name, const char *path, const struct stat *status);

#endif
