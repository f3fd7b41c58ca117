/* REHEARSE: what SETUP and START will do, done once for nothing. */
#ifndef REHEARSE_H
#define REHEARSE_H

#include <stdbool.h>

#include "session.h"

/* The name that the agent is run by as a workload that is none. */
#define REHEARSAL "heft-rehearsal"

void rehearse(struct request request, struct bytes record);
_Noreturn void rehearsal_run(bool again);

#endif
