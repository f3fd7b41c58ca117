/* The requests of a session. */
#ifndef REQUESTS_H
#define REQUESTS_H

#include "session.h"

extern const struct session_calls requests;
/* A child of the agent has ended, with a status of wait(2). */
void requests_child_ended(pid_t pid, int status);
/* What had come was worked on: send what there is to send. */
void requests_settle(void);

#endif
