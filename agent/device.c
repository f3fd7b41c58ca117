#include "device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/vm_sockets.h> /* which needs sys/socket.h */

#include "loop.h"

enum { PATIENCE = 10 }; /* seconds that a device may take to appear */

static int events = -1;

void devices_listen(void)
{
    struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
    events = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
    if (events >= 0)
        bind(events, (void *)&address, sizeof address);
}

/* Wait until something has happened to a device; false when it is time to give up. */
static bool wait_for_event(uint64_t until)
{
    char event[4096];
    struct pollfd waiting = { .fd = events, .events = POLLIN };
    uint64_t time = now(CLOCK_MONOTONIC), left = until > time ? (until - time) / 1000000 + 1 : 0;
    int patience = left > INT_MAX ? -1 : (int)left;
    if (left == 0)
        return false;
    if (events < 0) /* nobody tells: look again soon */
        return poll(NULL, 0, 10) == 0;
    if (poll(&waiting, 1, patience) <= 0)
        return false;
    while (recv(events, event, sizeof event, 0) >= 0 || errno == ENOBUFS)
        ;
    return true;
}

/* Look for the device of a class whose attribute has a value, ignoring case. */
static bool look(const char *class, const char *attribute, const char *value, char *name,
                 size_t size)
{
    char path[600], text[256];
    bool found = false;
    snprintf(path, sizeof path, "/sys/%s", class);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return false;
    for (struct dirent *entry; !found && (entry = readdir(directory)) != NULL;) {
        snprintf(path, sizeof path, "/sys/%s/%s/%s", class, entry->d_name, attribute);
        if (entry->d_name[0] == '.' || read_file(path, text, sizeof text) < 0)
            continue;
        text[strcspn(text, "\n")] = 0;
        found = strcasecmp(text, value) == 0;
        if (found)
            snprintf(name, size, "%s", entry->d_name);
    }
    closedir(directory);
    return found;
}

static bool await(const char *class, const char *attribute, const char *value, char *name,
                  size_t size)
{
    uint64_t until = now(CLOCK_MONOTONIC) + PATIENCE * UINT64_C(1000000000);
    while (!look(class, attribute, value, name, size))
        if (!wait_for_event(until))
            return false;
    return true;
}

int device_of_disk(const char *selector, char *path, size_t size, struct failure *failure)
{
    char name[256];
    if (selector[0] == '/') {
        snprintf(path, size, "%s", selector);
        return 0;
    }
    if (!await("block", "serial", selector, name, sizeof name))
        return fail(failure, NOT_FOUND, "no disk has the serial number %s", selector);
    snprintf(path, size, "/dev/%s", name);
    return 0;
}

/* The address that cards have in a template, whose drivers know it by the time that the machine's own
 * card is behind them. */
#define STAND_IN "02:48:45:46:54:00"

static bool readdress(const char *name, const char *mac)
{
    struct ifreq request = { .ifr_hwaddr.sa_family = ARPHRD_ETHER };
    unsigned char *byte = (unsigned char *)request.ifr_hwaddr.sa_data;
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &byte[0], &byte[1], &byte[2], &byte[3],
               &byte[4], &byte[5]) != 6)
        return false;
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool done = any >= 0 && ioctl(any, SIOCSIFHWADDR, &request) == 0;
    if (any >= 0)
        close(any);
    return done;
}

int device_restore_card(const char *name, struct failure *failure)
{
    return readdress(name, STAND_IN) ? 0 : fail_errno(failure, "address of %s", name);
}

int device_of_card(const char *mac, char name[static 16], struct failure *failure)
{
    if (look("class/net", "address", mac, name, 16))
        return 0;
    if (look("class/net", "address", STAND_IN, name, 16))
        return readdress(name, mac) ? 0 : fail_errno(failure, "address %s of %s", mac, name);
    if (!await("class/net", "address", mac, name, 16))
        return fail(failure, NOT_FOUND, "no network card has the address %s", mac);
    return 0;
}

int device_connect(unsigned int port)
{
    struct sockaddr_vm host = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST,
                                .svm_port = port };
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (void *)&host, sizeof host) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

int device_open_port(const char *name)
{
    char found[256], path[280];
    while (!look("class/virtio-ports", "name", name, found, sizeof found))
        /* Without it there is nothing to do here at all: wait on. */
        wait_for_event(UINT64_MAX);
    snprintf(path, sizeof path, "/dev/%s", found);
    return open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}
