/* What a child writes to its pipe: gathered, and passed on within the kernel where it is much. */
#ifndef SINK_H
#define SINK_H

#include <stdint.h>

#include "common.h"

void sink_open(int target);
/* All give -1 with errno. */
int sink_write(const void *data, size_t size);
int sink_zeros(uint64_t size);
/* A stretch of a file; zeros for what is not there any more. */
int sink_copy(int source, uint64_t offset, uint64_t size);
int sink_flush(void);

#endif
