#include "vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "memory.h"

enum request {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    SET_VRING_ENABLE = 18,
    SET_SLAVE_REQ_FD = 21,
    GET_CONFIG = 24,
};

enum { VERSION = 1, VERSION_MASK = 3, REPLY = 4, NO_DESCRIPTOR = 0x100, CONFIG_HEAD = 12 };

static const uint64_t FEATURES = UINT64_C(1) << 32 /* VIRTIO_F_VERSION_1 */
                                 | UINT64_C(1) << 30 /* VHOST_USER_F_PROTOCOL_FEATURES */;
/* SLAVE_REQ and CONFIG. Without the first the guest's kernel has no interrupt for its rings. */
static const uint64_t PROTOCOL_FEATURES = 1 << 5 | 1 << 9;

struct head {
    uint32_t request, flags, size;
};

struct message {
    struct head head;
    union {
        uint64_t number;
        struct {
            uint32_t index, number;
        } state;
        struct {
            uint32_t index, flags;
            uint64_t descriptors, used, available, log;
        } address;
        struct {
            uint32_t count, unused;
            struct region regions[MOST_REGIONS];
        } memory;
        struct {
            uint32_t offset, size, flags;
            unsigned char content[256];
        } config;
    } of;
    int descriptors[MOST_REGIONS];
    size_t count; /* of descriptors that came with it and belong to nobody yet */
};

struct ring rings[RINGS] = {
    [RECEIVING] = { .kick = -1, .call = -1 },
    [SENDING] = { .kick = -1, .call = -1 },
    [EVENTS] = { .kick = -1, .call = -1 },
};

/* Messages */

static void take_descriptors(struct msghdr *heard, struct message *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(heard); part != NULL; part = CMSG_NXTHDR(heard, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t size = part->cmsg_len - CMSG_LEN(0);
        message->count = size / sizeof(int);
        if (message->count > MOST_REGIONS)
            refuse("too many descriptors");
        memcpy(message->descriptors, CMSG_DATA(part), size);
    }
    if ((heard->msg_flags & MSG_CTRUNC) != 0)
        refuse("too many descriptors");
}

static bool receive(int socket, struct message *message)
{
    char control[CMSG_SPACE(MOST_REGIONS * sizeof(int))];
    struct iovec piece = { &message->head, sizeof message->head };
    struct msghdr heard = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control,
                            .msg_controllen = sizeof control };
    memset(message, 0, sizeof *message);
    ssize_t size = recvmsg(socket, &heard, MSG_WAITALL | MSG_CMSG_CLOEXEC);
    if (size == 0 || (size < 0 && errno == ECONNRESET))
        return false;
    if (size != sizeof message->head || (message->head.flags & VERSION_MASK) != VERSION)
        refuse("a message that is none");
    take_descriptors(&heard, message);
    size_t rest = message->head.size;
    if (rest > sizeof message->of)
        refuse("a message that is too long");
    if (rest > 0 && recv(socket, &message->of, rest, MSG_WAITALL) != (ssize_t)rest)
        refuse("a message that is cut");
    return true;
}

static void answer(int socket, const struct message *message, uint32_t size)
{
    struct message said = *message;
    said.head.flags = VERSION | REPLY;
    said.head.size = size;
    size_t whole = sizeof said.head + size;
    /* The payload is not directly behind the head where it is aligned. */
    unsigned char bytes[sizeof said.head + sizeof said.of];
    memcpy(bytes, &said.head, sizeof said.head);
    memcpy(bytes + sizeof said.head, &said.of, size);
    if (send(socket, bytes, whole, MSG_NOSIGNAL) != (ssize_t)whole)
        refuse("no room for an answer");
}

static void answer_number(int socket, struct message *message, uint64_t number)
{
    message->of.number = number;
    answer(socket, message, sizeof number);
}

/* What they ask for */

static struct ring *ring_of(uint32_t index)
{
    if (index >= RINGS)
        refuse("a ring that this device has not");
    return &rings[index];
}

static void set_memory(struct message *message)
{
    uint32_t count = message->of.memory.count;
    if (count > MOST_REGIONS || count != message->count
        || message->head.size < 8 + count * sizeof(struct region))
        refuse("memory without descriptors");
    for (int at = 0; at < RINGS; at++)
        rings[at].descriptors = NULL; /* they were in the memory that goes */
    message->count = 0;
    memory_set(message->of.memory.regions, message->descriptors, count);
}

