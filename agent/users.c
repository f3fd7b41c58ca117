#include "users.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MOST_TEXT = 16 << 20,
    LARGEST_ID = INT_MAX,
    MOST_GROUPS = NGROUPS_MAX,
    REFUSED = 128,
    FIELDS = 7,
};

/* One line: its fields, in place. */
struct entry {
    struct bytes field[FIELDS];
    int count;
};

char *users_text(int root, const char *path)
{
    struct stat status;
    char *text = NULL;
    /* Not waiting for a FIFO. */
    int fd = open_in(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode)
        && status.st_size <= MOST_TEXT) {
        size_t size = (size_t)status.st_size, used = 0;
        ssize_t count;
        text = allocate(size + 1);
        while (used < size && (count = read(fd, text + used, size - used)) > 0)
            used += (size_t)count;
    }
    if (fd >= 0)
        close(fd);
    return text != NULL ? text : allocate(1);
}

/* Read the next line that has something to say; false at the end. */
static bool next_entry(const char **text, struct entry *entry)
{
    while (**text != 0) {
        const char *at = *text, *end = strchrnul(at, '\n');
        *text = *end != 0 ? end + 1 : end;
        while (at < end && isspace((unsigned char)*at))
            at++;
        while (at < end && isspace((unsigned char)end[-1]))
            end--;
        if (at == end || *at == '#')
            continue;
        for (entry->count = 0; entry->count < FIELDS; entry->count++) {
            const char *colon = memchr(at, ':', (size_t)(end - at));
            size_t size = (size_t)((colon != NULL ? colon : end) - at);
            entry->field[entry->count] = (struct bytes){ (const unsigned char *)at, size };
            if (colon == NULL) {
                entry->count++;
                break;
            }
            at = colon + 1;
        }
        return true;
    }
    return false;
}

/* A whole number; false where it is none. What is too large for any id stays too large. */
static bool number(struct bytes text, uint64_t *value)
{
    *value = 0;
    for (size_t at = 0; at < text.size; at++) {
        if (!isdigit(text.data[at]))
            return false;
        if (*value < UINT64_MAX / 16)
            *value = *value * 10 + (uint64_t)(text.data[at] - '0');
    }
    return text.size > 0;
}

static bool same(struct bytes text, struct bytes other)
{
    return text.size == other.size && memcmp(text.data, other.data, text.size) == 0;
}

static bool is_user(const struct entry *entry, uint64_t *uid)
{
    return entry->field[0].size > 0 && entry->count > 2 && number(entry->field[2], uid);
}

static char *copy(struct bytes text)
{
    char *copied = allocate(text.size + 1);
    memcpy(copied, text.data, text.size);
    return copied;
}

static int check(uint64_t id, struct failure *failure)
{
    if (id > LARGEST_ID)
        return fail(failure, START_FAILED, "uids and gids must be in range 0-%d", LARGEST_ID);
    return (int)id;
}

/* Look the user up; its name is empty where it is only a number, or none. */
static int find_user(const char *text, struct bytes user, struct identity *identity,
                     struct bytes *name, struct failure *failure)
{
    struct entry entry;
    uint64_t uid, gid, wanted;
    bool numeric = number(user, &wanted);
    while (next_entry(&text, &entry)) {
        if (!is_user(&entry, &uid))
            continue;
        if (user.size == 0 ? uid != 0
                           : !same(entry.field[0], user) && !(numeric && uid == wanted))
            continue;
        identity->uid = (uid_t)uid;
        identity->gid = entry.count > 3 && number(entry.field[3], &gid) ? (gid_t)gid : 0;
        if (entry.count > 5 && entry.field[5].size > 0)
            identity->home = copy(entry.field[5]);
        *name = entry.field[0];
        return 0;
    }
    if (user.size > 0 && !numeric)
        return fail(failure, START_FAILED,
                    "unable to find user %.*s: no matching entries in passwd file", (int)user.size,
                    user.data);
    int id = user.size > 0 ? check(wanted, failure) : 0;
    identity->uid = (uid_t)id;
    return id < 0 ? -1 : 0;
}

static int find_group(const char *text, struct bytes group, const char *complaint, gid_t *found,
                      struct failure *failure)
{
    struct entry entry;
    uint64_t gid, wanted;
    bool numeric = number(group, &wanted);
    while (next_entry(&text, &entry))
        if (is_user(&entry, &gid)
            && (same(entry.field[0], group) || (numeric && gid == wanted))) {
            *found = (gid_t)gid;
            return 0;
        }
    if (!numeric)
        return fail(failure, START_FAILED, "%s %.*s: no matching entries in group file", complaint,
                    (int)group.size, group.data);
    int id = check(wanted, failure);
    *found = (gid_t)id;
    return id < 0 ? -1 : 0;
}

static void add_group(struct identity *identity, gid_t gid)
{
    for (size_t at = 0; at < identity->count; at++)
        if (identity->groups[at] == gid)
            return;
    if (identity->count < MOST_GROUPS)
        identity->groups[identity->count++] = gid;
}

static bool has_member(struct bytes members, struct bytes name)
{
    while (members.size > 0) {
        const unsigned char *comma = memchr(members.data, ',', members.size);
        size_t size = comma != NULL ? (size_t)(comma - members.data) : members.size;
        if (same((struct bytes){ members.data, size }, name))
            return true;
        size += comma != NULL;
        members.data += size;
        members.size -= size;
    }
    return false;
}

/* The groups that a user is listed in. */
static void add_memberships(const char *text, struct bytes name, struct identity *identity)
{
    struct entry entry;
    uint64_t gid;
    while (next_entry(&text, &entry))
        if (is_user(&entry, &gid) && entry.count > 3 && has_member(entry.field[3], name))
            add_group(identity, (gid_t)gid);
}

int identify(int root, const char *user, struct bytes record, struct identity *identity,
             struct failure *failure)
{
    size_t length = strcspn(user, ":");
    struct bytes spec = { (const unsigned char *)user, length }, name = { NULL, 0 };
    struct bytes group = { (const unsigned char *)user + length + 1, 0 };
    struct field field;
    const char *groups = users_text(root, "/etc/group");
    failure->exit_code = REFUSED;
    if (user[length] == ':')
        group.size = strlen(user) - length - 1;
    *identity = (struct identity){ .groups = allocate(MOST_GROUPS * sizeof(gid_t)) };
    identity->home = copy((struct bytes){ (const unsigned char *)"/", 1 });
    if (find_user(users_text(root, "/etc/passwd"), spec, identity, &name, failure) < 0)
        return -1;
    if (group.size > 0
        && find_group(groups, group, "unable to find group", &identity->gid, failure) < 0)
        return -1;
    add_group(identity, identity->gid);
    if (group.size == 0 && name.size > 0)
        add_memberships(groups, name, identity);
    while (record_next(&record, &field)) {
        gid_t gid;
        if (field.tag != GROUP)
            continue;
        if (find_group(groups, field.value, "Unable to find group", &gid, failure) < 0)
            return -1;
        add_group(identity, gid);
    }
    return 0;
}

const char *user_name(const char *users, uid_t uid, char *name, size_t size)
{
    struct entry entry;
    uint64_t found;
    while (next_entry(&users, &entry))
        if (is_user(&entry, &found) && found == uid) {
            snprintf(name, size, "%.*s", (int)entry.field[0].size, entry.field[0].data);
            return name;
        }
    return NULL;
}
