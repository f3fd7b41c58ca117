#include "streams.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vhost.h"

enum {
    ROOM = 1 << 18,       /* bytes of the guest's that a stream keeps until they are written */
    STEP = ROOM / 4,      /* so much has to be free anew before the guest is told */
    MOST_PAYLOAD = 1 << 16,
    MOST_RESETS = 64,
};

enum operation { REQUEST = 1, RESPONSE, RESET, SHUTDOWN, DATA, CREDIT_UPDATE, CREDIT_REQUEST };
enum { STREAM = 1, BOTH_WAYS = 3 };

struct packet {
    uint64_t source_cid, target_cid;
    uint32_t source_port, target_port, length;
    uint16_t type, operation;
    uint32_t flags, room, taken;
} __attribute__((packed));

struct stream {
    uint32_t port, peer; /* ours, the guest's */
    int in, out;         /* -1: closed */
    enum { WAITING, OPEN, OVER } state;
    bool respond, tell; /* the guest is to be told: that it is connected, how much room there is */
    bool ended;         /* nothing comes of `in` any more, or goes to `out` */
    uint32_t sent, peer_room, peer_taken;  /* bytes to the guest, modulo 2^32 */
    uint32_t written, told;                /* bytes of the guest's */
    unsigned char *kept;
    size_t kept_at, kept_size;
};

static struct stream streams[MOST_STREAMS];
static size_t stream_count;

/* Of connections that are not there. */
static struct {
    uint32_t port, peer;
    uint16_t type;
} resets[MOST_RESETS];
static size_t reset_count;

void streams_add(uint32_t port, int in, int out)
{
    if (stream_count == MOST_STREAMS)
        refuse("too many streams");
    struct stream *stream = &streams[stream_count++];
    *stream = (struct stream){ .port = port, .in = in, .out = out };
    stream->kept = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stream->kept == MAP_FAILED || fcntl(in, F_SETFL, O_NONBLOCK) < 0
        || fcntl(out, F_SETFL, O_NONBLOCK) < 0)
        give_up("streams");
}

static uint32_t credit(const struct stream *stream)
{
    int64_t room = (int64_t)stream->peer_room - (uint32_t)(stream->sent - stream->peer_taken);
    return room > 0 ? (uint32_t)room : 0;
}

static void close_ends(struct stream *stream)
{
    if (stream->in >= 0)
        close(stream->in);
    if (stream->out >= 0 && stream->out != stream->in)
        close(stream->out);
    stream->in = stream->out = -1;
}

/* From the guest */

static void reset(uint32_t port, uint32_t peer, uint16_t type)
{
    resets[reset_count].port = port;
    resets[reset_count].peer = peer;
    resets[reset_count++].type = type;
}

static struct stream *find(uint32_t port)
{
    for (size_t at = 0; at < stream_count; at++)
        if (streams[at].port == port)
            return &streams[at];
    return NULL;
}

static void keep(struct stream *stream, const struct iovec *pieces, int count, size_t skipped,
                 size_t size)
{
    size_t end = stream->kept_at + stream->kept_size;
    for (int at = 0; at < count && size > 0; at++) {
        const unsigned char *from = pieces[at].iov_base;
        size_t left = pieces[at].iov_len;
        size_t over = skipped < left ? skipped : left;
        from += over, left -= over, skipped -= over;
        if (left > size)
            left = size;
        size -= left;
        stream->kept_size += left;
        while (left > 0) {
            size_t place = end % ROOM, part = ROOM - place < left ? ROOM - place : left;
            memcpy(stream->kept + place, from, part);
            from += part, left -= part, end += part;
        }
    }
}

