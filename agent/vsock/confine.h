/* What heft-vsock can do once it works: nothing but that. */
#ifndef VSOCK_CONFINE_H
#define VSOCK_CONFINE_H

void confine(void);

#endif
