#include "holes.h"

#include <errno.h>
#include <unistd.h>

int holes_find(int fd, uint64_t size, struct extent extents[MOST_EXTENTS + 2])
{
    int count = 0;
    uint64_t end = 0;
    while (end < size) {
        off_t start = lseek(fd, (off_t)end, SEEK_DATA);
        if (start < 0 && errno == ENXIO)
            break; /* nothing but a hole to the end */
        off_t hole = start < 0 ? -1 : lseek(fd, start, SEEK_HOLE);
        if (hole < 0)
            return errno == EINVAL ? 0 : -1; /* this file system does not say */
        end = (uint64_t)hole < size && count < MOST_EXTENTS ? (uint64_t)hole : size;
        if ((uint64_t)start < end)
            extents[count++] = (struct extent){ (uint64_t)start, end - (uint64_t)start };
    }
    if (count == 1 && extents[0].size == size)
        return 0;
    if (count == 0 || extents[count - 1].offset + extents[count - 1].size < size)
        extents[count++] = (struct extent){ size, 0 };
    return count;
}
