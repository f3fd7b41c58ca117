/* The agent: the first process of a guest (docs/agent-protocol.md). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cgroup.h"
#include "device.h"
#include "loop.h"
#include "machine.h"
#include "modules.h"
#include "process.h"
#include "session.h"
#include "stats.h"
#include "stream.h"

#define AGENT_VERSION "0.1"
#define PORT "heft.agent"

enum { SHARE = 1 };

static bool frozen;

/* Requests that are answered at once */

static void answer_done(struct request request, int done, const struct failure *failure)
{
    if (done < 0)
        answer_failure(request, failure);
    else
        answer_ok(request);
}

/* What a template does not have is found on the bus only when it is looked for again. */
static void look_for_shares(struct bytes record)
{
    struct field field;
    while (record_next(&record, &field))
        if (field.tag == MOUNT && record_number(field.value, KIND) == SHARE) {
            write_file("/sys/bus/pci/rescan", "1");
            return;
        }
}

static void set_up(struct request request, struct bytes record)
{
    struct failure failure = { .status = FAILED };
    if (!machine.ready)
        look_for_shares(record);
    answer_done(request, machine_setup(record, &failure), &failure);
}

static void set_clock(struct request request, struct bytes record)
{
    struct failure failure = { .status = FAILED };
    answer_done(request, machine_set_clock(record_number(record, CLOCK), &failure), &failure);
}

static void freeze(struct request request, struct bytes record)
{
    struct failure failure = { .status = FAILED };
    bool wanted = record_number(record, FROZEN);
    int done = cgroup_freeze(wanted, &failure);
    if (done == 0)
        frozen = wanted;
    answer_done(request, done, &failure);
}

static void set_files(struct request request, struct bytes record)
{
    struct failure failure = { .status = FAILED };
    answer_done(request, machine_set_files(record, &failure), &failure);
}

static void tell_stats(struct request request, struct bytes record)
{
    (void)record;
    put_stats(answer_begin(request, OK));
    message_send();
}

static void synchronize(struct request request, struct bytes record)
{
    struct failure failure = { .status = FAILED };
    (void)record;
    int done = machine.upper >= 0 && syncfs(machine.upper) < 0 ? fail_errno(&failure, "sync") : 0;
    answer_done(request, done, &failure);
}

static void power_off(void)
{
    session_flush();
    machine_leave();
    reboot(RB_POWER_OFF);
}

static void shut_down(struct request request, struct bytes record)
{
    answer_ok(request);
    process_shut_down(record_number(record, GRACE), power_off);
}

static void handle(struct request request, struct bytes record)
{
    static const struct {
        enum operation operation;
        void (*work)(struct request request, struct bytes record);
    } known[] = {
        { OP_SETUP, set_up },
        { OP_START, process_start },
        { OP_GO, process_go },
        { OP_SIGNAL, process_signal },
        { OP_RESIZE, process_resize },
        { OP_FORGET, process_forget },
        { OP_DISOWN, process_disown },
        { OP_CLOCK, set_clock },
        { OP_FREEZE, freeze },
        { OP_STATS, tell_stats },
        { OP_FILES, set_files },
        { OP_SYNC, synchronize },
        { OP_POWER_OFF, shut_down },
    };
    for (size_t at = 0; at < sizeof known / sizeof *known; at++)
        if (known[at].operation == request.operation) {
            known[at].work(request, record);
            return;
        }
    struct failure failure = { .status = UNSUPPORTED, .text = "this agent does not know how" };
    answer_failure(request, &failure);
}

/* Sessions */

static void dropped(void)
{
}

static void tell_state(struct writer *writer)
{
    struct utsname kernel;
    uname(&kernel);
    put_number(writer, VERSION, PROTOCOL_VERSION);
    put_text(writer, AGENT, AGENT_VERSION);
    put_text(writer, KERNEL, kernel.release);
    put_number(writer, READY, machine.ready);
    put_number(writer, FROZEN, frozen);
    put_processes(writer);
}

static void child_ended(pid_t pid, int status)
{
    /* Others are what fell to PID 1. */
    process_ended(pid, status);
}

/* Booting */

static void mount_own(const char *type, const char *place)
{
    mkdir(place, 0755);
    if (mount(type, place, type, MS_NOSUID, NULL) < 0 && errno != EBUSY)
        panic(place);
}

/* The kernel lets no root be exchanged for another that has nothing above it, as the first has: go
 * to the same files by a mount over it (pivot_root(2)). */
static void leave_first_root(void)
{
    mkdir("/root", 0755);
    if (mount("/", "/root", NULL, MS_BIND, NULL) < 0 || chdir("/root") < 0
        || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
        panic("root");
}

/* A parameter of the kernel's command line: its value, "" if it has none, NULL if it is not there. */
static const char *parameter(const char *name)
{
    static char line[4096], found[256];
    size_t length = strlen(name);
    if (read_file("/proc/cmdline", line, sizeof line) < 0)
        return NULL;
    char *rest;
    for (char *word = strtok_r(line, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest))
        if (strncmp(word, name, length) == 0 && (word[length] == '=' || word[length] == 0)) {
            snprintf(found, sizeof found, "%s", word[length] == '=' ? word + length + 1 : "");
            return found;
        }
    return NULL;
}

/* Forget what was read of disks that will be others. */
static void flush_disks(void)
{
    DIR *directory = opendir("/sys/block");
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        char path[300];
        snprintf(path, sizeof path, "/dev/%s", entry->d_name);
        int disk = entry->d_name[0] != '.' ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        if (disk >= 0) {
            ioctl(disk, BLKFLSBUF, 0);
            close(disk);
        }
    }
    if (directory != NULL)
        closedir(directory);
}

static void say_ready(void)
{
    const char *console = parameter("heft.console");
    static const char line[] = "HEFT-TEMPLATE-READY\n";
    int fd = open(console != NULL ? console : "/dev/ttyS0", O_WRONLY | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || !write_all(fd, line, sizeof line - 1))
        note("cannot say that it is ready");
    if (fd >= 0)
        close(fd);
}

static int open_stream(void)
{
    const char *path = parameter("heft.agent");
    int fd = path != NULL ? open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)
                          : device_open_port(PORT);
    if (fd < 0)
        panic("the way to the daemon");
    return fd;
}

int main(void)
{
    static const struct session_calls calls = { handle, dropped, tell_state };
    leave_first_root();
    mount_own("proc", "/proc");
    mount_own("sysfs", "/sys");
    mount_own("devtmpfs", "/dev");
    signal(SIGPIPE, SIG_IGN);
    modules_load("early");
    machine_prepare();
    devices_listen();
    modules_load("transport");
    loop_open();
    loop_children(child_ended);
    session_open(open_stream(), &calls);
    if (parameter("heft.template") != NULL) {
        flush_disks();
        say_ready();
    }
    loop_run(session_flush);
    return 0;
}
