/* A rehearsal is a machine that nobody sees: set up in namespaces of its own, with a workload that does
 * what workloads begin with, and taken down again. Software translation has then met the kernel's code
 * for it, and a guest that waits to become a machine becomes one the faster. */
#include "rehearse.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "launch.h"
#include "machine.h"
#include "network.h"

enum { PAGE = 4096, MOST_READ = 64 * PAGE, TOUCHED = 64 * PAGE };

/* The workload */

static void read_some(const char *path)
{
    struct stat status;
    char block[PAGE];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
        size_t size = status.st_size < MOST_READ ? (size_t)status.st_size : MOST_READ;
        ssize_t seen = pread(fd, block, sizeof block, 0);
        volatile const char *mapped = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        for (size_t at = 0; mapped != MAP_FAILED && at < size; at += PAGE)
            seen += mapped[at];
        if (mapped != MAP_FAILED)
            munmap((void *)mapped, size);
    }
    close(fd);
}

static void list_some(const char *path)
{
    DIR *directory = opendir(path);
    while (directory != NULL && readdir(directory) != NULL)
        ;
    if (directory != NULL)
        closedir(directory);
}

static void write_some(void)
{
    static const char name[] = "/." REHEARSAL;
    int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) {
        write_all(fd, name, sizeof name);
        close(fd);
    }
    unlink(name);
    if (mkdir(name, 0700) == 0)
        rmdir(name);
}

static void touch_memory(void)
{
    char *memory = mmap(NULL, TOUCHED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return;
    for (size_t at = 0; at < TOUCHED; at += PAGE)
        memory[at] = 1;
    mprotect(memory, TOUCHED, PROT_READ);
    munmap(memory, TOUCHED);
}

static void nothing(int number)
{
    (void)number;
}

static void talk(void)
{
    int pair[2];
    char byte = 0;
    struct sigaction action = { .sa_handler = nothing };
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return;
    struct pollfd waiting = { .fd = pair[1], .events = POLLIN };
    if (write(pair[0], &byte, 1) == 1 && poll(&waiting, 1, 1000) == 1)
        byte = (char)read(pair[1], &byte, 1);
    close(pair[0]);
    close(pair[1]);
    nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

/* The first one runs another, as a shell does. */
_Noreturn void rehearsal_run(bool again)
{
    static const char *const files[] = {
        "/etc/passwd", "/etc/ld.so.cache", "/bin/sh", "/lib64/ld-linux-x86-64.so.2",
        "/lib/x86_64-linux-gnu/libc.so.6", "/usr/bin/env",
    };
    for (size_t at = 0; at < sizeof files / sizeof *files; at++)
        read_some(files[at]);
    list_some("/");
    list_some("/etc");
    write_some();
    touch_memory();
    talk();
    pid_t pid = again ? 0 : fork();
    if (pid == 0 && !again)
        execl("/" REHEARSAL, REHEARSAL, "again", NULL);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    puts(REHEARSAL);
    fflush(stdout);
    _exit(0);
}

/* The machine */

/* Start the workload, and read what it says to its end. */
static int run(struct bytes record, struct failure *failure)
{
    int report[2], output[2], status = -1;
    char said[256];
    if (pipe2(report, O_CLOEXEC) < 0 || pipe2(output, O_CLOEXEC) < 0)
        return fail_errno(failure, "pipe");
    struct launch given = { .record = record_find(record, PROCESS), .streams = { -1, output[1], -1 },
                            .terminal = -1, .report = report[1], .hold = -1, .mounts = -1,
                            .cgroups = -1 };
    pid_t pid = child_begin(&given, true, failure);
    close(report[1]);
    close(output[1]);
    if (pid < 0)
        return -1;
    ssize_t told = read(report[0], failure, sizeof *failure);
    while (read(output[0], said, sizeof said) > 0)
        ;
    if (waitpid(pid, &status, 0) < 0 || told != 0 || status != 0)
        return told == (ssize_t)sizeof *failure ? -1
                                                : fail(failure, FAILED, "the rehearsal's workload");
    return 0;
}

static int perform(struct bytes record, struct failure *failure)
{
    session_forget();
    if (unshare(CLONE_NEWNS | CLONE_NEWUTS) < 0)
        return fail_errno(failure, "namespaces");
    if (machine_setup(record, failure) < 0 || machine_show("/init", "/" REHEARSAL, failure) < 0)
        return -1;
    int done = run(record, failure);
    machine_leave();
    /* Not lazily: behind these disks there will be others. */
    if (done == 0 && umount2(BASE_PLACE, 0) < 0)
        return fail_errno(failure, "the rehearsal's disks");
    return done;
}

static void forget_places(void)
{
    rmdir(BASE_PLACE);
    rmdir(UPPER_PLACE);
}

void rehearse(struct request request, struct bytes record)
{
    struct failure failure = { .status = FAILED };
    int report[2] = { -1, -1 };
    if (machine.ready || pipe2(report, O_CLOEXEC) < 0) {
        fail(&failure, INVALID, "REHEARSE after SETUP");
        answer_failure(request, &failure);
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        if (perform(record, &failure) < 0)
            write_all(report[1], &failure, sizeof failure);
        _exit(0);
    }
    close(report[1]);
    /* Nobody else asks for anything meanwhile. */
    ssize_t told = pid < 0 ? -1 : read(report[0], &failure, sizeof failure);
    close(report[0]);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    forget_places();
    if (told == 0 && network_forget(record, &failure) == 0)
        answer_ok(request);
    else
        answer_failure(request, &failure);
}
