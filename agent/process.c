#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "child.h"
#include "ends.h"
#include "launch.h"
#include "loop.h"
#include "machine.h"
#include "stats.h"
#include "stream.h"

enum { FAILED_START = 255 };

struct process {
    struct process *next;
    char *id;
    pid_t pid;
    enum phase phase;
    bool workload, disowned, gone; /* gone: the process has ended, its output may not have */
    int code;
    bool oom;
    uint64_t oom_before, finished;
    struct stream *streams[3];
    struct watch report;
    int go; /* to let it go on from where it holds; -1: it need not be */
    bool answering;
    struct request request; /* to be answered when it is known whether it runs */
};

static struct process *all;
static size_t count;

static struct process *find(struct bytes record)
{
    struct bytes id = record_find(record, ID);
    for (struct process *process = all; process != NULL; process = process->next)
        if (!process->disowned && strlen(process->id) == id.size
            && memcmp(process->id, id.data, id.size) == 0)
            return process;
    return NULL;
}

static struct process *find_or_fail(struct request request, struct bytes record)
{
    struct process *process = find(record);
    struct failure failure = { .status = NOT_FOUND, .text = "no such process" };
    if (process == NULL)
        answer_failure(request, &failure);
    return process;
}

static struct process *the_workload(void)
{
    struct process *process = all;
    while (process != NULL && !process->workload)
        process = process->next;
    return process;
}

pid_t process_workload(void)
{
    struct process *process = the_workload();
    return process != NULL && !process->gone ? process->pid : 0;
}

static void release(struct process *process)
{
    for (struct process **at = &all; *at != NULL; at = &(*at)->next)
        if (*at == process) {
            *at = process->next;
            count--;
            break;
        }
    for (int at = 0; at < 3; at++)
        stream_free(process->streams[at]);
    loop_remove(&process->report);
    if (process->go >= 0)
        close(process->go);
    free(process->id);
    free(process);
}

/* Its end */

static void tell_end(struct process *process)
{
    if (process->workload)
        machine_leave(); /* whatever happens to the guest from here on, its disk is whole */
    process->phase = PHASE_EXITED;
    struct writer *event = event_begin(EVENT_EXITED);
    put_text(event, ID, process->id);
    put_number(event, EXIT_CODE, (uint64_t)process->code);
    put_number(event, OOM, process->oom);
    put_number(event, FINISHED, process->finished);
    message_send();
}

/* It has ended when it is gone, what it said was read, and who started it was answered. */
static void settle(struct process *process)
{
    if (!process->gone || process->answering || process->phase == PHASE_EXITED)
        return;
    for (int at = 1; at < 3; at++)
        if (process->streams[at] != NULL && !process->streams[at]->told)
            return;
    if (process->disowned)
        release(process);
    else
        tell_end(process);
}

static void stream_ended(struct stream *stream)
{
    stream->ended = true;
    if (stream->owner != NULL)
        settle(stream->owner);
}

bool process_ended(pid_t pid, int status)
{
    struct process *process = all;
    while (process != NULL && (process->pid != pid || process->gone))
        process = process->next;
    if (process == NULL)
        return false;
    process->gone = true;
    process->code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    /* An init system that asks for power off or reboot in its namespace (reboot(2)). */
    if (process->workload && machine.init_system && WIFSIGNALED(status)
        && (WTERMSIG(status) == SIGINT || WTERMSIG(status) == SIGHUP))
        process->code = 0;
    process->oom = memory_kills() > process->oom_before;
    process->finished = now(CLOCK_REALTIME);
    if (process->streams[0] != NULL)
        stream_close(process->streams[0]);
    for (int at = 1; at < 3; at++)
        if (process->streams[at] != NULL)
            stream_drain(process->streams[at]);
    settle(process);
    return true;
}

/* What a child reports */

static void answer_started(struct process *process)
{
    if (!process->answering)
        return;
    process->answering = false;
    struct writer *answer = answer_begin(process->request, OK);
    put_number(answer, PID, (uint64_t)process->pid);
    message_send();
}

