/* SETUP: what a guest becomes, from entropy and clock to the last file bound over the root. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "device.h"
#include "loop.h"
#include "machine.h"
#include "modules.h"
#include "network.h"
#include "places.h"

/* Nanoseconds. */
static const int64_t SLEWED = 20000000;

/* What must differ between guests of one template */

static int set_entropy(struct bytes entropy, struct failure *failure)
{
    if (entropy.size == 0)
        return 0;
    struct rand_pool_info *pool = allocate(sizeof *pool + entropy.size);
    pool->entropy_count = (int)entropy.size * 8;
    pool->buf_size = (int)entropy.size;
    memcpy(pool->buf, entropy.data, entropy.size);
    int random = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
    int done = random < 0 ? -1 : ioctl(random, RNDADDENTROPY, pool);
    /* Restored guests all have the template's generator: it must not wait for its next turn. */
    if (done == 0)
        done = ioctl(random, RNDRESEEDCRNG);
    if (done < 0)
        fail_errno(failure, "entropy");
    close(random);
    explicit_bzero(pool->buf, entropy.size);
    free(pool);
    return done;
}

int machine_set_clock(uint64_t time, struct failure *failure)
{
    struct timespec moment = { .tv_sec = (time_t)(time / 1000000000),
                               .tv_nsec = (long)(time % 1000000000) };
    if (time != 0 && clock_settime(CLOCK_REALTIME, &moment) < 0)
        return fail_errno(failure, "clock");
    return 0;
}

int machine_correct_clock(uint64_t time, struct failure *failure)
{
    int64_t wrong = (int64_t)(time - now(CLOCK_REALTIME));
    if (wrong > SLEWED || wrong < -SLEWED)
        return machine_set_clock(time, failure);
    struct timeval delta = { .tv_usec = wrong / 1000 };
    if (adjtime(&delta, NULL) < 0)
        return fail_errno(failure, "clock");
    return 0;
}

static int set_names(struct bytes record, struct failure *failure)
{
    struct bytes host = record_find(record, HOSTNAME), domain = record_find(record, DOMAINNAME);
    if (host.size > 0 && sethostname((const char *)host.data, host.size) < 0)
        return fail_errno(failure, "hostname");
    gethostname(machine.hostname, sizeof machine.hostname - 1);
    if (domain.size > 0 && setdomainname((const char *)domain.data, domain.size) < 0)
        return fail_errno(failure, "domain name");
    return 0;
}

/* Disks and root */

static int mount_disk(struct bytes disk, struct failure *failure)
{
    const char *role = record_text(disk, ROLE), *selector = record_text(disk, SELECTOR);
    const char *type = record_text(disk, TYPE);
    const char *place = NULL;
    char source[PATH_MAX];
    if (role == NULL || selector == NULL || type == NULL)
        return fail(failure, INVALID, "a disk's fields");
    if (strcmp(role, "base") == 0)
        place = BASE_PLACE;
    else if (strcmp(role, "upper") == 0)
        place = UPPER_PLACE;
    else if (strcmp(role, "modules") == 0)
        place = MODULES_PLACE;
    else
        return fail(failure, UNSUPPORTED, "a disk for %s", role);
    bool bound = strcmp(type, "bind") == 0;
    unsigned long flags = record_number(disk, READ_ONLY) ? MS_RDONLY : MS_NOATIME;
    if (!bound && device_of_disk(selector, source, sizeof source, failure) < 0)
        return -1;
    if (mkdir(place, 0755) < 0 || mount(bound ? selector : source, place, bound ? NULL : type,
                                        bound ? MS_BIND : flags, NULL) < 0)
        return fail_errno(failure, "disk %s (%s, %s)", role, selector, type);
    if (place[1] == 'u')
        machine.upper = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return 0;
}

