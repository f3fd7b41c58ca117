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
#include <sys/resource.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "device.h"
#include "loop.h"
#include "machine.h"
#include "modules.h"
#include "rehearse.h"
#include "requests.h"

#define PORT "heft.agent"

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

/* Let a serial line carry bytes as they are, and say so: what came before it was raw is no more what
 * was sent. */
static void make_raw(int line)
{
    static const char ready[] = "HEFT-LINE-READY\n";
    struct termios raw;
    if (tcgetattr(line, &raw) < 0)
        panic("the line to the daemon");
    cfmakeraw(&raw);
    raw.c_cflag |= CLOCAL;
    if (tcsetattr(line, TCSANOW, &raw) < 0 || !write_all(line, ready, sizeof ready - 1))
        panic("the line to the daemon");
}

static int open_stream(bool *paced)
{
    const char *path = parameter("heft.agent");
    unsigned int port;
    int fd = path == NULL                             ? device_open_port(PORT)
             : sscanf(path, "vsock:%u", &port) == 1 ? device_connect(port)
                                                    : open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC
                                                                     | O_NOCTTY);
    if (fd < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        panic("the way to the daemon");
    *paced = isatty(fd);
    if (*paced)
        make_raw(fd);
    return fd;
}

/* What is opened later must not be what others take for theirs: the kernel gives its first process no
 * standard streams where it finds no console. */
static void open_standard_streams(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

/* What heft.service lets light machines have, where they are not held to less. */
static void raise_limits(void)
{
    static const struct {
        int number;
        rlim_t most;
    } limits[] = {
        { RLIMIT_NOFILE, 1048576 }, { RLIMIT_NPROC, RLIM_INFINITY }, { RLIMIT_CORE, RLIM_INFINITY },
    };
    for (size_t at = 0; at < sizeof limits / sizeof *limits; at++)
        setrlimit(limits[at].number, &(struct rlimit){ limits[at].most, limits[at].most });
}

int main(int argc, char **argv)
{
    if (strcmp(argv[0], "/" REHEARSAL) == 0 || strcmp(argv[0], REHEARSAL) == 0)
        rehearsal_run(argc > 1);
    if (getpid() != 1)
        modules_fetch(argv);
    leave_first_root();
    mount_own("proc", "/proc");
    mount_own("sysfs", "/sys");
    mount_own("devtmpfs", "/dev");
    open_standard_streams();
    raise_limits();
    signal(SIGPIPE, SIG_IGN);
    modules_load("early");
    machine_prepare();
    devices_listen();
    modules_load("transport");
    loop_open();
    loop_children(requests_child_ended);
    bool paced;
    int stream = open_stream(&paced);
    session_open(stream, paced, &requests);
    if (parameter("heft.template") != NULL) {
        flush_disks();
        say_ready();
    }
    loop_run(requests_settle);
    return 0;
}
