/* The operations on the machine's files, each the work of a child. */
#ifndef FILES_H
#define FILES_H

#include "task.h"

/* Open the root that the workload sees; without one (0), that of the agent's own mounts. */
int files_root(pid_t workload, struct failure *failure);

task_work files_sync;
task_work files_status;
task_work files_pack;
task_work files_unpack;
task_work files_changes;
task_work files_pack_layer;
task_work files_pack_root;

#endif
