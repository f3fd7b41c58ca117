/* PROCESSES: what runs in the machine, as its workload would see it. */
#ifndef PROCESSES_H
#define PROCESSES_H

#include "task.h"

task_work processes_list;

#endif
