/* The maps of files with holes, in each of GNU's formats. */
#ifndef SPARSE_H
#define SPARSE_H

#include "tar_read.h"

/* Read what belongs to a header of the entry, from the tar if it is there; `left` is what there is
 * of the entry's data. */
int sparse_read(const struct ustar *head, struct entry *entry, uint64_t *left,
                struct failure *failure);

#endif
