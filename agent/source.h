/* What comes through a child's pipe. */
#ifndef SOURCE_H
#define SOURCE_H

#include <stdint.h>

#include "common.h"

void source_open(int fd);
/* Read so many bytes: 1, 0 where the stream has ended before the first, -1. */
int source_read(void *data, size_t size, struct failure *failure);
int source_skip(uint64_t size, struct failure *failure);
/* Write the next bytes to the file of this name. */
int source_pour(int fd, uint64_t size, const char *name, struct failure *failure);
/* Read up to the end of the stream. */
int source_end(struct failure *failure);

#endif
