#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

static struct {
    struct region region;
    unsigned char *at;
} mapped[MOST_REGIONS];
static size_t mapped_count;

static const uint64_t MOST_SIZE = UINT64_C(1) << 44;

void memory_set(const struct region *regions, const int *descriptors, size_t count)
{
    for (size_t at = 0; at < mapped_count; at++)
        munmap(mapped[at].at, mapped[at].region.size);
    mapped_count = 0;
    for (size_t at = 0; at < count; at++) {
        const struct region *region = &regions[at];
        if (region->size == 0 || region->size > MOST_SIZE || region->offset > MOST_SIZE
            || region->offset % 4096 != 0 || region->guest + region->size < region->guest
            || region->user + region->size < region->user)
            refuse("memory that cannot be");
        void *place = mmap(NULL, region->size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptors[at],
                           (off_t)region->offset);
        if (place == MAP_FAILED)
            refuse("memory that cannot be mapped");
        close(descriptors[at]);
        mapped[mapped_count].region = *region;
        mapped[mapped_count++].at = place;
    }
}

static void *find(uint64_t address, uint64_t size, bool by_user)
{
    for (size_t at = 0; at < mapped_count; at++) {
        const struct region *region = &mapped[at].region;
        uint64_t start = by_user ? region->user : region->guest;
        if (address >= start && address - start < region->size
            && size <= region->size - (address - start))
            return mapped[at].at + (address - start);
    }
    refuse("an address outside of its memory");
}

void *memory_of_guest(uint64_t address, uint64_t size)
{
    return find(address, size, false);
}

void *memory_of_user(uint64_t address, uint64_t size)
{
    return find(address, size, true);
}
