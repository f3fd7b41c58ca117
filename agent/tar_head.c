#include "tar_head.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "sink.h"

#define MOST_OCTAL_7 UINT64_C(07777777)
#define MOST_OCTAL_11 UINT64_C(077777777777)

size_t tar_padding(uint64_t size)
{
    return (size_t)(-size % TAR_BLOCK);
}

unsigned int tar_sum(const unsigned char *block)
{
    unsigned int sum = 0;
    for (size_t at = 0; at < TAR_BLOCK; at++)
        sum += at >= offsetof(struct ustar, sum) && at < offsetof(struct ustar, kind) ? ' '
                                                                                       : block[at];
    return sum;
}

bool tar_record(struct text *records, const char *key, const void *value, size_t size)
{
    /* The length counts its own digits. */
    size_t rest = strlen(key) + size + 3, length = rest + 1;
    for (size_t least = 10; length >= least; least *= 10)
        length++;
    return text_format(records, "%zu ", length) && text_add(records, key, strlen(key))
           && text_add(records, "=", 1) && text_add(records, value, size)
           && text_add(records, "\n", 1);
}

static bool number_record(struct text *records, const char *key, uint64_t number)
{
    char digits[24];
    int size = snprintf(digits, sizeof digits, "%" PRIu64, number);
    return tar_record(records, key, digits, (size_t)size);
}

static bool time_record(struct text *records, struct timespec time)
{
    char digits[48];
    int64_t seconds = time.tv_sec;
    long fraction = time.tv_nsec;
    bool before = seconds < 0;
    if (before && fraction > 0) {
        seconds++;
        fraction = 1000000000 - fraction;
    }
    int size = snprintf(digits, sizeof digits, "%s%" PRIu64, before ? "-" : "",
                        before ? -(uint64_t)seconds : (uint64_t)seconds);
    if (fraction > 0)
        size += snprintf(digits + size, sizeof digits - (size_t)size, ".%09ld", fraction);
    return tar_record(records, "mtime", digits, (size_t)size);
}

/* Where to split a name into ustar's name and prefix: at the slash there; 0: it needs none, -1: it
 * cannot be. A directory's own slash at the end is no place to split. */
static long split(const char *name, size_t size)
{
    if (size <= TAR_NAME)
        return 0;
    for (size_t at = size - 1 < TAR_PREFIX ? size - 1 : TAR_PREFIX; at > 0; at--)
        if (name[at] == '/' && size - at - 1 <= TAR_NAME && at + 1 < size)
            return (long)at;
    return -1;
}

static void octal(char *field, size_t size, uint64_t number, uint64_t most)
{
    /* What does not fit stands in a pax record. */
    snprintf(field, size, "%0*" PRIo64, (int)size - 1, number <= most ? number : 0);
}

static int put_ustar(const struct head *head, size_t name, long cut)
{
    struct ustar block;
    const char *rest = cut > 0 ? head->name + cut + 1 : head->name;
    size_t left = cut > 0 ? name - (size_t)cut - 1 : name;
    memset(&block, 0, sizeof block);
    memcpy(block.name, rest, left < TAR_NAME ? left : TAR_NAME);
    if (cut > 0)
        memcpy(block.prefix, head->name, (size_t)cut);
    if (head->link != NULL)
        memcpy(block.link, head->link, strnlen(head->link, sizeof block.link));
    octal(block.mode, sizeof block.mode, head->mode & 07777, MOST_OCTAL_7);
    octal(block.uid, sizeof block.uid, head->uid, MOST_OCTAL_7);
    octal(block.gid, sizeof block.gid, head->gid, MOST_OCTAL_7);
    octal(block.size, sizeof block.size, head->size, MOST_OCTAL_11);
    octal(block.mtime, sizeof block.mtime, (uint64_t)head->time.tv_sec, MOST_OCTAL_11);
    octal(block.major, sizeof block.major, major(head->device), MOST_OCTAL_7);
    octal(block.minor, sizeof block.minor, minor(head->device), MOST_OCTAL_7);
    block.kind = (char)head->kind;
    memcpy(block.magic, "ustar\00000", sizeof block.magic);
    octal(block.sum, sizeof block.sum - 1, tar_sum((void *)&block), MOST_OCTAL_7);
    block.sum[sizeof block.sum - 1] = ' ';
    return sink_write(&block, sizeof block);
}

static int put_pax(const struct text *records)
{
    struct head head = { .name = "PaxHeaders.0/entry", .kind = 'x', .mode = 0644,
                         .size = records->size };
    if (put_ustar(&head, strlen(head.name), 0) < 0 || sink_write(records->data, records->size) < 0)
        return -1;
    return sink_zeros(tar_padding(records->size));
}

int tar_head(const struct head *head)
{
    struct text records = { 0 };
    size_t name = strlen(head->name), link = head->link != NULL ? strlen(head->link) : 0;
    long cut = split(head->name, name);
    uint64_t seconds = (uint64_t)head->time.tv_sec;
    /* `path` goes first: to some readers the last name counts, which is that of a sparse file. */
    bool done =
        (cut >= 0 || tar_record(&records, "path", head->name, name))
        && (link <= TAR_NAME || tar_record(&records, "linkpath", head->link, link))
        && (head->uid <= MOST_OCTAL_7 || number_record(&records, "uid", head->uid))
        && (head->gid <= MOST_OCTAL_7 || number_record(&records, "gid", head->gid))
        && (head->size <= MOST_OCTAL_11 || number_record(&records, "size", head->size))
        && ((seconds <= MOST_OCTAL_11 && head->time.tv_nsec == 0)
            || time_record(&records, head->time))
        && (head->records == NULL || text_add(&records, head->records->data, head->records->size))
        && (records.size == 0 || put_pax(&records) == 0);
    text_free(&records);
    return done ? put_ustar(head, name, cut) : -1;
}
