#include "environment.h"

#include <stdio.h>
#include <string.h>

#include "common.h"
#include "machine.h"

enum { OURS = 4 };

char **texts(struct bytes record, enum tag tag)
{
    struct bytes rest = record;
    struct field field;
    size_t count = 0;
    while (record_next(&rest, &field))
        count += field.tag == tag;
    char **found = allocate((count + 1) * sizeof *found);
    count = 0;
    while (record_next(&record, &field))
        if (field.tag == tag && (found[count] = bytes_text(field.value)) != NULL)
            count++;
    found[count] = NULL;
    return found;
}

const char *variable(char **environment, const char *name)
{
    size_t length = strlen(name);
    for (; *environment != NULL; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

/* Put an entry in the place of the one with its name, or at the end; one without a value takes that
 * away. */
static void put(char **environment, char *entry)
{
    size_t length = strcspn(entry, "=");
    char **at = environment;
    while (*at != NULL && (strncmp(*at, entry, length) != 0 || (*at)[length] != '='))
        at++;
    if (entry[length] == '=') {
        if (*at == NULL)
            at[1] = NULL;
        *at = entry;
        return;
    }
    for (; *at != NULL; at++)
        *at = at[1];
}

static void put_ours(char **environment, const char *name, const char *value)
{
    size_t size = strlen(name) + strlen(value) + 2;
    char *entry = allocate(size);
    snprintf(entry, size, "%s=%s", name, value);
    put(environment, entry);
}

char **make_environment(struct bytes record, const char *home)
{
    char **asked = texts(record, ENV);
    size_t count = 0;
    while (asked[count] != NULL)
        count++;
    char **environment = allocate((count + OURS + 1) * sizeof *environment);
    environment[0] = NULL;
    put_ours(environment, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    put_ours(environment, "HOSTNAME", machine.hostname);
    put_ours(environment, "HOME", home);
    if (record_number(record, TTY))
        put_ours(environment, "TERM", "xterm");
    for (; *asked != NULL; asked++)
        put(environment, *asked);
    return environment;
}
