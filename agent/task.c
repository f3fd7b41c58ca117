#include "task.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"
#include "machine.h"
#include "process.h"
#include "stream.h"

enum {
    MOST_ANSWER = MOST_MESSAGE - 64,
    PIPE_SIZE = 1 << 18,
    MOST_MEMORY = 128 << 20, /* of a child, beyond what it has of the agent's */
};
#define PATIENCE UINT64_C(3000000000) /* nanoseconds that children have to undo what they did */

/* What a child tells the agent, in memory that both see. */
struct told {
    bool answered, over;
    struct failure failure;
    size_t size;
    unsigned char answer[MOST_ANSWER];
};

struct task {
    struct task *next;
    const struct task_kind *kind;
    pid_t pid;
    struct request request;
    struct told *told;
    struct watch report; /* closed by the child when it has answered, or ended */
    struct stream *stream;
    uint16_t number;
    bool answered, cancelled, gone;
    bool dropped; /* its session is over */
};

static struct task *all;
static size_t count;

/* In the child */

static struct told *telling;
static int report = -1;
static struct work work;
static volatile sig_atomic_t stopped;

static void stop(int number)
{
    (void)number;
    stopped = 1;
}

bool task_is_stopped(void)
{
    return stopped;
}

static void tell(void)
{
    telling->size = work.answer.size;
    telling->answered = true;
    close(report);
    report = -1;
}

static void bound_memory(void)
{
    char text[128];
    uint64_t pages;
    if (read_file("/proc/self/statm", text, sizeof text) <= 0)
        return;
    pages = strtoull(text, NULL, 10);
    struct rlimit limit = { .rlim_cur = pages * (uint64_t)sysconf(_SC_PAGESIZE) + MOST_MEMORY };
    limit.rlim_max = limit.rlim_cur;
    setrlimit(RLIMIT_AS, &limit);
}

