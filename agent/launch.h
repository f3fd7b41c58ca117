/* The child's side of a start: from its first instruction to execve. */
#ifndef LAUNCH_H
#define LAUNCH_H

#include "common.h"
#include "record.h"

/* What a child is given by the agent. */
struct launch {
    struct bytes record; /* START's */
    int streams[3];
    int terminal;  /* the number of its terminal in /dev/pts; -1: none */
    int report;    /* a byte when it is ready and holds, a `struct failure`, or nothing: it runs */
    int hold;      /* a byte comes when it may go on; -1: it need not wait */
    int mounts;    /* the mount namespace of the workload, to join; -1: it is the workload */
    int cgroups;   /* the same of the cgroup namespace */
};

_Noreturn void launch(struct launch *launch);

#endif