static void reported(struct watch *watch, uint32_t events)
{
    struct process *process = CONTAINER(watch, struct process, report);
    struct failure failure;
    (void)events;
    for (;;) {
        ssize_t got = read(watch->fd, &failure, sizeof failure);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return; /* EAGAIN */
        if (got == 1) {
            answer_started(process); /* it holds */
        } else if (got == (ssize_t)sizeof failure) {
            if (process->answering)
                answer_failure(process->request, &failure);
            process->answering = false;
            process->disowned = true; /* it ends by itself, and nobody asks how */
            loop_remove(watch);
            for (int at = 0; at < 3; at++)
                stream_disown(process->streams[at]);
            settle(process);
            return;
        } else {
            loop_remove(watch); /* its execve has closed the pipe, or it was killed */
            if (process->phase == PHASE_HELD)
                process->phase = PHASE_RUNNING;
            answer_started(process);
            settle(process);
            return;
        }
    }
}

/* Its beginning */

static void make_streams(struct process *process, struct bytes record, const struct ends *ends)
{
    static const enum tag tags[3] = { STDIN, STDOUT, STDERR };
    for (int at = 0; at < 3; at++) {
        if (ends->own[at] < 0)
            continue;
        uint16_t number = (uint16_t)record_number(record, tags[at]);
        bool terminal = ends->terminal >= 0 && (at == 1 || record_number(record, TTY));
        process->streams[at] = stream_new(number, ends->own[at], at == 0, terminal);
        process->streams[at]->owner = process;
        if (at > 0)
            process->streams[at]->at_end = stream_ended;
    }
}

static int check_start(struct bytes record, bool workload, struct failure *failure)
{
    static const enum tag tags[3] = { STDIN, STDOUT, STDERR };
    struct bytes id = record_find(record, ID);
    if (!machine.ready)
        return fail(failure, INVALID, "START before SETUP");
    if (id.size == 0 || id.size > MOST_ID || memchr(id.data, 0, id.size) != NULL)
        return fail(failure, INVALID, "the ID of a process");
    if (count >= MOST_PROCESSES)
        return fail(failure, FAILED, "too many processes");
    if (workload && the_workload() != NULL)
        return fail(failure, EXISTS, "there is a workload");
    for (int at = 0; at < 3; at++) {
        uint64_t number = record_number(record, tags[at]);
        if (number > UINT16_MAX || (number != 0 && stream_find((uint16_t)number) != NULL))
            return fail(failure, INVALID, "a channel that is in use");
        for (int other = 0; other < at; other++)
            if (number != 0 && number == record_number(record, tags[other]))
                return fail(failure, INVALID, "two streams on one channel");
    }
    return 0;
}

static struct process *start(struct bytes record, struct failure *failure)
{
    struct ends ends = { { -1, -1, -1 }, { -1, -1, -1 }, -1 };
    bool workload = record_number(record, WORKLOAD), holds = record_number(record, HOLD);
    int report[2] = { -1, -1 }, hold[2] = { -1, -1 };
    if (check_start(record, workload, failure) < 0)
        return NULL;
    pid_t pid = -1;
    int opened = record_number(record, TTY)          ? ends_open_terminal(record, &ends, failure)
                 : workload && machine.init_system ? ends_open_console(record, &ends, failure)
                                                    : ends_open_pipes(record, &ends, failure);
    if (opened == 0) {
        if (pipe2(report, O_CLOEXEC) < 0 || (holds && pipe2(hold, O_CLOEXEC) < 0)) {
            fail_errno(failure, "pipe");
        } else {
            struct launch given = { .record = record, .terminal = ends.terminal,
                                    .report = report[1], .hold = hold[0],
                                    .mounts = -1, .cgroups = -1 };
            memcpy(given.streams, ends.child, sizeof given.streams);
            pid = child_begin(&given, workload, failure);
        }
    }
    close_all(ends.child, 3);
    close_all((int[]){ report[1], hold[0] }, 2);
    if (pid < 0) {
        close_all(ends.own, 3);
        close_all((int[]){ report[0], hold[1] }, 2);
        return NULL;
    }
    struct process *process = allocate(sizeof *process);
    *process = (struct process){ .next = all, .id = record_text(record, ID), .pid = pid,
                                 .phase = holds ? PHASE_HELD : PHASE_RUNNING,
                                 .workload = workload, .oom_before = memory_kills(),
                                 .go = hold[1] };
    all = process;
    count++;
    make_streams(process, record, &ends);
    fcntl(report[0], F_SETFL, O_NONBLOCK);
    process->report.ready = reported;
    loop_add(&process->report, report[0], EPOLLIN);
    return process;
}

