/* What the daemon asks for, and who does it. */
#include "requests.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/timerfd.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cgroup.h"
#include "files.h"
#include "machine.h"
#include "process.h"
#include "processes.h"
#include "rehearse.h"
#include "stats.h"
#include "task.h"

#define AGENT_VERSION "0.1"

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
static void look_for_devices(struct bytes record)
{
    struct field field;
    while (record_next(&record, &field)) {
        bool share = field.tag == MOUNT && record_number(field.value, KIND) == SHARE;
        const char *role = field.tag == DISK ? record_text(field.value, ROLE) : NULL;
        if (share || (role != NULL && strcmp(role, "modules") == 0)) {
#if defined(__s390x__)
            write_file("/proc/cio_ignore", "free all"); /* which looks at all channels again */
#else
            write_file("/sys/bus/pci/rescan", "1");
#endif
            return;
        }
    }
}

static void set_up(struct request request, struct bytes record)
{
    struct failure failure = { .status = FAILED };
    if (!machine.ready)
        look_for_devices(record);
    answer_done(request, machine_setup(record, &failure), &failure);
}

static void set_clock(struct request request, struct bytes record)
{
    struct failure failure = { .status = FAILED };
    answer_done(request, machine_correct_clock(record_number(record, CLOCK), &failure), &failure);
}

static void set_limits(struct request request, struct bytes record)
{
    struct failure failure = { .status = FAILED };
    int done = cgroup_limit_pids(record_number(record, PIDS_LIMIT), &failure);
    if (done == 0)
        done = cgroup_limit_memory(record_number(record, MEMORY_LIMIT), &failure);
    answer_done(request, done, &failure);
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

static const struct task_kind *task_kind(enum operation operation)
{
    static const struct task_kind kinds[] = {
        { .operation = OP_SYNC, .work = files_sync },
        { .operation = OP_PROCESSES, .work = processes_list },
        { .operation = OP_STATUS, .work = files_status },
        { .operation = OP_PACK, .work = files_pack, .gives = true },
        { .operation = OP_UNPACK, .work = files_unpack, .takes = true },
        { .operation = OP_CHANGES, .work = files_changes, .gives = true },
        { .operation = OP_PACK_LAYER, .work = files_pack_layer, .gives = true },
        { .operation = OP_PACK_ROOT, .work = files_pack_root, .gives = true },
    };
    for (size_t at = 0; at < sizeof kinds / sizeof *kinds; at++)
        if (kinds[at].operation == operation)
            return &kinds[at];
    return NULL;
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
        { OP_REHEARSE, rehearse },
        { OP_LIMITS, set_limits },
        { OP_CANCEL, task_cancel },
    };
    const struct task_kind *kind = task_kind(request.operation);
    if (kind != NULL) {
        task_start(kind, request, record);
        return;
    }
    for (size_t at = 0; at < sizeof known / sizeof *known; at++)
        if (known[at].operation == request.operation) {
            known[at].work(request, record);
            return;
        }
    struct failure failure = { .status = UNSUPPORTED, .text = "this agent does not know how" };
    answer_failure(request, &failure);
}

/* Sessions */

/* Let each processor's timer be set anew. QEMU 7.2 does not keep when those of POWER (the decrementer)
 * and RISC-V are due: what the kernel of a restored guest had set never comes, and it sets nothing
 * later. A timer that is due already comes before. */
static void set_timers(void)
{
#if defined(__powerpc64__) || defined(__riscv)
    struct itimerspec past = { .it_value.tv_nsec = 1 };
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    cpu_set_t all, one;
    if (timer < 0 || sched_getaffinity(0, sizeof all, &all) < 0)
        panic("timers");
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all)) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            if (sched_setaffinity(0, sizeof one, &one) < 0
                || timerfd_settime(timer, TFD_TIMER_ABSTIME, &past, NULL) < 0)
                panic("timers");
        }
    sched_setaffinity(0, sizeof all, &all);
    close(timer);
#endif
}

static void dropped(void)
{
    if (!machine.ready) /* it may have been restored just now */
        set_timers();
    tasks_drop();
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

void requests_child_ended(pid_t pid, int status)
{
    /* Others are what fell to PID 1. */
    if (!process_ended(pid, status))
        task_ended(pid, status);
}

const struct session_calls requests = { handle, dropped, tell_state };

void requests_settle(void)
{
    do
        session_flush();
    while (tasks_settle());
}
