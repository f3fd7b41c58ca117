/* The processes that the daemon has asked for: the workload, and further ones beside it. */
#ifndef PROCESS_H
#define PROCESS_H

#include "record.h"
#include "session.h"

void process_start(struct request request, struct bytes record);
void process_go(struct request request, struct bytes record);
void process_signal(struct request request, struct bytes record);
void process_resize(struct request request, struct bytes record);
void process_forget(struct request request, struct bytes record);
void process_disown(struct request request, struct bytes record);

/* A child of the agent has ended; false if it is none of these. */
bool process_ended(pid_t pid, int status);
/* The fields PROCESS of WELCOME. */
void put_processes(struct writer *writer);
/* The workload, if it runs; 0: it does not. */
pid_t process_workload(void);

#endif
