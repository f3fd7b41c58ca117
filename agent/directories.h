/* The directories of a tree that is unpacked into, found from the machine's root each time: links
 * on the way may be absolute, or climb above the tree. */
#ifndef DIRECTORIES_H
#define DIRECTORIES_H

#include "common.h"

/* `path` is clean, and stays. */
void directories_open(int root, const char *path);
/* Open the directory at a path from the tree's root (empty: itself), made with those above it where
 * it is not there, which is noted; -1 with errno. The descriptor is good until the next call. */
int directories_enter(const char *below);
/* The same, and nothing is made. */
int directories_known(const char *below);

#endif
