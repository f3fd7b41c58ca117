/* Files with holes. */
#ifndef HOLES_H
#define HOLES_H

#include <stdint.h>
#include <sys/types.h>

struct extent {
    uint64_t offset, size;
};

/* Of a file with more stretches of data, the rest is one. */
enum { MOST_EXTENTS = 10000 };

/* Where a file has data, with an empty stretch at its end where it ends with a hole: their number,
 * 0 if it has no holes, -1 with errno. */
int holes_find(int fd, uint64_t size, struct extent extents[MOST_EXTENTS + 2]);

#endif
