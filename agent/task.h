/* Work that may block, done by children of the agent: on the machine's files, and what else looks at
 * what the machine can hold up. Their tars go through pipes, which are streams of the session. */
#ifndef TASK_H
#define TASK_H

#include "record.h"
#include "session.h"

/* What a child is given. */
struct work {
    struct bytes record; /* the request's */
    pid_t workload;      /* 0: none runs */
    int pipe;            /* of the tar; -1: it has none */
    struct writer answer;
    void (*tell)(void);  /* gives the answer now, where more comes after it */
};

typedef int task_work(struct work *work, struct failure *failure);

/* What there is of a kind of task. */
struct task_kind {
    enum operation operation;
    task_work *work;
    bool gives, takes; /* a stream */
};

void task_start(const struct task_kind *kind, struct request request, struct bytes record);
/* CANCEL */
void task_cancel(struct request request, struct bytes record);
/* A child of the agent has ended; false if it is none of these. */
bool task_ended(pid_t pid, int status);
/* The session is over: all is undone. */
void tasks_drop(void);
/* The machine's disk is left: stop all, and wait for it, within bounds. */
void tasks_end(void);
/* Tell what is over since all that waited was sent; true if there was something. */
bool tasks_settle(void);

/* In the child of a task that takes a stream: whether it has been stopped. */
bool task_is_stopped(void);

#endif
