#include "tar_read.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sparse.h"
#include "source.h"

enum { MOST_RECORDS = 1 << 20 };

static struct entry entry;
static struct text shared;        /* the records of the tar's global pax headers */
static uint64_t left, padding;    /* of the entry's data */

void tar_open(int source)
{
    source_open(source);
}

static int malformed(const char *what, struct failure *failure)
{
    return fail(failure, INVALID, "invalid tar header: %s", what);
}

static int no_memory(struct failure *failure)
{
    errno = ENOMEM;
    return fail_errno(failure, "the tar");
}

/* Numbers */

/* Octal digits, or GNU's base 256, which can be negative. */
static bool number(const char *field, size_t size, int64_t *value)
{
    const unsigned char *byte = (const unsigned char *)field;
    *value = 0;
    if (byte[0] == 0x80 || byte[0] == 0xff) {
        uint64_t sum = byte[0] == 0xff ? UINT64_MAX : 0;
        for (size_t at = 1; at < size; at++) {
            /* What does not fit into 63 bits is none of anybody's. */
            if (sum >> 55 != (byte[0] == 0xff ? 0x1ff : 0))
                return false;
            sum = sum << 8 | byte[at];
        }
        *value = (int64_t)sum;
        return true;
    }
    size_t at = 0;
    while (at < size && field[at] == ' ')
        at++;
    for (; at < size && field[at] >= '0' && field[at] <= '7'; at++)
        *value = *value * 8 + (field[at] - '0');
    for (; at < size && field[at] != 0; at++)
        if (field[at] != ' ')
            return false;
    return true;
}

bool tar_amount(const char *field, size_t size, uint64_t *value)
{
    int64_t found;
    bool valid = number(field, size, &found) && found >= 0;
    *value = valid ? (uint64_t)found : 0;
    return valid;
}

bool tar_digits(const char *text, size_t size, uint64_t *value)
{
    *value = 0;
    for (size_t at = 0; at < size; at++) {
        if (!isdigit((unsigned char)text[at]) || *value > (INT64_MAX - 9) / 10)
            return false;
        *value = *value * 10 + (uint64_t)(text[at] - '0');
    }
    return size > 0;
}

/* Seconds since 1970, with a fraction. */
static bool moment(const char *text, size_t size, struct timespec *time)
{
    bool before = size > 0 && text[0] == '-';
    const char *point = memchr(text, '.', size);
    size_t whole = point != NULL ? (size_t)(point - text) : size, at = whole + 1;
    uint64_t seconds;
    long fraction = 0;
    if (!tar_digits(text + before, whole - before, &seconds))
        return false;
    for (long unit = 100000000; at < size; at++, unit /= 10) {
        if (!isdigit((unsigned char)text[at]))
            return false;
        fraction += unit * (text[at] - '0');
    }
    time->tv_sec = before ? -(time_t)seconds : (time_t)seconds;
    if (before && fraction > 0) {
        time->tv_sec--;
        fraction = 1000000000 - fraction;
    }
    time->tv_nsec = fraction;
    return true;
}

/* Pax records */

bool pax_next(const char **at, const char *end, struct pax *pax)
{
    const char *blank = *at < end ? memchr(*at, ' ', (size_t)(end - *at)) : NULL;
    uint64_t length;
    if (blank == NULL || !tar_digits(*at, (size_t)(blank - *at), &length)
        || length > (uint64_t)(end - *at) || length < (uint64_t)(blank - *at) + 3)
        return false;
    const char *after = *at + length - 1;
    const char *equals = memchr(blank + 1, '=', (size_t)(after - blank - 1));
    if (equals == NULL || *after != '\n')
        return false;
    *pax = (struct pax){ blank + 1, equals + 1, (size_t)(equals - blank - 1),
                         (size_t)(after - equals - 1) };
    *at = after + 1;
    return true;
}

bool pax_is(const struct pax *pax, const char *key)
{
    return pax->key_size == strlen(key) && memcmp(pax->key, key, pax->key_size) == 0;
}

/* What an extended header says of the entry that it is before; a value that is empty says
 * nothing. */
static bool apply(const struct pax *pax)
{
    struct text *text = pax_is(pax, "path")       ? &entry.name
                        : pax_is(pax, "linkpath") ? &entry.link
                                                  : NULL;
    uint64_t *value = pax_is(pax, "uid")    ? &entry.uid
                      : pax_is(pax, "gid")  ? &entry.gid
                      : pax_is(pax, "size") ? &entry.size
                                            : NULL;
    if (pax->size == 0)
        return true;
    if (text != NULL) {
        text_cut(text, 0);
        return memchr(pax->value, 0, pax->size) == NULL && text_add(text, pax->value, pax->size);
    }
    if (value != NULL)
        return tar_digits(pax->value, pax->size, value);
    return !pax_is(pax, "mtime") || moment(pax->value, pax->size, &entry.time);
}

static int apply_all(struct failure *failure)
{
    const char *at = entry.records.data, *end = at + entry.records.size;
    struct pax pax;
    while (at < end)
        if (!pax_next(&at, end, &pax) || !apply(&pax))
            return malformed("a pax record", failure);
    return 0;
}

/* Read the data of a header that is more than one block. */
static int read_text(uint64_t size, struct text *text, struct failure *failure)
{
    char block[TAR_BLOCK];
    if (size > MOST_RECORDS || text->size + size > MOST_RECORDS)
        return malformed("it is larger than 1 MiB", failure);
    for (uint64_t done = 0; done < size; done += TAR_BLOCK) {
        int got = source_read(block, sizeof block, failure);
        if (got <= 0)
            return got < 0 ? -1 : fail(failure, INVALID, "unexpected end of the tar");
        size_t part = size - done < TAR_BLOCK ? (size_t)(size - done) : TAR_BLOCK;
        if (!text_add(text, block, part))
            return no_memory(failure);
    }
    return 0;
}

