/* The device as vhost-user has it (QEMU, docs/interop/vhost-user.rst): who drives it is the guest's
 * kernel (Linux, arch/um/drivers/virtio_uml.c). */
#ifndef VSOCK_VHOST_H
#define VSOCK_VHOST_H

#include "ring.h"

enum { RECEIVING, SENDING, EVENTS, RINGS }; /* as the guest has them: VIRTIO 1.1, 5.10.2 */
enum { GUEST_CID = 3, HOST_CID = 2 };

extern struct ring rings[RINGS];

/* Take one message of the guest's kernel; false: there will be no more. */
bool vhost_take(int socket);

#endif