/* Write what can be written of what is kept; whether the stream goes on. */
static bool write_kept(struct stream *stream)
{
    while (stream->kept_size > 0) {
        size_t part = ROOM - stream->kept_at;
        if (part > stream->kept_size)
            part = stream->kept_size;
        struct iovec pieces[2] = {
            { stream->kept + stream->kept_at, part },
            { stream->kept, stream->kept_size - part },
        };
        ssize_t count = writev(stream->out, pieces, stream->kept_size > part ? 2 : 1);
        if (count < 0)
            return errno == EAGAIN || errno == EINTR;
        stream->kept_at = (stream->kept_at + (size_t)count) % ROOM;
        stream->kept_size -= (size_t)count;
        stream->written += (uint32_t)count;
    }
    return true;
}

static void take(struct stream *stream, const struct packet *packet, const struct iovec *pieces,
                 int count)
{
    stream->peer_room = packet->room;
    stream->peer_taken = packet->taken;
    switch ((enum operation)packet->operation) {
    case DATA:
        if (packet->length > ROOM - stream->kept_size)
            refuse("more than there is room for");
        keep(stream, pieces, count, sizeof *packet, packet->length);
        return;
    case CREDIT_REQUEST:
        stream->tell = true;
        return;
    case SHUTDOWN:
        if ((packet->flags & BOTH_WAYS) == BOTH_WAYS) {
            reset(stream->port, stream->peer, STREAM);
            stream->state = OVER;
        }
        return;
    case RESET:
        stream->state = OVER;
        return;
    default:
        return; /* a credit update, or what means nothing here */
    }
}

static void take_packet(const struct iovec *pieces, int count)
{
    struct packet packet;
    size_t size = 0, have = 0;
    for (int at = 0; at < count; at++) {
        size_t part = pieces[at].iov_len;
        if (part > sizeof packet - have)
            part = sizeof packet - have;
        memcpy((unsigned char *)&packet + have, pieces[at].iov_base, part);
        have += part;
        size += pieces[at].iov_len;
    }
    if (have < sizeof packet || packet.length > MOST_PAYLOAD
        || packet.length > size - sizeof packet || packet.source_cid != GUEST_CID)
        refuse("a packet that is none");
    struct stream *stream = packet.target_cid == HOST_CID ? find(packet.target_port) : NULL;
    bool ours = stream != NULL && packet.type == STREAM && stream->state == OPEN
                && stream->peer == packet.source_port;
    if (ours) {
        take(stream, &packet, pieces, count);
    } else if (stream != NULL && stream->state == WAITING && packet.type == STREAM
               && packet.operation == REQUEST) {
        stream->state = OPEN;
        stream->peer = packet.source_port;
        stream->peer_room = packet.room;
        stream->peer_taken = packet.taken;
        stream->respond = true;
    } else if (packet.operation != RESET) {
        reset(packet.target_port, packet.source_port, packet.type);
    }
}

static void take_all(void)
{
    struct ring *ring = &rings[SENDING];
    /* As long as there is room for what one packet can lead to. */
    while (reset_count < MOST_RESETS && ring_has(ring)) {
        struct iovec pieces[MOST_PIECES];
        uint16_t head;
        int count = ring_look(ring, false, pieces, &head);
        take_packet(pieces, count);
        ring_give(ring, head, 0);
    }
}

/* To the guest */

static void give(uint16_t head, unsigned char *place, struct packet packet)
{
    packet.source_cid = HOST_CID;
    packet.target_cid = GUEST_CID;
    memcpy(place, &packet, sizeof packet);
    ring_give(&rings[RECEIVING], head, (uint32_t)(sizeof packet + packet.length));
}

static struct packet packet_of(struct stream *stream, enum operation operation, uint32_t length)
{
    stream->told = stream->written;
    stream->tell = false;
    return (struct packet){
        .source_port = stream->port, .target_port = stream->peer, .length = length, .type = STREAM,
        .operation = (uint16_t)operation, .room = ROOM, .taken = stream->written,
    };
}

/* Look at the next buffer of the guest's: where its packet begins; NULL: there is none. */
static unsigned char *next_buffer(struct iovec *pieces, int *count, uint16_t *head)
{
    if (!ring_has(&rings[RECEIVING]))
        return NULL;
    *count = ring_look(&rings[RECEIVING], true, pieces, head);
    if (pieces[0].iov_len < sizeof(struct packet))
        refuse("a buffer that no packet goes into");
    return pieces[0].iov_base;
}

