#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/major.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "environment.h"
#include "machine.h"
#include "session.h"
#include "users.h"

enum { REFUSED = 128, NOT_EXECUTABLE = 126, NOT_IN_PATH = 127, NOT_RUN = 1, LAST_CAPABILITY = 63 };

extern char **environ;

static _Noreturn void give_up(int report, const struct failure *failure)
{
    write_all(report, failure, sizeof *failure);
    _exit(failure->exit_code);
}

/* The program */

static bool is_program(const char *path, struct stat *status)
{
    return stat(path, status) == 0 && S_ISREG(status->st_mode) && access(path, X_OK) == 0;
}

/* Say why a path cannot be run, in Docker's words. */
static int refuse_program(const char *name, const char *path, struct failure *failure)
{
    struct stat status;
    if (stat(path, &status) < 0) {
        int number = errno;
        failure->exit_code = number == EACCES ? NOT_EXECUTABLE : NOT_IN_PATH;
        return fail(failure, START_FAILED, "exec: \"%s\": stat %s: %s", name, path, reason(number));
    }
    failure->exit_code = NOT_EXECUTABLE;
    if (S_ISDIR(status.st_mode))
        return fail(failure, START_FAILED, "exec: \"%s\": is a directory: permission denied", name);
    return fail(failure, START_FAILED, "exec: \"%s\": permission denied", name);
}

static int find_program(const char *name, char **environment, char path[static PATH_MAX],
                        struct failure *failure)
{
    struct stat status;
    if (strchr(name, '/') != NULL) {
        snprintf(path, PATH_MAX, "%s", name);
        return is_program(path, &status) ? 0 : refuse_program(name, path, failure);
    }
    for (const char *at = variable(environment, "PATH"); at != NULL && name[0] != 0;) {
        size_t length = strcspn(at, ":");
        snprintf(path, PATH_MAX, "%.*s/%s", (int)length, length > 0 ? at : ".", name);
        if (is_program(path, &status))
            return 0;
        at = at[length] == ':' ? at + length + 1 : NULL;
    }
    failure->exit_code = NOT_IN_PATH;
    return fail(failure, START_FAILED, "exec: \"%s\": executable file not found in $PATH", name);
}

/* Rights */

static int set_limits(struct bytes record, struct failure *failure)
{
    struct field field;
    while (record_next(&record, &field)) {
        if (field.tag != LIMIT)
            continue;
        struct rlimit limit = { record_number(field.value, SOFT), record_number(field.value, HARD) };
        if (setrlimit((int)record_number(field.value, NUMBER), &limit) < 0)
            return fail_errno(failure, "limit %" PRIu64, record_number(field.value, NUMBER));
    }
    return 0;
}

static int set_oom_score(struct bytes record, struct failure *failure)
{
    char text[16];
    int score = (int)(int32_t)record_number(record, OOM_SCORE_ADJ);
    snprintf(text, sizeof text, "%d", score);
    if (score != 0 && !write_file("/proc/self/oom_score_adj", text))
        return fail_errno(failure, "oom_score_adj");
    return 0;
}

