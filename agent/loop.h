/* The one loop: descriptors that are waited for, children that end.
 *
 * All descriptors are watched edge-triggered: `ready` must go on until the kernel says EAGAIN, or
 * remember that it did not. Nothing is then ever to be switched on and off, which would be a system
 * call each time, and a descriptor that stays hung up does not keep the loop busy.
 */
#ifndef LOOP_H
#define LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

struct watch {
    int fd;
    void (*ready)(struct watch *watch, uint32_t events);
};

/* The structure that a member at `pointer` is in. */
#define CONTAINER(pointer, type, member) \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

void loop_open(void);
/* Watch a descriptor, which is the watch's from now on. */
void loop_add(struct watch *watch, int fd, uint32_t events);
/* Close the descriptor, if it is open; nothing more is heard of it. */
void loop_remove(struct watch *watch);
/* `settle` is called whenever all that had come has been worked on. */
void loop_run(void (*settle)(void));
void loop_end(void);

/* Children: `ended` gets each pid and status of wait(2), after SIGCHLD. */
void loop_children(void (*ended)(pid_t pid, int status));

uint64_t now(clockid_t clock);

#endif
