/* What the guest uses, as its kernel counts it. */
#ifndef STATS_H
#define STATS_H

#include "record.h"

void put_stats(struct writer *writer);

#endif
