/* The entries of a tar, put into a directory of the machine, which may change it meanwhile.
 *
 * Every entry is made in its directory's descriptor, by its last name, and links are not followed
 * there. What an entry takes the place of is replaced whole, and `land_undo` removes what was new.
 * The rules are those of Docker's `docker cp` (moby, pkg/archive, `Unpack`), and of
 * heft.tars.landing.
 */
#ifndef LAND_H
#define LAND_H

#include "tar_read.h"

struct landing {
    int root;         /* the machine's */
    const char *path; /* of the directory in it, clean */
    bool same_kind;   /* nothing but a directory takes the place of one, nor the other way round */
    bool owned;       /* by `uid` and `gid`, whatever the tar says */
    uid_t uid;
    gid_t gid;
};

void land_open(const struct landing *landing);
int land_entry(const struct entry *entry, struct failure *failure);
/* Set the directories' times, which the making of what is in them has changed. */
void land_finish(void);
/* Remove what was not there before; what resists is left. */
void land_undo(void);

#endif
