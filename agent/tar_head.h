/* The headers of a tar: POSIX ustar, and pax records where ustar has no room. */
#ifndef TAR_HEAD_H
#define TAR_HEAD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "text.h"

enum { TAR_BLOCK = 512, TAR_NAME = 100, TAR_PREFIX = 155 };
enum tar_kind {
    TAR_FILE = '0',
    TAR_LINK = '1',
    TAR_SYMLINK = '2',
    TAR_CHARACTER = '3',
    TAR_DEVICE = '4',
    TAR_DIRECTORY = '5',
    TAR_FIFO = '6',
};

/* POSIX.1-2017, pax, "ustar Interchange Format". */
struct ustar {
    char name[TAR_NAME], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], kind;
    char link[100], magic[8], user[32], group[32], major[8], minor[8], prefix[TAR_PREFIX], gap[12];
};
_Static_assert(sizeof(struct ustar) == TAR_BLOCK, "a header is one block");

/* One entry. */
struct head {
    const char *name, *link;
    enum tar_kind kind;
    mode_t mode;
    uid_t uid;
    gid_t gid;
    uint64_t size; /* of the data that follows */
    struct timespec time;
    dev_t device;
    const struct text *records; /* further pax records; NULL: none */
};

/* Write the header, with a pax header before it if it needs one; -1 with errno. */
int tar_head(const struct head *head);
/* Add a pax record. */
bool tar_record(struct text *records, const char *key, const void *value, size_t size);
/* What fills data of this size up to whole blocks. */
size_t tar_padding(uint64_t size);
/* The sum of a header's bytes that it holds itself, with blanks in the sum's place. */
unsigned int tar_sum(const unsigned char *block);

#endif
