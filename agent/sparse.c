#include "sparse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "source.h"

/* Stretches of one file: more than any tar has, and no more memory than there is. */
enum { MOST_STRETCHES = 1 << 18, MOST_LINE = 24 };

/* GNU's old format: stretches in the header, and in blocks after it. */
struct old_extent {
    char offset[12], size[12];
};
enum {
    OLD_PLACE = 386,
    OLD_COUNT = 4,
    OLD_MORE = 482,
    OLD_SIZE = 483,
    OLD_FURTHER = 21,
    OLD_FURTHER_MORE = 504,
};

static size_t room;

static int bad(const struct entry *entry, struct failure *failure)
{
    return fail(failure, INVALID, "invalid map of a file with holes at '%.256s'",
                entry->name.data);
}

static bool add(struct entry *entry, uint64_t offset, uint64_t size)
{
    if (entry->extent_count == room) {
        size_t larger = 2 * room + 64;
        struct extent *extents = realloc(entry->extents, larger * sizeof *extents);
        if (larger > 2 * MOST_STRETCHES || extents == NULL)
            return false;
        entry->extents = extents;
        room = larger;
    }
    entry->extents[entry->extent_count++] = (struct extent){ offset, size };
    return true;
}

/* Old GNU */

static int take_old(struct entry *entry, const char *block, int count, struct failure *failure)
{
    const struct old_extent *old = (const void *)block;
    for (int at = 0; at < count && old[at].offset[0] != 0; at++) {
        uint64_t offset, size;
        if (!tar_amount(old[at].offset, sizeof old[at].offset, &offset)
            || !tar_amount(old[at].size, sizeof old[at].size, &size) || !add(entry, offset, size))
            return bad(entry, failure);
    }
    return 0;
}

static int read_old(const char *head, struct entry *entry, struct failure *failure)
{
    char block[TAR_BLOCK];
    bool more = head[OLD_MORE] != 0;
    if (!tar_amount(head + OLD_SIZE, 12, &entry->size))
        return bad(entry, failure);
    if (take_old(entry, head + OLD_PLACE, OLD_COUNT, failure) < 0)
        return -1;
    while (more) {
        int got = source_read(block, sizeof block, failure);
        if (got <= 0)
            return got < 0 ? -1 : fail(failure, INVALID, "unexpected end of the tar");
        if (take_old(entry, block, OLD_FURTHER, failure) < 0)
            return -1;
        more = block[OLD_FURTHER_MORE] != 0;
    }
    return 0;
}

/* 0.0 and 0.1: the map is in pax records */

static bool take_list(struct entry *entry, const char *text, size_t size)
{
    uint64_t pair[2];
    int have = 0;
    for (const char *end = text + size; text <= end;) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        const char *after = comma != NULL ? comma : end;
        if (!tar_digits(text, (size_t)(after - text), &pair[have]))
            return false;
        have = !have;
        if (!have && !add(entry, pair[0], pair[1]))
            return false;
        text = after + 1;
    }
    return !have;
}

/* 1.0: the map is before the data, as lines: how many stretches, then offset and length of each */

static bool next_number(char block[static TAR_BLOCK], size_t *at, uint64_t *left, uint64_t *value,
                        struct failure *failure)
{
    char line[MOST_LINE];
    for (size_t size = 0; size < sizeof line; size++) {
        if (*at == TAR_BLOCK) {
            if (*left < TAR_BLOCK || source_read(block, TAR_BLOCK, failure) <= 0)
                return false;
            *left -= TAR_BLOCK;
            *at = 0;
        }
        line[size] = block[(*at)++];
        if (line[size] == '\n')
            return tar_digits(line, size, value);
    }
    return false;
}

static int read_map(struct entry *entry, uint64_t *left, struct failure *failure)
{
    char block[TAR_BLOCK];
    size_t at = sizeof block;
    uint64_t count, offset, size;
    failure->status = OK;
    if (!next_number(block, &at, left, &count, failure))
        return failure->status != OK ? -1 : bad(entry, failure);
    for (; count > 0; count--)
        if (!next_number(block, &at, left, &offset, failure)
            || !next_number(block, &at, left, &size, failure) || !add(entry, offset, size))
            return failure->status != OK ? -1 : bad(entry, failure);
    return 0;
}

/* What the pax records say of holes. */
struct said {
    bool any, in_data;
    uint64_t size, offset;
};

static bool take_record(struct entry *entry, const struct pax *pax, struct said *said)
{
    uint64_t value = 0;
    bool numeric = tar_digits(pax->value, pax->size, &value);
    if (pax->key_size < 11 || memcmp(pax->key, "GNU.sparse.", 11) != 0)
        return true;
    said->any = true;
    if (pax_is(pax, "GNU.sparse.major"))
        said->in_data = value == 1;
    else if (pax_is(pax, "GNU.sparse.size") || pax_is(pax, "GNU.sparse.realsize"))
        said->size = value;
    else if (pax_is(pax, "GNU.sparse.offset"))
        said->offset = value;
    else if (pax_is(pax, "GNU.sparse.numbytes"))
        return numeric && add(entry, said->offset, value);
    else if (pax_is(pax, "GNU.sparse.map"))
        return take_list(entry, pax->value, pax->size);
    else if (pax_is(pax, "GNU.sparse.name")) {
        text_cut(&entry->name, 0);
        return pax->size > 0 && memchr(pax->value, 0, pax->size) == NULL
               && text_add(&entry->name, pax->value, pax->size);
    } else
        return true;
    return numeric;
}

int sparse_read(const struct ustar *head, struct entry *entry, uint64_t *left,
                struct failure *failure)
{
    const char *at = entry->records.data, *end = at + entry->records.size;
    struct said said = { 0 };
    struct pax pax;
    if (entry->kind == 'S') {
        entry->kind = TAR_FILE;
        said.any = true;
        if (read_old((const char *)head, entry, failure) < 0)
            return -1;
    } else if (entry->kind == TAR_FILE) {
        while (at < end && pax_next(&at, end, &pax))
            if (!take_record(entry, &pax, &said))
                return bad(entry, failure);
        if (said.any)
            entry->size = said.size;
        if (said.in_data && read_map(entry, left, failure) < 0)
            return -1;
    }
    entry->sparse = said.any;
    for (size_t each = 0; each < entry->extent_count; each++)
        if (entry->extents[each].size > entry->size
            || entry->extents[each].offset > entry->size - entry->extents[each].size)
            return bad(entry, failure);
    return 0;
}
