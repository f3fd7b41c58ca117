#include "remove.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "listing.h"

static int empty(int directory)
{
    struct listing listing;
    int done = listing_read(directory, &listing);
    for (size_t at = 0; done == 0 && at < listing.count; at++) {
        const char *name = listing.name[at];
        if (unlinkat(directory, name, 0) == 0 || errno == ENOENT)
            continue;
        done = errno == EISDIR || errno == EPERM ? remove_tree(directory, name) : -1;
    }
    int number = errno;
    listing_free(&listing);
    errno = number;
    return done;
}

int remove_tree(int directory, const char *name)
{
    int opened = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int done = opened < 0 ? -1 : empty(opened);
    int number = errno;
    if (opened >= 0)
        close(opened);
    errno = number;
    return done < 0 ? -1 : unlinkat(directory, name, AT_REMOVEDIR);
}
