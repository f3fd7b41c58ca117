/* The guest's memory, which the guest may write to at any time. */
#ifndef VSOCK_MEMORY_H
#define VSOCK_MEMORY_H

#include "common.h"

enum { MOST_REGIONS = 8 };

/* As vhost-user has it (QEMU, docs/interop/vhost-user.rst, "Memory region description"). */
struct region {
    uint64_t guest, size, user, offset;
};

/* Map what the guest has instead of what it had. The descriptors are closed. */
void memory_set(const struct region *regions, const int *descriptors, size_t count);
/* Where so many bytes are here; refuses what is not all within one region. */
void *memory_of_guest(uint64_t address, uint64_t size);
/* The same by the addresses that the guest's kernel has for rings. */
void *memory_of_user(uint64_t address, uint64_t size);

#endif
