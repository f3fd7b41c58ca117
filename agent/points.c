/* What is made in the root to mount on, where the image has nothing there. */
#include <stddef.h>
#include <string.h>

#include "machine.h"

/* The targets of a user's own mounts are none of these: they show as changes, as Docker has it. */
static const char *const points[] = {
    "/dev", "/dev/console", "/dev/mqueue", "/dev/pts", "/dev/shm",
    "/etc", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf",
    "/proc", "/sys", "/sys/fs", "/sys/fs/cgroup",
};

bool machine_is_point(const char *path)
{
    for (size_t at = 0; at < sizeof points / sizeof *points; at++)
        if (strcmp(points[at], path) == 0)
            return true;
    return strncmp(path, "/lib/modules", 12) == 0 || strncmp(path, "/usr/lib/modules", 16) == 0;
}
