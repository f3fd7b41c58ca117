/* What the parts of heft-vsock share: the end, and memory of the guest. */
#ifndef VSOCK_COMMON_H
#define VSOCK_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* The guest asks for what no guest may: its machine ends, with these words on its console. */
_Noreturn void refuse(const char *why);
/* The host has refused something: likewise, with errno's words. */
_Noreturn void give_up(const char *what);

#endif
