/* The entries of a tar that comes through a pipe: ustar, pax, GNU's long names, files with holes in
 * all formats of GNU's (tar manual, "Tar Internals"). What breaks the format is refused, and so is
 * what would take more memory than any tar needs. */
#ifndef TAR_READ_H
#define TAR_READ_H

#include <sys/types.h>
#include <time.h>

#include "common.h"
#include "holes.h"
#include "tar_head.h"
#include "text.h"

struct entry {
    struct text name, link;
    char kind; /* an `enum tar_kind`, or what else stands there */
    mode_t mode;
    uint64_t uid, gid, size;
    uint64_t major, minor;
    struct timespec time;
    bool sparse;
    struct extent *extents; /* of a file with holes: where its data belongs */
    size_t extent_count;
    struct text records; /* its pax records, the tar's global ones before its own */
};

void tar_open(int source);
/* Read the next entry, which is valid until the one after it: 1, 0 at the end, -1. */
int tar_next(struct entry **entry, struct failure *failure);
/* Write the next bytes of the entry's data to a file. */
int tar_pour(int fd, uint64_t size, struct failure *failure);
/* Read what is left of the stream. */
int tar_end(struct failure *failure);

/* Take the first record off pax records that were read; false at their end. */
struct pax {
    const char *key, *value;
    size_t key_size, size;
};
bool pax_next(const char **at, const char *end, struct pax *pax);
bool pax_is(const struct pax *pax, const char *key);

/* Numbers: a header's field, and decimal digits; false where they are none. */
bool tar_amount(const char *field, size_t size, uint64_t *value);
bool tar_digits(const char *text, size_t size, uint64_t *value);

#endif
