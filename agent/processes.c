#include "processes.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "files.h"
#include "loop.h"
#include "users.h"

enum { MOST_COMMAND = 4096, MOST_ROWS = 4096, TTYS = 4, CONSOLES = 5, FIRST_PTS = 136 };

/* A process of the machine: its pid in the agent's namespace, and in the machine's. */
struct known {
    pid_t pid, shown;
    uid_t uid; /* the one that counts */
};

static struct known all[MOST_ROWS];
static size_t count;

static ssize_t read_of(int proc, pid_t pid, const char *file, char *buffer, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "%d/%s", (int)pid, file);
    return read_file_at(proc, path, buffer, size);
}

/* Whether it is in the machine's namespace of pids, the first below the agent's. */
static bool is_machines(int proc, pid_t pid, struct known *process)
{
    char text[4096];
    int shown;
    *process = (struct known){ .pid = pid };
    if (read_of(proc, pid, "status", text, sizeof text) <= 0)
        return false;
    const char *pids = strstr(text, "\nNSpid:"), *users = strstr(text, "\nUid:");
    if (pids == NULL || sscanf(pids, "\nNSpid: %*d %d", &shown) != 1 || users == NULL
        || sscanf(users, "\nUid: %*u %u", &process->uid) != 1)
        return false;
    process->shown = shown;
    return true;
}

static pid_t translate(pid_t pid)
{
    for (size_t at = 0; at < count; at++)
        if (all[at].pid == pid)
            return all[at].shown;
    return 0;
}

/* As ps(1) shows it. */
static void name_terminal(unsigned int device, char name[static 32])
{
    unsigned int class = device >> 8 & 0xfff, minor = (device & 0xff) | (device >> 12 & 0xfff00);
    if (class >= FIRST_PTS && class < FIRST_PTS + 8)
        snprintf(name, 32, "pts/%u", (class - FIRST_PTS) * 256 + minor);
    else if (class == TTYS && minor >= 64)
        snprintf(name, 32, "ttyS%u", minor - 64);
    else if (class == TTYS)
        snprintf(name, 32, "tty%u", minor);
    else if (class == CONSOLES && minor == 1)
        snprintf(name, 32, "console");
    else
        snprintf(name, 32, "?");
}

/* Its arguments with blanks between them; its name in brackets where it has none. */
static void put_command(struct writer *writer, int proc, pid_t pid, const char *name)
{
    char text[MOST_COMMAND];
    ssize_t size = read_of(proc, pid, "cmdline", text, sizeof text);
    while (size > 0 && text[size - 1] == 0)
        size--;
    if (size <= 0)
        size = snprintf(text, sizeof text, "[%s]", name);
    for (ssize_t at = 0; at < size; at++)
        if (text[at] == 0)
            text[at] = ' ';
    put_bytes(writer, COMMAND, text, (size_t)size);
}

static void put_row(struct writer *writer, int proc, const struct known *process,
                    const char *users)
{
    char text[4096], user[64], terminal[32], state;
    uint64_t user_time, system_time, started, size, resident, tick = (uint64_t)sysconf(_SC_CLK_TCK);
    unsigned int device;
    int parent;
    if (read_of(proc, process->pid, "stat", text, sizeof text) <= 0)
        return;
    /* proc(5): the name is in brackets, and may have some in it. */
    char *name = strchr(text, '('), *rest = strrchr(text, ')');
    if (name == NULL || rest == NULL
        || sscanf(rest + 1,
                  " %c %d %*d %*d %u %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
                  " %*d %*d %*d %*d %*d %*d %" SCNu64 " %" SCNu64 " %" SCNu64,
                  &state, &parent, &device, &user_time, &system_time, &started, &size, &resident)
               != 8)
        return;
    *rest = 0;
    uint64_t second = UINT64_C(1000000000), booted = now(CLOCK_REALTIME) - now(CLOCK_BOOTTIME);
    name_terminal(device, terminal);
    size_t row = put_begin(writer, ROW);
    put_number(writer, PID, (uint64_t)process->shown);
    put_number(writer, PPID, (uint64_t)translate(parent));
    put_number(writer, UID, process->uid);
    if (user_name(users, process->uid, user, sizeof user) != NULL)
        put_text(writer, USER, user);
    put_bytes(writer, STATE, &state, 1);
    put_text(writer, TTY, terminal);
    put_number(writer, STARTED, booted + started * (second / tick));
    put_number(writer, CPU, (user_time + system_time) * (second / tick));
    put_number(writer, VSIZE, size);
    put_number(writer, RSS, resident * (uint64_t)sysconf(_SC_PAGESIZE));
    put_text(writer, NAME, name + 1);
    put_command(writer, proc, process->pid, name + 1);
    put_end(writer, row);
}

static int by_shown(const void *one, const void *other)
{
    const struct known *a = one, *b = other;
    return a->shown < b->shown ? -1 : a->shown > b->shown;
}

int processes_list(struct work *work, struct failure *failure)
{
    int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), root;
    DIR *directory = proc < 0 ? NULL : opendir("/proc");
    if (directory == NULL)
        return fail_errno(failure, "/proc");
    if ((root = files_root(work->workload, failure)) < 0)
        return -1;
    for (struct dirent *entry; count < MOST_ROWS && (entry = readdir(directory)) != NULL;) {
        pid_t pid = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;
        if (pid > 0 && is_machines(proc, pid, &all[count]))
            count++;
    }
    qsort(all, count, sizeof *all, by_shown);
    const char *users = users_text(root, "/etc/passwd");
    for (size_t at = 0; at < count; at++) {
        size_t before = work->answer.size;
        put_row(&work->answer, proc, &all[at], users);
        if (!work->answer.full)
            continue;
        work->answer.size = before; /* there is no room for more */
        break;
    }
    return 0;
}
