/* Who a process runs as: users and groups, looked up in the machine's own files. */
#ifndef USERS_H
#define USERS_H

#include "common.h"
#include "record.h"

struct identity {
    uid_t uid;
    gid_t gid;
    gid_t *groups; /* all further groups; the first is `gid`, as Docker has it */
    size_t count;
    char *home;
};

/* Find `user[:group]` and the fields GROUP of `record` in the files below the directory `root`;
 * rules and words are those of heft.weights.light.users. */
int identify(int root, const char *user, struct bytes record, struct identity *identity,
             struct failure *failure);
/* The name of a user in the same files, for `users_text`; NULL where there is none. */
const char *user_name(const char *users, uid_t uid, char *name, size_t size);
/* The text of a file below a root; empty where there is none. The caller frees it. */
char *users_text(int root, const char *path);

#endif
