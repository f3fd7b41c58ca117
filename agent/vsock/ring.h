/* A split virtqueue (VIRTIO 1.1, 2.6), seen from the device. All in it is the guest's, who may change
 * it at any time: each field is read once, and checked after that. */
#ifndef VSOCK_RING_H
#define VSOCK_RING_H

#include "common.h"

enum { MOST_ENTRIES = 1024, MOST_PIECES = 16 };

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
};

struct available {
    uint16_t flags, index, ring[];
};

struct used {
    uint16_t flags, index;
    struct {
        uint32_t id, length;
    } ring[];
};

struct ring {
    struct descriptor *descriptors; /* NULL: it is not set up */
    struct available *available;
    struct used *used;
    uint32_t size;
    uint16_t taken, given; /* indexes: of what is next to be taken, to be given back */
    bool enabled, told; /* `told`: something was given back that the guest was not called for */
    int kick, call; /* -1: none */
};

/* Whether the guest has put something into it. */
bool ring_has(const struct ring *ring);
/* The buffers of what comes next: how many, of which memory. They stay there until `ring_give`. */
int ring_look(const struct ring *ring, bool writable, struct iovec *pieces, uint16_t *head);
/* Take that, and give it back with so many bytes written. */
void ring_give(struct ring *ring, uint16_t head, uint32_t written);
/* Interrupt the guest, if something was given back and it wants to know. */
void ring_call(struct ring *ring);

#endif
