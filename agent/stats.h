/* What the guest uses, as its kernel counts it. */
#ifndef STATS_H
#define STATS_H

#include "record.h"

void put_stats(struct writer *writer);
/* How often memory has run out for a process of the guest. */
uint64_t memory_kills(void);

#endif