static int set_rights(struct bytes record, const struct identity *who, struct failure *failure)
{
    uint64_t mask = record_number(record, CAPABILITIES);
    for (int each = 0; each <= LAST_CAPABILITY; each++)
        if (!(mask >> each & 1) && prctl(PR_CAPBSET_DROP, each) < 0)
            break; /* the kernel knows no more */
    if (setgroups(who->count, who->groups) < 0 || setresgid(who->gid, who->gid, who->gid) < 0
        || setresuid(who->uid, who->uid, who->uid) < 0)
        return fail_errno(failure, "user");
    struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct had[2], data[2] = { { 0 }, { 0 } };
    if (who->uid == 0 && syscall(SYS_capget, &head, had) == 0)
        for (int half = 0; half < 2; half++)
            data[half].effective = data[half].permitted =
                (uint32_t)(mask >> (32 * half)) & had[half].permitted;
    if (syscall(SYS_capset, &head, data) < 0)
        return fail_errno(failure, "capabilities");
    if (record_number(record, NO_NEW_PRIVILEGES) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fail_errno(failure, "no new privileges");
    return 0;
}

/* Places */

/* Give a terminal by the machine's own path: by the agent's, ttyname(3) does not find it. What the
 * machine has there may be anything else. */
static int by_own_path(int given)
{
    struct stat status, found;
    char path[32];
    if (fstat(given, &status) < 0 || !S_ISCHR(status.st_mode)
        || major(status.st_rdev) != UNIX98_PTY_SLAVE_MAJOR)
        return given;
    snprintf(path, sizeof path, "/dev/pts/%u", minor(status.st_rdev));
    int opened = open(path, O_RDWR | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC), own = -1;
    if (opened >= 0 && fstat(opened, &found) == 0 && found.st_dev == status.st_dev
        && found.st_ino == status.st_ino)
        own = fcntl(opened, F_DUPFD_CLOEXEC, 3);
    if (opened >= 0)
        close(opened);
    if (own < 0)
        return given;
    close(given);
    return own;
}

static int take_streams(struct launch *launch, struct failure *failure)
{
    setsid();
    for (int at = 0; at < 3; at++)
        launch->streams[at] = by_own_path(launch->streams[at]);
    for (int at = 0; at < 3; at++) {
        int fd = launch->streams[at] >= 0 ? launch->streams[at]
                                          : open("/dev/null", at == 0 ? O_RDONLY : O_WRONLY);
        if (fd < 0 || dup2(fd, at) < 0)
            return fail_errno(failure, "standard streams");
        if (fd == at)
            fcntl(fd, F_SETFD, 0);
    }
    if (record_number(launch->record, TTY) && ioctl(0, TIOCSCTTY, 0) < 0)
        return fail_errno(failure, "controlling terminal");
    return 0;
}

/* The user may open its streams anew (/dev/stdout). What is nobody's own, /dev/null, stays root's. */
static int give_streams(struct launch *launch, uid_t uid, struct failure *failure)
{
    for (int at = 0; at < 3; at++)
        if (launch->streams[at] >= 0 && fchown(at, uid, (gid_t)-1) < 0)
            return fail_errno(failure, "standard streams");
    return 0;
}

static int enter(struct launch *launch, struct failure *failure)
{
    if (launch->mounts < 0) {
        /* Not on clone, which would make the agent's group the root of the namespace. */
        if (cgroup_descriptor() >= 0 && unshare(CLONE_NEWCGROUP) < 0)
            return fail_errno(failure, "cgroup namespace");
        return machine_enter(launch->terminal, failure);
    }
    if (setns(launch->mounts, CLONE_NEWNS) < 0
        || (launch->cgroups >= 0 && setns(launch->cgroups, CLONE_NEWCGROUP) < 0))
        return fail(failure, NOT_FOUND, "the machine's first process has ended");
    return 0;
}

/* The machine's own is made where it is missing; that of a further process is its user's mistake. */
static int go_to_directory(int root, const char *path, bool make, struct failure *failure)
{
    failure->exit_code = REFUSED;
    if (path[0] != '/')
        return fail(failure, START_FAILED,
                    "the working directory '%s' is invalid, it needs to be an absolute path", path);
    int directory = make ? make_directories(root, path) : open_in(root, path, O_PATH | O_DIRECTORY);
    if (directory < 0 || fchdir(directory) < 0)
        return fail(failure, START_FAILED, "cannot %s: %s: %s", make ? "mkdir" : "chdir", path,
                    reason(errno));
    close(directory);
    return 0;
}

static void reset_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The small init of INIT: it forwards signals to its child, reaps, and ends as the child does. */

static pid_t inner;

static void forward(int number)
{
    if (inner > 0)
        kill(inner, number);
}

static void be_init(int report, int hold)
{
    for (int number = 1; number < NSIG; number++)
        if (number != SIGCHLD)
            signal(number, forward);
    inner = fork();
    if (inner == 0) {
        reset_signals();
        setpgid(0, 0);
        signal(SIGTTOU, SIG_IGN); /* from the background, one is stopped for this */
        tcsetpgrp(0, getpid());
        signal(SIGTTOU, SIG_DFL);
        return;
    }
    close(report);
    if (hold >= 0)
        close(hold);
    int status = 0;
    for (pid_t ended = 0; ended != inner;)
        if ((ended = wait(&status)) < 0 && errno != EINTR)
            break;
    _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

static int get_ready(struct launch *launch, char ***argv, char path[static PATH_MAX],
                     struct failure *failure)
{
    struct identity who;
    char *user = record_text(launch->record, USER), *cwd = record_text(launch->record, CWD);
    *argv = texts(launch->record, ARGV);
    if ((*argv)[0] == NULL || user == NULL || cwd == NULL)
        return fail(failure, INVALID, "no command");
    if (enter(launch, failure) < 0)
        return -1;
    int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (identify(root, user, launch->record, &who, failure) < 0
        || go_to_directory(root, cwd[0] != 0 ? cwd : "/",
                           record_number(launch->record, WORKLOAD) != 0, failure) < 0)
        return -1;
    close(root);
    failure->exit_code = REFUSED;
    if (take_streams(launch, failure) < 0)
        return -1;
    if (give_streams(launch, who.uid, failure) < 0)
        return -1;
    environ = make_environment(launch->record, who.home);
    if (set_limits(launch->record, failure) < 0 || set_oom_score(launch->record, failure) < 0
        || set_rights(launch->record, &who, failure) < 0)
        return -1;
    return find_program((*argv)[0], environ, path, failure);
}

_Noreturn void launch(struct launch *launch)
{
    struct failure failure = { .status = START_FAILED, .exit_code = REFUSED };
    static char path[PATH_MAX];
    char **argv, byte = 'R';
    int kept[] = { launch->streams[0], launch->streams[1], launch->streams[2], launch->report,
                   launch->hold, launch->mounts, launch->cgroups };
    session_forget();
    /* Nothing of the agent's own, and no end of the child's own pipes: INIT does not exec. */
    keep_only(kept, sizeof kept / sizeof *kept);
    reset_signals();
    umask(022);
    if (get_ready(launch, &argv, path, &failure) < 0)
        give_up(launch->report, &failure);
    if (launch->hold >= 0
        && (!write_all(launch->report, &byte, 1) || read(launch->hold, &byte, 1) != 1))
        _exit(REFUSED); /* the agent has given it up */
    if (record_number(launch->record, INIT))
        be_init(launch->report, launch->hold);
    execv(path, argv);
    /* The program is there and may be run: that it cannot be is the end of a process that had begun,
     * as with the runtimes of light machines. */
    fprintf(stderr, "exec %s: %s\n", path, reason(errno));
    _exit(NOT_RUN);
}
