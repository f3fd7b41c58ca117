/* The machine's root, as the agent sees it, and the mounts of every machine. */
#ifndef MACHINE_H
#define MACHINE_H

#include <limits.h>

#include "common.h"
#include "record.h"

/* Where things are in the agent's own root. */
#define MACHINE "/machine"
#define BASE_PLACE "/base"
#define UPPER_PLACE "/upper"
#define MODULES_PLACE "/kernel-modules"
#define DEVICES "/devices" /* a /dev that waits for its machine */

/* What SETUP said. */
struct machine {
    bool ready;
    bool init_system, privileged;
    char hostname[HOST_NAME_MAX + 1];
    int upper; /* a descriptor of the upper's file system; -1: none */
    int root;  /* of its root, as the agent sees it; -1: it is not there yet, or any more */
};
extern struct machine machine;

/* Do what can be done before anything is known of the machine. */
void machine_prepare(void);
/* SETUP. */
int machine_setup(struct bytes record, struct failure *failure);
int machine_set_clock(uint64_t time, struct failure *failure);
/* CLOCK, of a guest that runs: a small difference is made good by and by. */
int machine_correct_clock(uint64_t time, struct failure *failure);
/* Bind a file of the agent's own over a path of the machine, read-only. */
int machine_show(const char *source, const char *target, struct failure *failure);
/* FILES: new contents of files that are bound over the root's. */
int machine_set_files(struct bytes record, struct failure *failure);
/* Get everything off the disks. */
void machine_leave(void);

/* In the workload's first process, in namespaces of its own: mount what belongs to these, become
 * the root. `terminal` is the number of its terminal in /dev/pts; -1: none. */
int machine_enter(int terminal, struct failure *failure);

/* Whether it is made to mount on: no change of the machine's while it is empty. */
bool machine_is_point(const char *path);

#endif
