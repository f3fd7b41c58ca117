#include "ends.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "machine.h"

void close_all(const int *descriptors, int size)
{
    for (int at = 0; at < size; at++)
        if (descriptors[at] >= 0)
            close(descriptors[at]);
}

/* Give the slave of a new terminal, whose master is our end of standard output. */
static int open_pair(struct bytes record, struct ends *ends, struct failure *failure)
{
    struct winsize size = { .ws_row = (unsigned short)record_number(record, ROWS),
                            .ws_col = (unsigned short)record_number(record, COLUMNS) };
    int unlocked = 0, master = open(MACHINE "/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    ends->own[1] = master;
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) < 0
        || ioctl(master, TIOCGPTN, &ends->terminal) < 0)
        return fail_errno(failure, "terminal");
    if (size.ws_row != 0 || size.ws_col != 0)
        ioctl(master, TIOCSWINSZ, &size);
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    return slave < 0 ? fail_errno(failure, "terminal") : slave;
}

int ends_open_terminal(struct bytes record, struct ends *ends, struct failure *failure)
{
    int slave = open_pair(record, ends, failure);
    if (slave < 0)
        return -1;
    for (int at = 0; at < 3; at++)
        ends->child[at] = at == 0 ? slave : dup(slave);
    if (record_number(record, STDIN))
        ends->own[0] = fcntl(ends->own[1], F_DUPFD_CLOEXEC, 3);
    return 0;
}

int ends_open_pipes(struct bytes record, struct ends *ends, struct failure *failure)
{
    static const enum tag tags[3] = { STDIN, STDOUT, STDERR };
    for (int at = 0; at < 3; at++) {
        int pair[2];
        if (record_number(record, tags[at]) == 0)
            continue;
        if (pipe2(pair, O_CLOEXEC) < 0)
            return fail_errno(failure, "pipe");
        ends->own[at] = pair[at == 0];
        ends->child[at] = pair[at != 0];
        fcntl(ends->own[at], F_SETFL, O_NONBLOCK);
    }
    return 0;
}

int ends_open_console(struct bytes record, struct ends *ends, struct failure *failure)
{
    if (ends_open_pipes(record, ends, failure) < 0)
        return -1;
    close_all((int[]){ ends->own[1], ends->child[1], ends->child[2] }, 3);
    ends->own[1] = ends->child[1] = ends->child[2] = -1;
    int slave = open_pair(record, ends, failure);
    if (slave < 0)
        return -1;
    ends->child[1] = slave;
    ends->child[2] = dup(slave);
    return 0;
}
