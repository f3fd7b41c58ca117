#include "directories.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal.h"

static int root = -1;
static const char *tree;
static int last = -1; /* what was opened last: entries come together that are in one directory */
static char last_path[PATH_MAX];

void directories_open(int machine, const char *path)
{
    root = machine;
    tree = path;
    last = -1;
}

int directories_known(const char *below)
{
    char path[2 * PATH_MAX];
    if (last >= 0 && strcmp(below, last_path) == 0)
        return last;
    if (last >= 0)
        close(last);
    snprintf(path, sizeof path, "%s/%s", tree, below);
    last = open_in(root, path, O_RDONLY | O_DIRECTORY);
    if (last >= 0)
        strcpy(last_path, below);
    return last;
}

/* Make a directory in the one that was opened last, and open it. */
static int make(const char *path, const char *name)
{
    if (journal_reserve() < 0)
        return -1;
    if (mkdirat(last, name, 0755) == 0)
        journal_add(JOURNAL_MADE, path, (struct timespec){ 0 });
    else if (errno != EEXIST)
        return -1;
    return directories_known(path);
}

int directories_enter(const char *below)
{
    char path[PATH_MAX];
    int found = directories_known(below);
    if (found >= 0 || errno != ENOENT || below[0] == 0)
        return found;
    /* From the tree's root down: what is a link there is followed by the next step's look at it. */
    found = directories_known("");
    strcpy(path, below);
    for (char *name = path, *after; found >= 0 && *name != 0; name = after) {
        char *slash = strchrnul(name, '/');
        after = *slash != 0 ? slash + 1 : slash;
        *slash = 0;
        found = make(path, name);
        if (*after != 0)
            *slash = '/';
    }
    return found;
}
