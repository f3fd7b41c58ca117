/* Byte streams between the guest and descriptors: virtio-vsock (VIRTIO 1.1, 5.10).
 *
 * Each has a port of its own, to which the guest can connect once. As long as it has not, what comes
 * for it waits where it is. Both sides have bounded room, and say how much of it is free. */
#ifndef VSOCK_STREAMS_H
#define VSOCK_STREAMS_H

#include <poll.h>

#include "common.h"

enum { MOST_STREAMS = 24, MOST_POLLED = 2 * MOST_STREAMS };

/* What is read of `in` goes to the guest, what comes of it is written to `out`; they may be one. */
void streams_add(uint32_t port, int in, int out);
/* Move all that can be moved now, in both directions. */
void streams_move(void);
/* Write down what there is to wait for; how many these are. */
int streams_wait(struct pollfd *polled);

#endif
