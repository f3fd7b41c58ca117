/* What is at a path of the machine, and where a link there leads. */
#ifndef PLACE_H
#define PLACE_H

#include <limits.h>
#include <sys/stat.h>

#include "common.h"
#include "record.h"

/* A path as it was asked for. One that ends with `/` or `/.` is a directory, and a link there is
 * followed; else it is the thing itself. */
struct place {
    char clean[PATH_MAX]; /* the path, absolute, without `.`, `..` and further slashes */
    const char *shown;    /* what it is called in a tar of it */
    bool is_directory;    /* it was asked for as one */
    int directory;        /* it, or else the one that it is in */
    const char *name;     /* in the directory */
    struct stat status;
};

/* Make a path clean, without looking at anything; `climbs` where it leads above the root, which it
 * then stays at. -1 with errno. */
int place_clean(const char *path, char clean[static PATH_MAX], bool *climbs);
int place_find(int root, const char *path, struct place *place, struct failure *failure);
void put_place(struct writer *writer, int root, const struct place *place);

#endif
