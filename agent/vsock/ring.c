#include "ring.h"

#include <errno.h>
#include <sys/socket.h>

#include "memory.h"

enum { NEXT = 1, WRITE = 2, INDIRECT = 4 }; /* flags of a descriptor */
enum { NO_INTERRUPT = 1 };

bool ring_has(const struct ring *ring)
{
    return ring->enabled && ring->descriptors != NULL
           && __atomic_load_n(&ring->available->index, __ATOMIC_ACQUIRE) != ring->taken;
}

int ring_look(const struct ring *ring, bool writable, struct iovec *pieces, uint16_t *head)
{
    uint16_t waiting = __atomic_load_n(&ring->available->index, __ATOMIC_ACQUIRE) - ring->taken;
    if (waiting > ring->size)
        refuse("more buffers than its ring has");
    uint16_t at = __atomic_load_n(&ring->available->ring[ring->taken % ring->size], __ATOMIC_RELAXED);
    *head = at;
    for (int count = 0; count < MOST_PIECES;) {
        if (at >= ring->size)
            refuse("a descriptor that its ring has not");
        struct descriptor found;
        __builtin_memcpy(&found, &ring->descriptors[at], sizeof found);
        __asm__ volatile("" : "+m"(found)); /* what was read is what is used */
        if ((found.flags & INDIRECT) != 0 || ((found.flags & WRITE) != 0) != writable)
            refuse("a buffer of another kind");
        pieces[count].iov_base = memory_of_guest(found.address, found.length);
        pieces[count++].iov_len = found.length;
        if ((found.flags & NEXT) == 0)
            return count;
        at = found.next;
    }
    refuse("a buffer of too many pieces");
}

void ring_give(struct ring *ring, uint16_t head, uint32_t written)
{
    ring->taken++;
    ring->used->ring[ring->given % ring->size].id = head;
    ring->used->ring[ring->given % ring->size].length = written;
    __atomic_store_n(&ring->used->index, ++ring->given, __ATOMIC_RELEASE);
    ring->told = true;
}

void ring_call(struct ring *ring)
{
    static const uint64_t one = 1;
    if (!ring->told)
        return;
    ring->told = false;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if ((__atomic_load_n(&ring->available->flags, __ATOMIC_RELAXED) & NO_INTERRUPT) != 0
        || ring->call < 0)
        return;
    /* Where it does not go in, calls wait there that were not heard so far. */
    if (send(ring->call, &one, sizeof one, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN)
        refuse("a way to call it that leads nowhere");
}
