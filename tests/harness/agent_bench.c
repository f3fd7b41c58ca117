/* The agent without a guest, for tests: PID 1 of namespaces of its own.
 *
 *     agent-bench PLACE < SOCKET
 *
 * It speaks on its standard input; its root is a small file system in memory, in which PLACE is
 * `/place`. It is linked with the agent's own sources, all but its booting. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"
#include "machine.h"
#include "requests.h"

/* The host is to keep its time and its power, whatever a test asks for (`ld --wrap`). */
int __wrap_clock_settime(clockid_t clock, const struct timespec *time);
int __wrap_reboot(int how);

int __wrap_clock_settime(clockid_t clock, const struct timespec *time)
{
    (void)clock;
    (void)time;
    return 0;
}

int __wrap_reboot(int how)
{
    (void)how;
    return 0;
}

static void must(int done, const char *what)
{
    if (done < 0) {
        perror(what);
        exit(1);
    }
}

static void enter(const char *place)
{
    char root[4096], inside[4200];
    snprintf(root, sizeof root, "%s/agent-root", place);
    snprintf(inside, sizeof inside, "%s/place", root);
    must(mkdir(root, 0755), root);
    must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "/");
    must(mount("tmpfs", root, "tmpfs", 0, NULL), root);
    must(mkdir(inside, 0755), inside);
    must(mount(place, inside, NULL, MS_BIND, NULL), inside);
    must(chdir(root), root);
    must((int)syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "the old root");
    must(chdir("/"), "/");
    must(mkdir("/proc", 0755), "/proc");
    must(mkdir("/dev", 0755), "/dev");
    must(mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3)), "/dev/null");
    must(mount("proc", "/proc", "proc", 0, NULL), "/proc");
}

int main(int argc, char **argv)
{
    int status, namespaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC;
    if (argc != 2)
        return 2;
    must(unshare(namespaces), "namespaces");
    pid_t child = fork();
    must(child, "fork");
    if (child > 0) {
        close(0);
        must(waitpid(child, &status, 0), "wait");
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
    must(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");
    enter(argv[1]);
    int port = fcntl(0, F_DUPFD_CLOEXEC, 3);
    must(port, "the way to the test");
    must(dup2(open("/dev/null", O_RDWR), 0), "/dev/null");
    must(fcntl(port, F_SETFL, O_NONBLOCK), "the way to the test");
    signal(SIGPIPE, SIG_IGN);
    machine_prepare();
    loop_open();
    loop_children(requests_child_ended);
    session_open(port, false, &requests);
    loop_run(requests_settle);
    return 0;
}
