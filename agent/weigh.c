/*
 * heft-weigh: measures where it runs, in some three seconds, and needs nothing of the image.
 *
 *     heft-weigh first                      says `first`, as soon as it runs
 *     heft-weigh measure DIRECTORY [ADDRESS PORT]
 *                                           says `first`, then `NAME NUMBER` a line, then `idle`;
 *                                           stays until its input ends
 *     heft-weigh sink ADDRESS               says the port at which it takes what is sent
 *
 * cpu: rounds a second of a loop of integers, floating point and memory; syscall: nanoseconds for
 * getppid(2); fork: microseconds for fork(2), exit and wait; write, read, network: bytes a second, of
 * a file with fsync(2), of the same from the disk, of one TCP connection to a sink.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK (1 << 20)
#define FILE_BLOCKS 24
#define SLICES 8
#define ROUNDS 4000000 /* some ms, beside which to ask for the time is nothing, even by ptrace */
#define PEERS 16 /* that a sink takes from at once */
#define LIFETIME 120 /* seconds, whatever becomes of who started it */

static char block[BLOCK];
static volatile uint64_t sink_of_results;

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void say(const char *name, double number)
{
    printf("%s %.6g\n", name, number);
    fflush(stdout);
}

/* Time something that is done so many times a turn, for some seconds; give the seconds each takes,
 * in the best of some slices: what else the host does meanwhile is not to count. */
static double each(void (*turn)(void), int times, double seconds)
{
    double best = 0;
    turn();
    for (int slice = 0; slice < SLICES; slice++) {
        long done = 0;
        double begun = now(), taken;
        do {
            turn();
            done += times;
            taken = now() - begun;
        } while (taken < seconds / SLICES);
        taken /= (double)done;
        if (!slice || taken < best)
            best = taken;
    }
    return best;
}

static void compute(void)
{
    static uint64_t state = 88172645463325252u;
    static uint64_t table[4096];
    double sum = 1;
    for (int round = 0; round < ROUNDS; round++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        table[state & 4095] += state * 2862933555777941757u;
        sum = sum * 0.999 + (double)(table[(state >> 20) & 4095] & 1023);
    }
    sink_of_results += (uint64_t)sum;
}

static void call(void)
{
    for (int round = 0; round < 500; round++)
        sink_of_results += (uint64_t)syscall(SYS_getppid);
}

static void spawn(void)
{
    pid_t child = fork();
    if (!child)
        _exit(0);
    if (child > 0)
        waitpid(child, NULL, 0);
}

static void disk(const char *directory)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/.heft-weigh.XXXXXX", directory);
    int file = mkstemp(path);
    if (file < 0)
        return;
    unlink(path);
    for (size_t at = 0; at < sizeof block; at += 8) /* no zeros, which some disks do not write */
        memcpy(block + at, &(uint64_t){at * 2862933555777941757u + 1}, 8);
    double begun = now();
    for (int done = 0; done < FILE_BLOCKS; done++)
        if (write(file, block, sizeof block) != sizeof block)
            goto end;
    if (fsync(file))
        goto end;
    say("write", (double)FILE_BLOCKS * BLOCK / (now() - begun));
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    begun = now();
    for (int done = 0; done < FILE_BLOCKS; done++)
        if (pread(file, block, sizeof block, (off_t)done * BLOCK) != sizeof block)
            goto end;
    say("read", (double)FILE_BLOCKS * BLOCK / (now() - begun));
end:
    close(file);
}

static void network(const char *address, const char *port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (peer < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1 ||
        connect(peer, (struct sockaddr *)&to, sizeof to))
        return;
    double begun = now(), taken = 0, sent = 0;
    while (taken < 0.5) {
        ssize_t done = send(peer, block, sizeof block / 4, MSG_NOSIGNAL);
        if (done <= 0)
            return;
        sent += (double)done;
        taken = now() - begun;
    }
    shutdown(peer, SHUT_WR);
    while (recv(peer, block, sizeof block, 0) > 0) /* until all has come there */
        ;
    say("network", sent / (now() - begun));
    close(peer);
}

static int measure(int count, char **words)
{
    say("cpu", 1 / each(compute, ROUNDS, 0.4));
    say("syscall", each(call, 500, 0.2) * 1e9);
    say("fork", each(spawn, 1, 0.3) * 1e6);
    disk(words[2]);
    if (count > 4)
        network(words[3], words[4]);
    puts("idle");
    fflush(stdout);
    while (read(0, block, sizeof block) > 0)
        ;
    return 0;
}

static void forget(struct pollfd *peers, int *count, int which)
{
    close(peers[which].fd);
    memmove(peers + which, peers + which + 1, (size_t)(--*count - which) * sizeof *peers);
}

/* Take what is sent by all that connect; of too many, the first has to go: it may be a machine that
 * was removed midway, from which nothing comes any more, not even an end. */
static void swallow(int listening)
{
    struct pollfd peers[1 + PEERS] = {{.fd = listening, .events = POLLIN}};
    int count = 1;
    while (poll(peers, (nfds_t)count, -1) > 0) {
        for (int which = count - 1; which; which--)
            if (peers[which].revents && recv(peers[which].fd, block, sizeof block, 0) <= 0)
                forget(peers, &count, which);
        if (!peers[0].revents)
            continue;
        if (count > PEERS)
            forget(peers, &count, 1);
        int peer = accept(listening, NULL, NULL);
        if (peer >= 0)
            peers[count++] = (struct pollfd){.fd = peer, .events = POLLIN};
    }
}

static int sink(const char *address)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof at;
    alarm(0); /* kernels of guests may have to be fetched meanwhile: it ends with its parent */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (inet_pton(AF_INET, address, &at.sin_addr) != 1 ||
        bind(listening, (struct sockaddr *)&at, sizeof at) || listen(listening, PEERS) ||
        getsockname(listening, (struct sockaddr *)&at, &size)) {
        perror(address);
        return 1;
    }
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    swallow(listening);
    return 1;
}

static void too_long(int number)
{
    _exit(128 + number);
}

int main(int count, char **words)
{
    signal(SIGALRM, too_long); /* the first process of a machine has no default action */
    alarm(LIFETIME);
    if (count > 2 && !strcmp(words[1], "sink"))
        return sink(words[2]);
    puts("first");
    fflush(stdout);
    return count > 2 && !strcmp(words[1], "measure") ? measure(count, words) : 0;
}
