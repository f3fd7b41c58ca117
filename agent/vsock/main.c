/* heft-vsock: runs the kernel of a medium machine (User Mode Linux), and is its vsock device.
 *
 *     heft-vsock SOCKET PORT=IN,OUT … -- KERNEL ARGUMENT …
 *
 * It listens on SOCKET for that kernel (virtio_uml.device=SOCKET:19), and lets the guest connect once
 * to each PORT: what is read of the descriptor IN goes there, what the guest says is written to OUT.
 * It ends as its kernel does, and its kernel with it (what started it ends all in their PID
 * namespace). The guest is hostile: what no guest may ask for ends the machine. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "confine.h"
#include "streams.h"
#include "vhost.h"

enum { USAGE = 64, REFUSED = 76, FAILED = 71 }; /* sysexits.h */

static void say(const char *first, const char *second)
{
    const struct iovec pieces[] = {
        { "heft-vsock: ", 12 }, { (void *)first, strlen(first) },
        { (void *)second, strlen(second) }, { "\n", 1 },
    };
    if (writev(STDERR_FILENO, pieces, 4) < 0)
        return; /* nobody listens */
}

void refuse(const char *why)
{
    say("the guest is ended: ", why);
    _exit(REFUSED);
}

void give_up(const char *what)
{
    say(what, strerror(errno));
    _exit(FAILED);
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        give_up("socket: ");
    }
    strcpy(address.sun_path, path);
    int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listening < 0 || bind(listening, (void *)&address, sizeof address) < 0
        || listen(listening, 1) < 0)
        give_up("socket: ");
    return listening;
}

/* Start the kernel, without what is only ours; a descriptor that tells when it has ended. */
static int start(char **program, const int *ours, int count)
{
    pid_t self = getpid(), child = fork();
    if (child < 0)
        give_up("fork: ");
    if (child > 0) {
        int told = (int)syscall(SYS_pidfd_open, child, 0);
        if (told < 0)
            give_up("pidfd_open: ");
        return told;
    }
    for (int at = 0; at < count; at++)
        close(ours[at]);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != self)
        _exit(FAILED);
    /* The guest's memory begins at the end of this program's heap, which is else up to 1 GiB further
     * on (brk(2)); and its kernel keeps 64 bytes for each page of what lies between. */
    personality(ADDR_NO_RANDOMIZE);
    execvp(program[0], program);
    give_up("the kernel: ");
}

/* How the kernel ended, as a shell has it. */
static int status_of(int kernel)
{
    siginfo_t ended;
    if (waitid(P_PIDFD, (id_t)kernel, &ended, WEXITED) < 0)
        return FAILED;
    return ended.si_code == CLD_EXITED ? ended.si_status : 128 + ended.si_status;
}

static void clear(struct ring *ring)
{
    uint64_t count;
    if (read(ring->kick, &count, sizeof count) == 0)
        refuse("a ring whose kicks end");
}

_Noreturn static void serve(int kernel, int listening)
{
    int device = -1;
    for (;;) {
        struct pollfd polled[4 + MOST_POLLED] = {
            { .fd = kernel, .events = POLLIN },
            { .fd = device < 0 ? listening : device, .events = POLLIN },
            { .fd = rings[RECEIVING].kick, .events = POLLIN }, /* below zero: passed over */
            { .fd = rings[SENDING].kick, .events = POLLIN },
        };
        int count = 4 + streams_wait(polled + 4);
        if (poll(polled, (nfds_t)count, -1) < 0 && errno != EINTR)
            give_up("poll: ");
        if (polled[0].revents != 0)
            _exit(status_of(kernel));
        if (polled[1].revents != 0 && device < 0) {
            device = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
            if (device < 0)
                give_up("accept: ");
        } else if (polled[1].revents != 0 && !vhost_take(device)) {
            /* Its kernel has ended, or is about to: it is waited for. */
            close(device);
            device = -1;
            rings[RECEIVING].enabled = rings[SENDING].enabled = false;
        }
        for (int at = 0; at < 2; at++)
            if (polled[2 + at].revents != 0 && rings[at].kick == polled[2 + at].fd)
                clear(&rings[at]);
        streams_move();
    }
}

int main(int argc, char **argv)
{
    int ours[2 * MOST_STREAMS], count = 0, at = 2;
    for (; at < argc && strcmp(argv[at], "--") != 0; at++) {
        unsigned int port;
        int in, out;
        if (count == 2 * MOST_STREAMS || sscanf(argv[at], "%u=%d,%d", &port, &in, &out) != 3)
            break;
        streams_add(port, in, out);
        ours[count++] = in;
        ours[count++] = out;
    }
    if (at + 1 >= argc || strcmp(argv[at], "--") != 0) {
        say("usage: heft-vsock SOCKET PORT=IN,OUT … -- KERNEL ARGUMENT …", "");
        return USAGE;
    }
    int listening = listen_at(argv[1]);
    int kernel = start(argv + at + 1, ours, count);
    confine();
    serve(kernel, listening);
}