static int join_root(struct bytes record, struct failure *failure)
{
    struct field field;
    while (record_next(&record, &field))
        if (field.tag == DISK && mount_disk(field.value, failure) < 0)
            return -1;
    bool base = access(BASE_PLACE, F_OK) == 0, upper = machine.upper >= 0;
    if (!upper)
        return fail(failure, INVALID, "no disk for the upper");
    if (base && mkdirat(machine.upper, "upper", 0755) < 0 && errno != EEXIST)
        return fail_errno(failure, "the upper's directory");
    if (base && mkdirat(machine.upper, "work", 0700) < 0 && errno != EEXIST)
        return fail_errno(failure, "the upper's work directory");
    /* Without redirects and copies of metadata alone, an upper can be read by itself. */
    int joined = base ? mount("overlay", MACHINE, "overlay", 0,
                              "lowerdir=" BASE_PLACE ",upperdir=" UPPER_PLACE "/upper,workdir="
                              UPPER_PLACE "/work,index=off,metacopy=off,redirect_dir=off")
                      : mount(UPPER_PLACE, MACHINE, NULL, MS_BIND, NULL);
    if (joined < 0)
        return fail_errno(failure, "root");
    machine.root = open(MACHINE, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return machine.root < 0 ? fail_errno(failure, "root") : 0;
}

/* Generated files */

/* Where the agent keeps the file that is bound over a path: its name without slashes. */
static void file_place(const char *target, char place[static PATH_MAX])
{
    snprintf(place, PATH_MAX, "/files/%s", target);
    for (char *at = place + strlen("/files/"); *at != 0; at++)
        if (*at == '/')
            *at = '%';
}

static int write_content(const char *place, struct bytes file, struct failure *failure)
{
    struct bytes content = record_find(file, CONTENT);
    uint64_t mode = record_number(file, MODE);
    int fd = open(place, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    /* In place: what is bound somewhere stays the same file. */
    bool done = fd >= 0 && write_all(fd, content.data, content.size)
                && ftruncate(fd, (off_t)content.size) == 0
                && (mode == 0 || fchmod(fd, (mode_t)mode & 07777) == 0);
    if (!done)
        fail_errno(failure, "a generated file");
    if (fd >= 0)
        close(fd);
    return done ? 0 : -1;
}

static int place_file(struct bytes file, struct failure *failure)
{
    char *target = record_text(file, TARGET), place[PATH_MAX];
    if (target == NULL || target[0] != '/')
        return fail(failure, INVALID, "the target of a generated file");
    file_place(target, place);
    int done = write_content(place, file, failure);
    if (done == 0)
        done = place_bind(place, target, false, record_number(file, READ_ONLY), failure);
    free(target);
    return done;
}

int machine_set_files(struct bytes record, struct failure *failure)
{
    struct field field;
    while (record_next(&record, &field)) {
        if (field.tag != FILE_)
            continue;
        char *target = record_text(field.value, TARGET), place[PATH_MAX];
        file_place(target != NULL ? target : "", place);
        free(target);
        if (access(place, F_OK) < 0)
            return fail(failure, NOT_FOUND, "no such generated file");
        if (write_content(place, field.value, failure) < 0)
            return -1;
    }
    return 0;
}

/* What every machine has */

static int place_devices(struct bytes record, struct failure *failure)
{
    char size[64] = "mode=1777";
    uint64_t shared = record_number(record, SHM_SIZE);
    if (shared != 0)
        snprintf(size, sizeof size, "mode=1777,size=%llu", (unsigned long long)shared);
    if (machine.init_system || machine.privileged) {
        /* All there is of devices; what belongs to the machine is moved into it. */
        int point = place_point("/dev", true, failure);
        if (point < 0 || mount("devtmpfs", place_name(point), "devtmpfs", MS_NOSUID, NULL) < 0)
            return point < 0 ? -1 : fail_errno(failure, "/dev");
        close(point);
        static const char *const below[] = { "/pts", "/shm", "/mqueue" };
        for (size_t at = 0; at < sizeof below / sizeof *below; at++) {
            char source[64], target[64];
            snprintf(source, sizeof source, DEVICES "%s", below[at]);
            snprintf(target, sizeof target, "/dev%s", below[at]);
            if (place_move(source, target, failure) < 0)
                return -1;
        }
    } else if (place_move(DEVICES, "/dev", failure) < 0) {
        return -1;
    }
    if (shared != 0 && mount(NULL, MACHINE "/dev/shm", NULL,
                             MS_REMOUNT | MS_NOSUID | MS_NODEV | MS_NOEXEC, size) < 0)
        return fail_errno(failure, "/dev/shm");
    return 0;
}

/* The kernel's modules, where a whole system looks for them. */
static int place_modules(struct failure *failure)
{
    struct utsname kernel;
    char target[64 + sizeof kernel.release];
    if (access(MODULES_PLACE, F_OK) < 0)
        return 0;
    uname(&kernel);
    modules_serve();
    snprintf(target, sizeof target, "/lib/modules/%s", kernel.release);
    return place_bind(MODULES_PLACE, target, true, true, failure);
}

static int place_standard(struct bytes record, struct failure *failure)
{
    bool open = machine.init_system || machine.privileged;
    int proc = place_point("/proc", true, failure), sys = place_point("/sys", true, failure);
    unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | (open ? 0 : MS_RDONLY);
    if (proc < 0 || sys < 0)
        return -1;
    if (mount("sysfs", place_name(sys), "sysfs", flags, NULL) < 0)
        return fail_errno(failure, "/sys");
    close(proc);
    close(sys);
    return place_devices(record, failure) < 0 ? -1 : place_modules(failure);
}

static int set_sysctl(struct bytes value, struct failure *failure)
{
    char *name = bytes_text(value), path[PATH_MAX];
    char *equals = name != NULL ? strchr(name, '=') : NULL;
    if (equals == NULL || strstr(name, "..") != NULL)
        return fail(failure, INVALID, "a sysctl without a value");
    *equals = 0;
    snprintf(path, sizeof path, "/proc/sys/%s", name);
    for (char *at = path; *at != 0; at++)
        if (*at == '.')
            *at = '/';
    int done = write_file(path, equals + 1) ? 0 : fail_errno(failure, "sysctl %s", name);
    free(name);
    return done;
}

/* Read-only for all: mounts in it stay as they are. */
static int seal_root(struct failure *failure)
{
    if (mount(NULL, MACHINE, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
        return fail_errno(failure, "read-only root");
    return 0;
}

/* What comes more than once, or before other things, in the order in which it is given. */
static int each(struct bytes record, enum tag tag,
                int (*work)(struct bytes value, struct failure *failure), struct failure *failure)
{
    struct field field;
    while (record_next(&record, &field))
        if (field.tag == tag && work(field.value, failure) < 0)
            return -1;
    return 0;
}

int machine_setup(struct bytes record, struct failure *failure)
{
    static bool begun;
    if (machine.ready)
        return 0;
    if (begun)
        return fail(failure, FAILED, "SETUP has failed before: start another guest");
    begun = true;
    machine.init_system = record_number(record, INIT_SYSTEM);
    machine.privileged = record_number(record, PRIVILEGED);
    if (machine.init_system || machine.privileged)
        cgroup_open_all();
    uint64_t pids = record_number(record, PIDS_LIMIT);
    if (set_entropy(record_find(record, ENTROPY), failure) < 0
        || machine_set_clock(record_number(record, CLOCK), failure) < 0
        || set_names(record, failure) < 0 || join_root(record, failure) < 0
        || place_standard(record, failure) < 0 || each(record, MOUNT, place_asked, failure) < 0
        || each(record, FILE_, place_file, failure) < 0
        || network_setup(record, failure) < 0 || each(record, SYSCTL, set_sysctl, failure) < 0
        || (pids != 0 && cgroup_limit_pids(pids, failure) < 0)
        || (record_number(record, READ_ONLY_ROOT) && seal_root(failure) < 0))
        return -1;
    machine.ready = true;
    return 0;
}
