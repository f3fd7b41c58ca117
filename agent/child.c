#include "child.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cgroup.h"
#include "ends.h"
#include "process.h"

static pid_t clone_child(uint64_t flags, int group)
{
    struct clone_args arguments = { .flags = flags, .exit_signal = SIGCHLD };
    if (group >= 0) {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = (uint64_t)group;
    }
    return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}

static int namespace_of(pid_t pid, const char *kind)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, kind);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Fork a child into the workload's namespaces; a PID namespace is that of children to come. */
static pid_t clone_beside(struct launch *given, struct failure *failure)
{
    pid_t beside = process_workload(), pid = -1;
    int own = namespace_of(getpid(), "pid"), pids = namespace_of(beside, "pid");
    int group = cgroup_of(beside);
    given->mounts = namespace_of(beside, "mnt");
    given->cgroups = namespace_of(beside, "cgroup");
    if (beside == 0 || pids < 0 || given->mounts < 0 || own < 0) {
        fail(failure, NOT_FOUND, "the machine's first process does not run");
    } else if (setns(pids, CLONE_NEWPID) < 0 || (pid = clone_child(0, group)) < 0) {
        fail_errno(failure, "fork");
    }
    if (pid != 0 && own >= 0)
        setns(own, CLONE_NEWPID);
    if (pid != 0)
        close_all((int[]){ own, pids, group, given->mounts, given->cgroups }, 5);
    return pid;
}

pid_t child_begin(struct launch *given, bool workload, struct failure *failure)
{
    pid_t pid;
    if (!workload)
        pid = clone_beside(given, failure);
    else if ((pid = clone_child(CLONE_NEWPID | CLONE_NEWNS, cgroup_descriptor())) < 0)
        fail_errno(failure, "fork");
    if (pid == 0)
        launch(given);
    return pid;
}
