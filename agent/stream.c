#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common.h"
#include "session.h"

enum {
    ROOM = 262144,
    /* What a terminal can hold when its process ends: the kernel's buffer and the line
     * discipline's (tty_buffer.c, n_tty.c). */
    TERMINAL_HOLDS = 65536 + 4096,
};

static struct stream *by_number[65536];
static struct stream *all;
static struct stream *turn; /* whose frame is next */

static void pump(struct stream *stream);
static void flush(struct stream *stream);
static void grant(struct stream *stream);

static void ready(struct watch *watch, uint32_t events)
{
    struct stream *stream = CONTAINER(watch, struct stream, watch);
    if (!stream->incoming) {
        stream->hung = stream->hung || (events & EPOLLHUP);
        pump(stream);
        return;
    }
    /* A pipe without readers; a hung up terminal may be opened again. */
    if ((events & EPOLLERR) && !stream->terminal) {
        stream_close(stream);
        session_stop(stream->number);
    } else {
        flush(stream);
    }
}

struct stream *stream_new(uint16_t number, int fd, bool incoming, bool terminal)
{
    struct stream *stream = allocate(sizeof *stream);
    stream->number = number;
    stream->incoming = incoming;
    stream->terminal = terminal;
    stream->stopped = number == 0;
    stream->watch.ready = ready;
    loop_add(&stream->watch, fd, incoming ? EPOLLOUT : EPOLLIN);
    stream->next = all;
    all = stream;
    if (number != 0)
        by_number[number] = stream;
    if (incoming)
        grant(stream);
    return stream;
}

void stream_free(struct stream *stream)
{
    if (stream == NULL)
        return;
    loop_remove(&stream->watch);
    for (struct stream **at = &all; *at != NULL; at = &(*at)->next)
        if (*at == stream) {
            *at = stream->next;
            break;
        }
    if (turn == stream)
        turn = stream->next;
    if (stream->number != 0)
        by_number[stream->number] = NULL;
    if (stream->room != NULL)
        munmap(stream->room, ROOM);
    free(stream);
}

struct stream *stream_find(uint16_t number)
{
    return by_number[number];
}

/* The room that is free, as one or two parts. */
static int free_parts(struct stream *stream, struct iovec part[2], size_t most)
{
    size_t room = ROOM - (size_t)(stream->end - stream->base);
    if (room > most)
        room = most;
    if (room == 0)
        return 0;
    if (stream->room == NULL) {
        stream->room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stream->room == MAP_FAILED)
            panic("no memory");
    }
    /* From the beginning where nothing is kept: short exchanges then use few pages. */
    if (stream->base == stream->end)
        stream->origin = stream->end;
    size_t at = (size_t)(stream->end - stream->origin) % ROOM;
    size_t first = ROOM - at < room ? ROOM - at : room;
    part[0] = (struct iovec){ stream->room + at, first };
    part[1] = (struct iovec){ stream->room, room - first };
    return room > first ? 2 : 1;
}

/* What is kept from an offset on, up to the end of the buffer. */
static struct bytes kept(const struct stream *stream, uint64_t from)
{
    size_t at = (size_t)(from - stream->origin) % ROOM;
    size_t size = (size_t)(stream->end - from);
    return (struct bytes){ stream->room + at, size < ROOM - at ? size : ROOM - at };
}

/* Outgoing */

static void end(struct stream *stream)
{
    loop_remove(&stream->watch);
    if (!stream->told) {
        stream->told = true;
        if (stream->at_end != NULL)
            stream->at_end(stream);
    }
}

static void pump(struct stream *stream)
{
    static unsigned char scratch[16384];
    while (stream->watch.fd >= 0) {
        struct iovec part[2] = { { scratch, sizeof scratch }, { NULL, 0 } };
        size_t most = stream->draining && stream->left < ROOM ? (size_t)stream->left : ROOM;
        int count = 1;
        if (stream->draining && most == 0) {
            end(stream);
            return;
        }
        if (!stream->stopped) {
            count = free_parts(stream, part, most);
            if (count == 0)
                return; /* a WINDOW makes room, and comes here again */
        } else if (most < sizeof scratch) {
            part[0].iov_len = most;
        }
        ssize_t got = readv(stream->watch.fd, part, count);
        if (got > 0) {
            if (stream->stopped)
                stream->base += (uint64_t)got;
            stream->end += (uint64_t)got;
            if (stream->draining)
                stream->left -= (uint64_t)got;
            else if (!stream->terminal && !stream->hung
                     && (size_t)got < part[0].iov_len + part[1].iov_len)
                return; /* a pipe gives all it has; what comes later, or its end, is a new edge */
        } else if (got < 0 && errno == EINTR) {
            continue;
        } else if (got < 0 && (errno == EAGAIN || (errno == EIO && stream->terminal))
                   && !stream->draining) {
            return; /* EIO: nobody has the terminal open just now */
        } else {
            end(stream);
        }
    }
}

void stream_drain(struct stream *stream)
{
    int there = 0;
    if (stream->watch.fd < 0)
        return;
    if (stream->terminal)
        there = TERMINAL_HOLDS;
    else
        ioctl(stream->watch.fd, FIONREAD, &there);
    stream->draining = true;
    stream->left = (uint64_t)there;
    pump(stream);
}

static void drop(struct stream *stream)
{
    stream->stopped = true;
    stream->base = stream->sent = stream->end;
    if (stream->room != NULL)
        munmap(stream->room, ROOM);
    stream->room = NULL;
}

