/* Devices of the guest, found by what the daemon knows of them. */
#ifndef DEVICE_H
#define DEVICE_H

#include "common.h"

/* Listen for devices that appear; before the drivers of the transports are loaded. */
void devices_listen(void);
/* The file in /dev of a disk: by the serial number of a virtio disk, or by its path. */
int device_of_disk(const char *selector, char *path, size_t size, struct failure *failure);
/* The interface with a hardware address. */
int device_of_card(const char *mac, char name[static 16], struct failure *failure);
/* Give a card back the address that it has in a template. */
int device_restore_card(const char *name, struct failure *failure);
/* Connect to a port of the host (vsock(7)); -1 with errno where nobody is there. */
int device_connect(unsigned int port);
/* Open the virtio-serial port with a name, as soon as it is there. */
int device_open_port(const char *name);

#endif
