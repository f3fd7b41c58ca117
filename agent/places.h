/* Places in the machine's root, and what is mounted there. */
#ifndef PLACES_H
#define PLACES_H

#include "common.h"
#include "record.h"

/* Give a descriptor of what is at a path, made if it is not there. */
int place_point(const char *path, bool directory, struct failure *failure);
/* Give a path of an open file, good until the call after the next. */
const char *place_name(int fd);
/* Show what is at a path of the agent's own at one of the machine's. */
int place_bind(const char *source, const char *target, bool directory, bool read_only,
               struct failure *failure);
/* Let a mount of the agent's own go there. */
int place_move(const char *source, const char *target, struct failure *failure);
/* MOUNT of SETUP: a share or a tmpfs. */
int place_asked(struct bytes asked, struct failure *failure);

#endif
