/* What is made in the root to mount on. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"
#include "place.h"

static char **points;
static size_t count;

bool machine_is_point(const char *path)
{
    for (size_t at = 0; at < count; at++)
        if (strcmp(points[at], path) == 0)
            return true;
    return false;
}

static void remember(const char *path)
{
    if (machine_is_point(path))
        return;
    points = realloc(points, (count + 1) * sizeof *points);
    char *kept = strdup(path);
    if (points == NULL || kept == NULL)
        panic("no memory");
    points[count++] = kept;
}

void machine_remember_point(const char *path)
{
    char clean[PATH_MAX];
    bool climbs;
    if (place_clean(path, clean, &climbs) < 0)
        return; /* nothing can be mounted there */
    for (char *slash = clean; (slash = strchr(slash + 1, '/')) != NULL; *slash = '/') {
        *slash = 0;
        remember(clean);
    }
    remember(clean);
}