/* Give the guest what is short; false where there is nothing, or no buffer. */
static bool give_word(struct stream *stream)
{
    struct iovec pieces[MOST_PIECES];
    int count;
    uint16_t head;
    bool tell = stream->tell || stream->written - stream->told >= STEP;
    bool due = stream->state == OPEN && (stream->respond || tell || stream->ended);
    unsigned char *place = due ? next_buffer(pieces, &count, &head) : NULL;
    if (place == NULL)
        return false;
    if (stream->respond) {
        stream->respond = false;
        give(head, place, packet_of(stream, RESPONSE, 0));
    } else if (tell) {
        give(head, place, packet_of(stream, CREDIT_UPDATE, 0));
    } else {
        give(head, place, packet_of(stream, RESET, 0));
        stream->state = OVER;
    }
    return true;
}

static bool give_reset(void)
{
    struct iovec pieces[MOST_PIECES];
    int count;
    uint16_t head;
    unsigned char *place = reset_count > 0 ? next_buffer(pieces, &count, &head) : NULL;
    if (place == NULL)
        return false;
    reset_count--;
    struct packet packet = { .source_port = resets[reset_count].port,
                             .target_port = resets[reset_count].peer,
                             .type = resets[reset_count].type,
                             .operation = RESET };
    give(head, place, packet);
    return true;
}

/* Read one packet straight into the guest's memory; false where there is nothing, or no room. */
static bool give_data(struct stream *stream)
{
    struct iovec pieces[MOST_PIECES];
    int count;
    uint16_t head;
    uint32_t room = credit(stream);
    bool due = stream->state == OPEN && !stream->respond && !stream->ended && room > 0;
    unsigned char *place = due ? next_buffer(pieces, &count, &head) : NULL;
    if (place == NULL)
        return false;
    pieces[0].iov_base = place + sizeof(struct packet);
    pieces[0].iov_len -= sizeof(struct packet);
    if (room > MOST_PAYLOAD)
        room = MOST_PAYLOAD;
    for (int at = 0; at < count; at++) {
        if (pieces[at].iov_len > room)
            pieces[at].iov_len = room;
        room -= (uint32_t)pieces[at].iov_len;
    }
    ssize_t size = readv(stream->in, pieces, count);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (size <= 0) {
        stream->ended = true;
        return true;
    }
    stream->sent += (uint32_t)size;
    give(head, place, packet_of(stream, DATA, (uint32_t)size));
    return true;
}

static void give_all(void)
{
    bool more = true;
    while (more) {
        more = give_reset();
        for (size_t at = 0; at < stream_count; at++)
            more = give_word(&streams[at]) || give_data(&streams[at]) || more;
    }
}

static void write_all(void)
{
    for (size_t at = 0; at < stream_count; at++) {
        struct stream *stream = &streams[at];
        if (stream->out < 0)
            continue;
        if (!write_kept(stream)) {
            stream->ended = true;
            stream->kept_size = 0;
        }
        if (stream->state == OVER && stream->kept_size == 0)
            close_ends(stream);
    }
}

void streams_move(void)
{
    take_all();
    write_all();
    give_all();
    ring_call(&rings[SENDING]);
    ring_call(&rings[RECEIVING]);
}

int streams_wait(struct pollfd *polled)
{
    int count = 0;
    bool buffers = ring_has(&rings[RECEIVING]);
    for (size_t at = 0; at < stream_count; at++) {
        const struct stream *stream = &streams[at];
        if (stream->in >= 0 && stream->state == OPEN && !stream->ended && buffers
            && credit(stream) > 0)
            polled[count++] = (struct pollfd){ .fd = stream->in, .events = POLLIN };
        if (stream->out >= 0 && stream->kept_size > 0)
            polled[count++] = (struct pollfd){ .fd = stream->out, .events = POLLOUT };
    }
    return count;
}