static void open_many(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static _Noreturn void be_child(const struct task_kind *kind, int end, struct bytes record)
{
    struct sigaction stopping = { .sa_handler = stop };
    struct failure failure = { .status = FAILED };
    int kept[] = { end, report, machine.upper };
    sigset_t none;
    work = (struct work){ .record = record, .workload = process_workload(), .pipe = end,
                          .answer = { .data = telling->answer, .most = MOST_ANSWER },
                          .tell = tell };
    session_forget();
    keep_only(kept, sizeof kept / sizeof *kept);
    signal(SIGPIPE, SIG_DFL); /* nobody reads any more */
    if (kind->takes)
        sigaction(SIGTERM, &stopping, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    bound_memory();
    open_many();
    if (kind->work(&work, &failure) == 0)
        failure.status = OK;
    telling->size = work.answer.size;
    telling->failure = failure;
    telling->over = true;
    _exit(0);
}

/* In the agent */

static void release(struct task *task)
{
    for (struct task **at = &all; *at != NULL; at = &(*at)->next)
        if (*at == task) {
            *at = task->next;
            count--;
            break;
        }
    stream_free(task->stream);
    loop_remove(&task->report);
    munmap(task->told, sizeof *task->told);
    free(task);
}

static void answer(struct task *task)
{
    size_t size = task->told->size < MOST_ANSWER ? task->told->size : MOST_ANSWER;
    struct bytes fields = { task->told->answer, size };
    task->answered = true;
    put_fields(answer_begin(task->request, OK), fields);
    message_send();
}

static void tell_over(struct task *task, const struct failure *failure)
{
    struct writer *event = event_begin(EVENT_OVER);
    unsigned char status = (unsigned char)failure->status;
    put_number(event, NUMBER, task->number);
    put_bytes(event, STATUS, &status, 1);
    if (failure->status != OK)
        put_text(event, MESSAGE, failure->text);
    message_send();
}

static struct failure verdict(const struct task *task)
{
    struct failure failure = task->told->failure;
    bool unread = task->kind->gives && task->stream != NULL && task->stream->stopped;
    bool whole = task->told->over && failure.status == OK;
    if (unread || (task->cancelled && !(whole && task->kind->takes)))
        fail(&failure, CANCELLED, "it was stopped");
    else if (!task->told->over)
        fail(&failure, FAILED, "the process that did it was killed");
    return failure;
}

/* Go on with a task whose child has ended, which may be the task's end; false if nothing came of
 * it. */
static bool settle(struct task *task)
{
    struct failure failure = verdict(task);
    struct stream *stream = task->stream;
    if (!task->dropped && failure.status == OK && task->kind->gives && !stream->fin_sent) {
        bool more = stream->told && !stream->ended;
        stream->ended = stream->told;
        return more;
    }
    if (!task->dropped) {
        if (task->kind->takes && !stream->ended && !stream->stopped)
            session_stop(task->number);
        if (task->answered)
            tell_over(task, &failure);
        else if (failure.status == OK)
            answer(task);
        else
            answer_failure(task->request, &failure);
    }
    release(task);
    return true;
}

bool tasks_settle(void)
{
    bool more = false;
    for (struct task *task = all, *next; task != NULL; task = next) {
        next = task->next;
        more |= task->gone && settle(task);
    }
    return more;
}

static void stream_ended(struct stream *stream)
{
    struct task *task = stream->owner;
    if (task->kind->gives && stream->stopped && !task->gone)
        kill(task->pid, SIGKILL);
}

static void reported(struct watch *watch, uint32_t events)
{
    struct task *task = CONTAINER(watch, struct task, report);
    (void)events;
    loop_remove(watch);
    if (task->told->answered && !task->answered)
        answer(task);
}

bool task_ended(pid_t pid, int status)
{
    struct task *task = all;
    (void)status;
    while (task != NULL && (task->pid != pid || task->gone))
        task = task->next;
    if (task == NULL)
        return false;
    task->gone = true;
    if (task->told->answered && !task->answered)
        answer(task);
    return true; /* the rest is for when the loop settles */
}

static void stop_task(struct task *task)
{
    task->cancelled = true;
    if (task->gone)
        return;
    if (!task->kind->takes) {
        kill(task->pid, SIGKILL); /* it changes nothing */
        return;
    }
    /* In this order: the end of its pipe alone would be that of the tar. */
    kill(task->pid, SIGTERM);
    if (task->stream != NULL)
        stream_close(task->stream);
}

void task_cancel(struct request request, struct bytes record)
{
    uint64_t number = record_number(record, NUMBER);
    for (struct task *task = all; task != NULL && number != 0; task = task->next)
        if (task->number == number && !task->dropped)
            stop_task(task);
    answer_ok(request);
}

void tasks_drop(void)
{
    for (struct task *task = all; task != NULL; task = task->next) {
        stop_task(task);
        task->dropped = true;
        stream_free(task->stream); /* its number may be another's now */
        task->stream = NULL;
    }
}

void tasks_end(void)
{
    uint64_t until = now(CLOCK_MONOTONIC) + PATIENCE;
    bool killed = false;
    for (struct task *task = all; task != NULL; task = task->next)
        stop_task(task);
    for (struct task *task = all; task != NULL;) {
        if (task->gone || waitpid(task->pid, NULL, WNOHANG) != 0) {
            task->gone = true;
            task = task->next;
        } else if (now(CLOCK_MONOTONIC) < until) {
            nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
        } else if (!killed) {
            killed = true;
            until += PATIENCE;
            for (struct task *other = task; other != NULL; other = other->next)
                if (!other->gone)
                    kill(other->pid, SIGKILL);
        } else {
            return; /* a file system holds it, and it can be no more than left */
        }
    }
}

static int check(const struct task_kind *kind, uint64_t number, struct failure *failure)
{
    if (!machine.ready)
        return fail(failure, INVALID, "not before SETUP");
    if (machine.upper < 0)
        return fail(failure, FAILED, "the machine has ended, and its disk was left");
    if (count >= MOST_TASKS)
        return fail(failure, FAILED, "%d file operations go on already", MOST_TASKS);
    if ((kind->gives || kind->takes)
        && (number == 0 || number > UINT16_MAX || stream_find((uint16_t)number) != NULL))
        return fail(failure, INVALID, "a channel that is in use, or none");
    return 0;
}

static void close_pair(const int pair[2])
{
    for (int at = 0; at < 2; at++)
        if (pair[at] >= 0)
            close(pair[at]);
}

static int begin(struct task *task, struct bytes record, struct failure *failure)
{
    const struct task_kind *kind = task->kind;
    bool piped = kind->gives || kind->takes;
    int pair[2] = { -1, -1 }, reports[2] = { -1, -1 };
    task->told = mmap(NULL, sizeof *task->told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                      -1, 0);
    if (task->told == MAP_FAILED)
        return fail_errno(failure, "memory");
    if ((piped && pipe2(pair, O_CLOEXEC) < 0) || pipe2(reports, O_CLOEXEC) < 0
        || (task->pid = fork()) < 0) {
        fail_errno(failure, "a process");
        close_pair(pair);
        close_pair(reports);
        munmap(task->told, sizeof *task->told);
        return -1;
    }
    int theirs = pair[kind->gives];
    if (task->pid == 0) {
        telling = task->told;
        report = reports[1];
        be_child(kind, theirs, record);
    }
    close(reports[1]);
    task->report.ready = reported;
    loop_add(&task->report, reports[0], EPOLLIN);
    if (piped) {
        int ours = pair[!kind->gives];
        close(theirs);
        fcntl(ours, F_SETFL, O_NONBLOCK);
        fcntl(ours, F_SETPIPE_SZ, PIPE_SIZE);
        task->stream = stream_new(task->number, ours, kind->takes, false);
        task->stream->owner = task;
        task->stream->at_end = stream_ended;
    }
    return 0;
}

void task_start(const struct task_kind *kind, struct request request, struct bytes record)
{
    struct failure failure = { .status = FAILED };
    bool piped = kind->gives || kind->takes;
    uint64_t number = piped ? record_number(record, NUMBER) : 0;
    struct task *task = check(kind, number, &failure) == 0 ? allocate(sizeof *task) : NULL;
    if (task != NULL) {
        *task = (struct task){ .kind = kind, .request = request, .number = (uint16_t)number };
        if (begin(task, record, &failure) == 0) {
            task->next = all;
            all = task;
            count++;
            return;
        }
        free(task);
    }
    answer_failure(request, &failure);
}