/* Headers */

/* Some old programs have summed signed bytes. */
static bool is_whole(const struct ustar *head)
{
    uint64_t sum;
    unsigned int plain = tar_sum((const void *)head), odd = plain;
    for (size_t at = 0; at < TAR_BLOCK; at++)
        if (at < offsetof(struct ustar, sum) || at >= offsetof(struct ustar, kind))
            odd -= ((const unsigned char *)head)[at] >= 0x80 ? 0x100 : 0;
    return tar_amount(head->sum, sizeof head->sum, &sum) && (sum == plain || sum == odd);
}

static bool is_empty(const void *block)
{
    static const char zeros[TAR_BLOCK];
    return memcmp(block, zeros, TAR_BLOCK) == 0;
}

/* Fill in what the block itself says; names that came before stay. */
static int take_head(const struct ustar *head, struct failure *failure)
{
    int64_t seconds;
    uint64_t mode;
    entry.kind = head->kind == 0 || head->kind == '7' ? TAR_FILE : head->kind;
    if (!tar_amount(head->mode, sizeof head->mode, &mode)
        || !tar_amount(head->uid, sizeof head->uid, &entry.uid)
        || !tar_amount(head->gid, sizeof head->gid, &entry.gid)
        || !tar_amount(head->size, sizeof head->size, &entry.size)
        || !number(head->mtime, sizeof head->mtime, &seconds))
        return malformed("a number", failure);
    entry.mode = mode & 07777;
    entry.time = (struct timespec){ .tv_sec = seconds };
    if ((entry.kind == TAR_CHARACTER || entry.kind == TAR_DEVICE)
        && (!tar_amount(head->major, sizeof head->major, &entry.major)
            || !tar_amount(head->minor, sizeof head->minor, &entry.minor)))
        return malformed("a device number", failure);
    size_t prefix = memcmp(head->magic, "ustar", 6) == 0 ? strnlen(head->prefix, TAR_PREFIX) : 0;
    bool named = entry.name.size > 0
                 || ((prefix == 0 || (text_add(&entry.name, head->prefix, prefix)
                                      && text_add(&entry.name, "/", 1)))
                     && text_add(&entry.name, head->name, strnlen(head->name, TAR_NAME)));
    bool linked = entry.link.size > 0
                  || text_add(&entry.link, head->link, strnlen(head->link, sizeof head->link));
    return named && linked ? 0 : no_memory(failure);
}

/* Take a header that says something of the next one. */
static int take_extension(const struct ustar *head, struct text *own, struct failure *failure)
{
    struct text *text = head->kind == 'L'   ? &entry.name
                        : head->kind == 'K' ? &entry.link
                        : head->kind == 'g' ? &shared
                                            : own;
    uint64_t size;
    if (!tar_amount(head->size, sizeof head->size, &size))
        return malformed("a number", failure);
    bool long_name = head->kind == 'L' || head->kind == 'K';
    if (long_name)
        text_cut(text, 0);
    if (read_text(size, text, failure) < 0)
        return -1;
    if (long_name)
        text_cut(text, text->data != NULL ? strlen(text->data) : 0);
    return 0;
}

/* The end of a header: what its records say, and its map of holes. */
static int finish_head(const struct ustar *head, struct text *own, struct failure *failure)
{
    struct text *records = &entry.records;
    if (!text_add(records, shared.data, shared.size) || !text_add(records, own->data, own->size))
        return no_memory(failure);
    if (take_head(head, failure) < 0 || apply_all(failure) < 0)
        return -1;
    size_t name = entry.name.size;
    if (head->kind == 0 && name > 0 && entry.name.data[name - 1] == '/')
        entry.kind = TAR_DIRECTORY; /* before ustar there was no other way to say so */
    /* Links, devices and directories have none, whatever their size is said to be. */
    left = strchr("123456", entry.kind) != NULL ? 0 : entry.size;
    padding = tar_padding(left);
    return sparse_read(head, &entry, &left, failure);
}

int tar_next(struct entry **found, struct failure *failure)
{
    struct text own = { 0 };
    struct ustar head;
    int got;
    *found = &entry;
    if (source_skip(left, failure) < 0 || source_skip(padding, failure) < 0)
        return -1;
    left = padding = 0;
    text_cut(&entry.name, 0);
    text_cut(&entry.link, 0);
    text_cut(&entry.records, 0);
    entry.sparse = false;
    entry.extent_count = 0;
    while ((got = source_read(&head, sizeof head, failure)) > 0 && !is_empty(&head)) {
        if (!is_whole(&head)) {
            got = malformed("its sum is wrong", failure);
        } else if (memchr("xgLKX", head.kind, 5) != NULL) {
            if (take_extension(&head, &own, failure) == 0)
                continue;
            got = -1;
        } else if (head.kind == 'V') {
            continue; /* the name of a volume */
        } else {
            got = finish_head(&head, &own, failure) < 0 ? -1 : 1;
        }
        text_free(&own);
        return got;
    }
    bool pending = own.size > 0 || entry.name.size > 0 || entry.link.size > 0;
    text_free(&own);
    if (got >= 0 && pending)
        return malformed("it says something of an entry that does not come", failure);
    return got < 0 ? -1 : 0;
}

int tar_pour(int fd, uint64_t size, struct failure *failure)
{
    if (size > left)
        return malformed("a map of a file with holes", failure);
    left -= size;
    return source_pour(fd, size, entry.name.data, failure);
}

int tar_end(struct failure *failure)
{
    return source_end(failure);
}
