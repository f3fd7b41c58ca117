/* What is in a directory, in order. */
#ifndef LISTING_H
#define LISTING_H

#include <stdbool.h>
#include <stddef.h>

struct listing {
    char *text;
    char **name; /* in the order of their bytes, without `.` and `..` */
    size_t count;
};

/* Read an open directory from its beginning; -1 with errno. */
int listing_read(int directory, struct listing *listing);
bool listing_has(const struct listing *listing, const char *name);
void listing_free(struct listing *listing);

#endif
