/* What a process has as its standard streams, and our ends of it. */
#ifndef ENDS_H
#define ENDS_H

#include "common.h"
#include "record.h"

struct ends {
    int own[3], child[3]; /* descriptors; -1: none */
    int terminal;         /* the number of the terminal in /dev/pts; -1: none */
};

/* Open what START asks for: one terminal, or a pipe for each stream. What is open at a failure is
 * the caller's to close. */
int ends_open_terminal(struct bytes record, struct ends *ends, struct failure *failure);
int ends_open_pipes(struct bytes record, struct ends *ends, struct failure *failure);
/* What an init system says goes to /dev/console, which must be a terminal: there is one in the place
 * of its pipes, and it is no controlling one. */
int ends_open_console(struct bytes record, struct ends *ends, struct failure *failure);

/* Close those that are open. */
void close_all(const int *descriptors, int size);

#endif
