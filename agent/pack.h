/* A tree of files as a tar, written to the sink as it is read.
 *
 * Everything is reached through the descriptor of its directory, and no link is ever followed: the
 * tree is a machine's, which changes it meanwhile. A file that shrinks is filled up with zeros, one
 * that is gone is left out, and so is what a tar cannot hold (sockets).
 */
#ifndef PACK_H
#define PACK_H

#include <sys/stat.h>

#include "common.h"

/* Whether something below what is packed is to be left out, by its name in the tar. */
typedef bool pack_skip(const char *shown);

/* Whether an extended attribute means something elsewhere. */
bool attribute_is_kept(const char *name);

/* An open directory and all below it; the descriptor is taken. Where `shown` is empty, it has no
 * entry itself, and names begin with what is in it. */
int pack_tree(int directory, const char *shown, pack_skip *skip, struct failure *failure);
/* The entry of a directory alone. */
int pack_directory(int directory, const char *shown, struct failure *failure);
/* The entry of what is no directory, by its name in a directory. */
int pack_entry(int directory, const char *name, const char *shown, const struct stat *status,
               struct failure *failure);
/* An empty file that stands for something else. */
int pack_mark(const char *shown, struct failure *failure);
/* The end of the tar, and all that waits. */
int pack_finish(struct failure *failure);

#endif
