/* The cgroup (v2) of everything that is the machine's. */
#ifndef CGROUP_H
#define CGROUP_H

#include "common.h"

/* Mount the hierarchy for the agent, make the group, with those controllers that every machine uses:
 * others would be asked at each request of a disk, or for each page of a file. Without cgroups in the
 * kernel, all goes on. */
void cgroup_open(void);
/* Let the group have all others too, for who manages it. */
void cgroup_open_all(void);
/* A descriptor of the group to start processes in (clone3(2), CLONE_INTO_CGROUP); -1: none. */
int cgroup_descriptor(void);
/* Another for that: the group that a process is in; the caller closes it. */
int cgroup_of(pid_t pid);
/* 0: no limit. */
int cgroup_limit_pids(uint64_t most, struct failure *failure);
/* Memory is accounted for from the first limit on: what processes have by then is not counted. */
int cgroup_limit_memory(uint64_t most, struct failure *failure);
int cgroup_freeze(bool frozen, struct failure *failure);
/* A number of the group's files, of the line that begins with `key` (or of the whole file). */
uint64_t cgroup_number(const char *file, const char *key);

#endif
