#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define HIERARCHY "/sys/fs/cgroup"
#define GROUP_PATH HIERARCHY "/workload"

static int group = -1;

/* One by one: some cannot be had by everybody. */
static void enable(char *controllers)
{
    char line[64], *rest, *name = strtok_r(controllers, " \n", &rest);
    for (; name != NULL; name = strtok_r(NULL, " \n", &rest)) {
        snprintf(line, sizeof line, "+%s", name);
        write_file(HIERARCHY "/cgroup.subtree_control", line);
    }
}

void cgroup_open(void)
{
    if (mount("cgroup2", HIERARCHY, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return;
    enable((char[]) { "cpu pids" });
    if (mkdir(GROUP_PATH, 0755) == 0 || errno == EEXIST)
        group = open(GROUP_PATH, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void cgroup_open_all(void)
{
    char controllers[512];
    if (read_file(HIERARCHY "/cgroup.controllers", controllers, sizeof controllers) > 0)
        enable(controllers);
}

int cgroup_descriptor(void)
{
    return group;
}

int cgroup_of(pid_t pid)
{
    char file[64], text[4096], path[sizeof HIERARCHY + sizeof text];
    snprintf(file, sizeof file, "/proc/%d/cgroup", (int)pid);
    if (read_file(file, text, sizeof text) < 0)
        return -1;
    char *found = strstr(text, "0::");
    if (found == NULL)
        return -1;
    snprintf(path, sizeof path, HIERARCHY "%.*s", (int)strcspn(found + 3, "\n"), found + 3);
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

uint64_t cgroup_number(const char *file, const char *key)
{
    char text[8192];
    if (group < 0 || read_file_at(group, file, text, sizeof text) < 0)
        return 0;
    size_t length = strlen(key);
    for (char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, length) == 0)
            return strtoull(line + length, NULL, 10);
    }
    return 0;
}

static int missing(struct failure *failure)
{
    return fail(failure, UNSUPPORTED, "the guest's kernel has no cgroups");
}

static int limit(const char *file, uint64_t most, struct failure *failure)
{
    char text[32] = "max";
    if (group < 0)
        return most == 0 ? 0 : missing(failure);
    if (most != 0)
        snprintf(text, sizeof text, "%" PRIu64, most);
    return write_file(file, text) ? 0 : fail_errno(failure, "%s", file + sizeof GROUP_PATH);
}

int cgroup_limit_pids(uint64_t most, struct failure *failure)
{
    return limit(GROUP_PATH "/pids.max", most, failure);
}

int cgroup_limit_memory(uint64_t most, struct failure *failure)
{
    static const char file[] = GROUP_PATH "/memory.max";
    if (access(file, F_OK) < 0) {
        if (most == 0)
            return 0;
        enable((char[]) { "memory" });
        /* What was read before is charged when it is read again. */
        write_file("/proc/sys/vm/drop_caches", "1");
    }
    return limit(file, most, failure);
}

int cgroup_freeze(bool frozen, struct failure *failure)
{
    if (group < 0)
        return missing(failure);
    if (!write_file(GROUP_PATH "/cgroup.freeze", frozen ? "1" : "0"))
        return fail_errno(failure, "cgroup.freeze");
    return 0;
}
