/* Children in the machine's namespaces. */
#ifndef CHILD_H
#define CHILD_H

#include <sys/types.h>

#include "launch.h"

/* Fork a child for what is given, the workload or one beside it; its pid, or -1. */
pid_t child_begin(struct launch *given, bool workload, struct failure *failure);

#endif
