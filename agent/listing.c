#include "listing.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "text.h"

/* `struct linux_dirent64` (getdents64(2)). */
struct record {
    uint64_t inode;
    int64_t next;
    uint16_t size;
    uint8_t type;
    char name[];
};

static int by_bytes(const void *one, const void *other)
{
    return strcmp(*(char *const *)one, *(char *const *)other);
}

static int read_names(int directory, struct text *names, size_t *count)
{
    static _Alignas(struct record) char block[32768];
    long size;
    if (lseek(directory, 0, SEEK_SET) < 0)
        return -1;
    while ((size = syscall(SYS_getdents64, directory, block, sizeof block)) > 0)
        for (long at = 0; at < size;) {
            const struct record *record = (void *)(block + at);
            const char *name = record->name;
            at += record->size;
            if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                continue;
            if (!text_add(names, name, strlen(name) + 1))
                return -1;
            ++*count;
        }
    return (int)size;
}

int listing_read(int directory, struct listing *listing)
{
    struct text names = { 0 };
    *listing = (struct listing){ 0 };
    if (read_names(directory, &names, &listing->count) < 0
        || (listing->name = malloc((listing->count + 1) * sizeof *listing->name)) == NULL) {
        int number = errno;
        text_free(&names);
        errno = number;
        return -1;
    }
    listing->text = names.data;
    char *name = names.data;
    for (size_t at = 0; at < listing->count; at++, name += strlen(name) + 1)
        listing->name[at] = name;
    qsort(listing->name, listing->count, sizeof *listing->name, by_bytes);
    return 0;
}

bool listing_has(const struct listing *listing, const char *name)
{
    return listing->count > 0
           && bsearch(&name, listing->name, listing->count, sizeof name, by_bytes) != NULL;
}

void listing_free(struct listing *listing)
{
    free(listing->text);
    free(listing->name);
    *listing = (struct listing){ 0 };
}