void process_start(struct request request, struct bytes record)
{
    struct failure failure = { .status = FAILED, .exit_code = FAILED_START };
    if (find(record) != NULL) {
        answer_ok(request);
        return;
    }
    struct process *process = start(record, &failure);
    if (process == NULL) {
        answer_failure(request, &failure);
        return;
    }
    process->answering = true;
    process->request = request;
}

void process_go(struct request request, struct bytes record)
{
    struct process *process = find_or_fail(request, record);
    if (process == NULL)
        return;
    if (process->phase != PHASE_HELD || process->go < 0) {
        answer_ok(request);
        return;
    }
    process->answering = true;
    process->request = request;
    write_all(process->go, "", 1);
    close(process->go);
    process->go = -1;
}

/* While it runs */

void process_signal(struct request request, struct bytes record)
{
    struct process *process = find_or_fail(request, record);
    struct failure failure = { .status = NOT_FOUND, .text = "it has ended" };
    if (process == NULL)
        return;
    pid_t target = record_number(record, GROUP) ? -process->pid : process->pid;
    if (process->gone)
        answer_failure(request, &failure);
    else if (kill(target, (int)record_number(record, NUMBER)) < 0 && errno != ESRCH)
        fail_errno(&failure, "signal"), answer_failure(request, &failure);
    else
        answer_ok(request);
}

void process_resize(struct request request, struct bytes record)
{
    struct process *process = find_or_fail(request, record);
    if (process == NULL)
        return;
    struct winsize size = { .ws_row = (unsigned short)record_number(record, ROWS),
                            .ws_col = (unsigned short)record_number(record, COLUMNS) };
    struct stream *stream = process->streams[1];
    if (stream != NULL && stream->terminal && stream->watch.fd >= 0)
        ioctl(stream->watch.fd, TIOCSWINSZ, &size);
    answer_ok(request);
}

void process_forget(struct request request, struct bytes record)
{
    struct process *process = find_or_fail(request, record);
    struct failure failure = { .status = INVALID, .text = "it has not ended" };
    if (process == NULL)
        return;
    if (process->phase != PHASE_EXITED) {
        answer_failure(request, &failure);
        return;
    }
    release(process);
    answer_ok(request);
}

void process_disown(struct request request, struct bytes record)
{
    struct process *process = find_or_fail(request, record);
    if (process == NULL)
        return;
    process->disowned = true;
    for (int at = 0; at < 3; at++)
        stream_disown(process->streams[at]);
    if (process->phase == PHASE_EXITED)
        release(process);
    answer_ok(request);
}

void put_processes(struct writer *writer)
{
    for (struct process *process = all; process != NULL; process = process->next) {
        if (process->disowned)
            continue;
        size_t begun = put_begin(writer, PROCESS);
        put_text(writer, ID, process->id);
        put_number(writer, PHASE, process->phase);
        put_number(writer, PID, (uint64_t)process->pid);
        if (process->phase == PHASE_EXITED) {
            put_number(writer, EXIT_CODE, (uint64_t)process->code);
            put_number(writer, OOM, process->oom);
            put_number(writer, FINISHED, process->finished);
        }
        for (int at = 0; at < 3; at++)
            put_stream(writer, process->streams[at], at);
        put_end(writer, begun);
    }
}