void stream_discard(struct stream *stream)
{
    drop(stream);
    pump(stream);
}

void stream_disown(struct stream *stream)
{
    if (stream == NULL)
        return;
    if (stream->number != 0)
        by_number[stream->number] = NULL;
    stream->number = 0;
    if (stream->incoming)
        stream_close(stream);
    else
        stream_discard(stream);
}

void stream_close(struct stream *stream)
{
    drop(stream);
    end(stream);
}

bool stream_window(struct stream *stream, uint64_t taken, uint64_t limit)
{
    if (stream->incoming)
        return session_error("a WINDOW of a channel that the daemon sends on");
    uint64_t most = stream->open ? stream->sent : stream->end;
    if (stream->stopped)
        taken = most; /* nothing is kept */
    if (taken < stream->base || taken > most || limit < stream->limit)
        return session_error("a WINDOW that leaves the stream");
    if (!stream->open)
        stream->sent = taken;
    stream->open = true;
    stream->base = taken;
    stream->limit = limit;
    pump(stream);
    return true;
}

static size_t next_frame(struct stream *stream, unsigned char *frame)
{
    if (stream->incoming || !stream->open || stream->fin_sent || stream->number == 0)
        return 0;
    struct bytes data = { NULL, 0 };
    if (stream->sent < stream->end && stream->sent < stream->limit) {
        data = kept(stream, stream->sent);
        if (data.size > stream->limit - stream->sent)
            data.size = (size_t)(stream->limit - stream->sent);
        if (data.size > MOST_PAYLOAD)
            data.size = MOST_PAYLOAD;
        memcpy(frame + FRAME_HEAD, data.data, data.size);
    }
    bool fin = stream->ended && stream->sent + data.size == stream->end;
    if (data.size == 0 && !fin)
        return 0;
    frame_head(frame, data.size, stream->number, FRAME_DATA, fin ? FLAG_FIN : 0, stream->sent);
    stream->sent += data.size;
    stream->fin_sent = fin;
    return FRAME_HEAD + data.size;
}

size_t streams_next_frame(unsigned char *frame)
{
    /* Every stream has its turn; the round ends where it began. */
    struct stream *first = turn != NULL ? turn : all;
    for (struct stream *stream = first; stream != NULL;) {
        struct stream *after = stream->next != NULL ? stream->next : all;
        size_t size = next_frame(stream, frame);
        if (size > 0) {
            turn = after;
            return size;
        }
        stream = after != first ? after : NULL;
    }
    return 0;
}

/* Incoming */

static void grant(struct stream *stream)
{
    uint64_t limit = stream->base + ROOM;
    /* Half a buffer at a time, so that not every byte is answered with a frame. */
    if (stream->ended || stream->stopped || limit < stream->limit + ROOM / 2)
        return;
    stream->limit = limit;
    session_window(stream->number, stream->end, limit);
}

static void flush(struct stream *stream)
{
    while (stream->watch.fd >= 0 && stream->base < stream->end) {
        struct bytes data = kept(stream, stream->base);
        ssize_t count = write(stream->watch.fd, data.data, data.size);
        if (count >= 0) {
            stream->base += (uint64_t)count;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            stream_close(stream);
            session_stop(stream->number);
            return;
        }
    }
    if (stream->base == stream->end && stream->ended)
        end(stream);
    else
        grant(stream);
}

bool stream_data(struct stream *stream, uint64_t offset, struct bytes data, bool fin)
{
    if (!stream->incoming)
        return session_error("DATA on a channel that the agent sends on");
    if (offset > stream->end)
        return session_error("a gap in a stream");
    uint64_t known = stream->end - offset;
    uint64_t size = data.size > known ? data.size - known : 0;
    if (size > stream->limit - stream->end || (stream->ended && size > 0))
        return session_error("data beyond the window");
    data.data += data.size - size;
    if (stream->stopped) {
        stream->base = stream->end += size;
    } else if (size > 0) {
        struct iovec part[2];
        free_parts(stream, part, size);
        memcpy(part[0].iov_base, data.data, part[0].iov_len);
        memcpy(part[1].iov_base, data.data + part[0].iov_len, part[1].iov_len);
        stream->end += size;
    }
    stream->ended |= fin;
    flush(stream);
    return true;
}

/* Both */

void stream_stop(struct stream *stream)
{
    /* To close a terminal would be to hang it up. */
    if (stream->terminal && !stream->incoming)
        stream_discard(stream);
    else if (!stream->incoming)
        stream_close(stream);
}

void streams_forget_session(void)
{
    for (struct stream *stream = all; stream != NULL; stream = stream->next) {
        stream->open = stream->fin_sent = false;
        if (!stream->incoming) {
            stream->sent = stream->base;
            stream->limit = 0;
        }
    }
    turn = all;
}

void streams_greet(void)
{
    for (struct stream *stream = all; stream != NULL; stream = stream->next)
        if (stream->incoming && !stream->ended && !stream->stopped)
            session_window(stream->number, stream->end, stream->limit = stream->base + ROOM);
}

void put_stream(struct writer *writer, const struct stream *stream, int kind)
{
    if (stream == NULL || stream->number == 0)
        return;
    size_t channel = put_begin(writer, CHANNEL);
    put_number(writer, NUMBER, stream->number);
    put_number(writer, STREAM, (uint64_t)kind);
    put_number(writer, BASE, stream->incoming ? stream->end : stream->base);
    put_number(writer, END, stream->end);
    put_number(writer, ENDED, stream->ended || (stream->incoming && stream->stopped));
    put_end(writer, channel);
}
