#include "stats.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cgroup.h"
#include "common.h"

enum { MICRO = 1000, KIB = 1024, SECTOR = 512 };

/* The number behind a word of /proc/meminfo. */
static uint64_t after(const char *text, const char *word)
{
    const char *found = strstr(text, word);
    return found != NULL ? strtoull(found + strlen(word), NULL, 10) : 0;
}

uint64_t memory_kills(void)
{
    char text[8192];
    return read_file("/proc/vmstat", text, sizeof text) < 0 ? 0 : after(text, "\noom_kill ");
}

static void put_memory(struct writer *writer)
{
    char text[8192];
    if (read_file("/proc/meminfo", text, sizeof text) < 0)
        return;
    put_number(writer, MEMORY_TOTAL, after(text, "MemTotal:") * KIB);
    put_number(writer, MEMORY_AVAILABLE, after(text, "MemAvailable:") * KIB);
    /* Not "Cached:", which has the files of the initramfs in it. */
    put_number(writer, MEMORY_CACHE, (after(text, "Active(file):") + after(text, "Inactive(file):")
                                      + after(text, "Shmem:")) * KIB);
    put_number(writer, MEMORY_ANON, after(text, "AnonPages:") * KIB);
}

/* All cards but the loopback (proc(5), /proc/net/dev). */
static void put_network(struct writer *writer)
{
    char text[8192];
    uint64_t sum[4] = { 0 };
    if (read_file("/proc/net/dev", text, sizeof text) < 0)
        return;
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
        uint64_t got[4];
        char *colon = strchr(line, ':');
        if (colon == NULL || strstr(line, " lo:") != NULL || strncmp(line, "lo:", 3) == 0)
            continue;
        if (sscanf(colon + 1,
                   "%" SCNu64 " %" SCNu64 " %*u %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64, &got[0],
                   &got[1], &got[2], &got[3]) != 4)
            continue;
        for (int at = 0; at < 4; at++)
            sum[at] += got[at];
    }
    put_number(writer, NET_RECEIVED, sum[0]);
    put_number(writer, NET_RECEIVED_PACKETS, sum[1]);
    put_number(writer, NET_SENT, sum[2]);
    put_number(writer, NET_SENT_PACKETS, sum[3]);
}

/* Partitions are counted with their disks already. */
static bool is_whole_disk(const char *name)
{
    char path[96];
    snprintf(path, sizeof path, "/sys/block/%s", name);
    for (char *at = path + strlen("/sys/block/"); *at != 0; at++)
        if (*at == '/')
            *at = '!'; /* as sysfs has it */
    return access(path, F_OK) == 0;
}

/* All whole disks (the kernel's Documentation/admin-guide/iostats.rst). */
static void put_disks(struct writer *writer)
{
    char text[8192], name[64];
    uint64_t sum[2] = { 0 }, got[2];
    if (read_file("/proc/diskstats", text, sizeof text) < 0)
        return;
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (sscanf(line, "%*u %*u %63s %*u %*u %" SCNu64 " %*u %*u %*u %" SCNu64, name, &got[0],
                   &got[1]) != 3 || !is_whole_disk(name))
            continue;
        sum[0] += got[0];
        sum[1] += got[1];
    }
    put_number(writer, DISK_READ, sum[0] * SECTOR);
    put_number(writer, DISK_WRITTEN, sum[1] * SECTOR);
}

void put_stats(struct writer *writer)
{
    put_number(writer, CPU, cgroup_number("cpu.stat", "usage_usec ") * MICRO);
    put_number(writer, CPU_USER, cgroup_number("cpu.stat", "user_usec ") * MICRO);
    put_number(writer, CPU_SYSTEM, cgroup_number("cpu.stat", "system_usec ") * MICRO);
    put_number(writer, PIDS, cgroup_number("pids.current", ""));
    put_memory(writer);
    put_network(writer);
    put_disks(writer);
}