static void set_size(uint32_t index, uint32_t size)
{
    struct ring *ring = ring_of(index);
    if (size == 0 || size > MOST_ENTRIES || (size & (size - 1)) != 0 || ring->enabled)
        refuse("a ring of that size");
    ring->size = size;
    ring->descriptors = NULL;
}

static void set_base(uint32_t index, uint32_t base)
{
    struct ring *ring = ring_of(index);
    ring->taken = ring->given = (uint16_t)base;
}

static void set_address(const struct message *message)
{
    struct ring *ring = ring_of(message->of.address.index);
    uint64_t descriptors = message->of.address.descriptors, size = ring->size;
    uint64_t available = message->of.address.available, used = message->of.address.used;
    if (size == 0 || ring->enabled || descriptors % 16 != 0 || available % 2 != 0 || used % 4 != 0)
        refuse("a ring at that place");
    struct descriptor *table = memory_of_user(descriptors, size * sizeof(struct descriptor));
    ring->available = memory_of_user(available, sizeof(struct available) + size * 2);
    ring->used = memory_of_user(used, sizeof(struct used) + size * 8);
    ring->descriptors = table;
}

static void set_descriptor(struct message *message, bool is_kick)
{
    struct ring *ring = ring_of((uint32_t)message->of.number & 0xff);
    int *place = is_kick ? &ring->kick : &ring->call;
    if (*place >= 0)
        close(*place);
    *place = -1;
    if ((message->of.number & NO_DESCRIPTOR) != 0)
        return;
    if (message->count != 1)
        refuse("a ring without a descriptor");
    *place = message->descriptors[0];
    message->count = 0;
    fcntl(*place, F_SETFL, O_NONBLOCK);
}

/* There is nothing to ask of the guest; but where this is closed, it takes the device for gone. */
static void keep_requests(struct message *message)
{
    static int kept = -1;
    if (message->count != 1)
        refuse("no descriptor for requests");
    if (kept >= 0)
        close(kept);
    kept = message->descriptors[0];
    message->count = 0;
}

static void get_config(int socket, struct message *message)
{
    uint64_t cid = GUEST_CID;
    uint32_t size = message->of.config.size;
    if (message->of.config.offset != 0 || size > sizeof message->of.config.content)
        refuse("a configuration of that size");
    memset(message->of.config.content, 0, sizeof message->of.config.content);
    memcpy(message->of.config.content, &cid, sizeof cid);
    answer(socket, message, CONFIG_HEAD + size);
}

static void act(int socket, struct message *message)
{
    switch ((enum request)message->head.request) {
    case GET_FEATURES:
        answer_number(socket, message, FEATURES);
        return;
    case GET_PROTOCOL_FEATURES:
        answer_number(socket, message, PROTOCOL_FEATURES);
        return;
    case SET_OWNER:
    case SET_FEATURES: /* there is nothing to choose */
    case SET_PROTOCOL_FEATURES:
        return;
    case SET_SLAVE_REQ_FD:
        keep_requests(message);
        return;
    case SET_MEM_TABLE:
        set_memory(message);
        return;
    case SET_VRING_NUM:
        set_size(message->of.state.index, message->of.state.number);
        return;
    case SET_VRING_BASE:
        set_base(message->of.state.index, message->of.state.number);
        return;
    case SET_VRING_ADDR:
        set_address(message);
        return;
    case SET_VRING_KICK:
        set_descriptor(message, true);
        return;
    case SET_VRING_CALL:
        set_descriptor(message, false);
        return;
    case SET_VRING_ENABLE:
        ring_of(message->of.state.index)->enabled = message->of.state.number != 0;
        return;
    case GET_CONFIG:
        get_config(socket, message);
        return;
    }
    refuse("a message of an unknown kind");
}

bool vhost_take(int socket)
{
    struct message message;
    if (!receive(socket, &message))
        return false;
    act(socket, &message);
    for (size_t at = 0; at < message.count; at++)
        close(message.descriptors[at]);
    return true;
}
