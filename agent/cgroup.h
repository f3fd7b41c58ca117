/* The cgroup (v2) of everything that is the machine's. */
#ifndef CGROUP_H
#define CGROUP_H

#include "common.h"

/* Mount the hierarchy for the agent, make the group, with those controllers that Heft uses: others
 * would be asked at each request of a disk. Without cgroups in the kernel, all goes on. */
void cgroup_open(void);
/* Let the group have all others too, for who manages it. */
void cgroup_open_all(void);
/* A descriptor of the group to start processes in (clone3(2), CLONE_INTO_CGROUP); -1: none. */
int cgroup_descriptor(void);
/* Another for that: the group that a process is in; the caller closes it. */
int cgroup_of(pid_t pid);
/* How often memory has run out for one of its processes. */
uint64_t cgroup_oom_kills(void);
/* 0: no limit. */
int cgroup_limit_pids(uint64_t most, struct failure *failure);
int cgroup_limit_memory(uint64_t most, struct failure *failure);
int cgroup_freeze(bool frozen, struct failure *failure);
/* A number of the group's files, of the line that begins with `key` (or of the whole file). */
uint64_t cgroup_number(const char *file, const char *key);

#endif
