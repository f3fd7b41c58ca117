#include "loop.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

enum { BATCH = 32 };

static int epoll = -1;
static bool running;
static struct epoll_event batch[BATCH];
static int batch_at, batch_count;
static struct watch children;
static void (*child_ended)(pid_t, int);

uint64_t now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void loop_open(void)
{
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        panic("epoll_create1");
}

void loop_add(struct watch *watch, int fd, uint32_t events)
{
    struct epoll_event event = { .events = events | EPOLLET, .data.ptr = watch };
    watch->fd = fd;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        panic("epoll_ctl");
}

void loop_remove(struct watch *watch)
{
    if (watch->fd < 0)
        return;
    /* Closing alone would not do: children may hold the same open file. */
    epoll_ctl(epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    close(watch->fd);
    watch->fd = -1;
    for (int at = batch_at; at < batch_count; at++)
        if (batch[at].data.ptr == watch)
            batch[at].data.ptr = NULL;
}

void loop_run(void (*settle)(void))
{
    for (running = true; running;) {
        settle();
        batch_count = epoll_wait(epoll, batch, BATCH, -1);
        if (batch_count < 0 && errno != EINTR)
            panic("epoll_wait");
        for (batch_at = 0; batch_at < batch_count;) {
            struct epoll_event event = batch[batch_at++];
            struct watch *watch = event.data.ptr;
            if (watch != NULL)
                watch->ready(watch, event.events);
        }
    }
}

void loop_end(void)
{
    running = false;
}

static void reap(struct watch *watch, uint32_t events)
{
    (void)events;
    struct signalfd_siginfo information;
    while (read(watch->fd, &information, sizeof information) > 0)
        ;
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        child_ended(pid, status);
}

void loop_children(void (*ended)(pid_t pid, int status))
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    int fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        panic("signalfd");
    child_ended = ended;
    children.ready = reap;
    loop_add(&children, fd, EPOLLIN);
}
