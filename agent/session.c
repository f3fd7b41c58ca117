#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loop.h"
#include "stream.h"

enum {
    INPUT = 2 * (FRAME_HEAD + MOST_PAYLOAD),
    MESSAGE_HEAD = 8,
    /* Requests are not read while more than this waits to be sent. */
    QUEUE_HIGH = 1 << 19,
    /* What one round of tasks that are over at once can add to it, and more. */
    QUEUE_MOST = 32 << 20,
};

/* What a received byte is part of. */
static enum {
    SKIPPING, /* nothing, until a token comes */
    GREETING, /* HELLO, after a token */
    OPEN,     /* a session's frames */
} state = SKIPPING;

static struct watch port;
static const struct session_calls *call;
static unsigned char token[TOKEN_SIZE] = "heft-agent-protocol-first-sessio";
static uint32_t session; /* counts them */

/* Received: what is before `input_at` has been dealt with, and no token begins before
 * `input_searched`. */
static unsigned char input[INPUT];
static size_t input_at, input_searched, input_end;
static bool paced;
static uint64_t heard, heard_told; /* bytes since HELLO: read; of which the daemon knows */
static uint64_t sent, sent_most; /* bytes from the nonce on: sent; that may be sent */
static bool held_back; /* there may be more to read, that no edge will tell of */

/* To be sent. */
static unsigned char *queue;
static size_t queue_at, queue_end, queue_size;

/* A message that comes in several frames; one that is being written. */
static unsigned char received[MOST_MESSAGE];
static size_t received_size;
static unsigned char written[MESSAGE_HEAD + MOST_MESSAGE];
static struct writer writer;
static bool unwanted; /* what is being written is for nobody */

bool session_is_live(void)
{
    return state == OPEN;
}

void session_forget(void)
{
    explicit_bzero(token, sizeof token);
}

/* Sending */

static void queue_clear(void)
{
    queue_at = queue_end = 0;
}

static unsigned char *queue_room(size_t size)
{
    if (queue_at == queue_end)
        queue_clear();
    if (queue_end + size > queue_size) {
        memmove(queue, queue + queue_at, queue_end - queue_at);
        queue_end -= queue_at;
        queue_at = 0;
    }
    if (queue_end + size > queue_size) {
        size_t grown = 2 * queue_size + size;
        unsigned char *larger = grown <= QUEUE_MOST ? realloc(queue, grown) : NULL;
        if (larger == NULL) {
            /* This daemon asks without reading. There is no room to tell it so. */
            state = SKIPPING;
            queue_clear();
            return NULL;
        }
        queue = larger;
        queue_size = grown;
    }
    unsigned char *room = queue + queue_end;
    queue_end += size;
    return room;
}

void frame_head(unsigned char *frame, size_t size, uint16_t channel, int type, int flags,
                uint64_t offset)
{
    set32(frame, (uint32_t)size);
    set16(frame + 4, channel);
    frame[6] = (unsigned char)type;
    frame[7] = (unsigned char)flags;
    set64(frame + 8, offset);
}

static void send_frame(int type, int flags, uint16_t channel, uint64_t offset, const void *payload,
                       size_t size)
{
    unsigned char *frame = state == OPEN ? queue_room(FRAME_HEAD + size) : NULL;
    if (frame == NULL)
        return;
    frame_head(frame, size, channel, type, flags, offset);
    memcpy(frame + FRAME_HEAD, payload, size);
}

bool session_error(const char *text)
{
    send_frame(FRAME_ERROR, 0, 0, 0, text, strlen(text));
    state = SKIPPING;
    return false;
}

void session_window(uint16_t channel, uint64_t taken, uint64_t limit)
{
    unsigned char payload[8];
    set64(payload, taken);
    send_frame(FRAME_WINDOW, 0, channel, limit, payload, sizeof payload);
}

void session_stop(uint16_t channel)
{
    send_frame(FRAME_STOP, 0, channel, 0, "", 0);
}

static bool next_data(void)
{
    if (state != OPEN)
        return false;
    unsigned char *frame = queue_room(FRAME_HEAD + MOST_PAYLOAD);
    if (frame == NULL)
        return false;
    size_t size = streams_next_frame(frame);
    queue_end -= FRAME_HEAD + MOST_PAYLOAD - size;
    return size > 0;
}

static void receive(void);

void session_flush(void)
{
    for (;;) {
        /* Messages go first: data is only taken from the streams when nothing else waits. */
        while (queue_at < queue_end || next_data()) {
            size_t size = queue_end - queue_at;
            if (paced && size > sent_most - sent)
                size = sent_most - sent;
            if (size == 0)
                break; /* the daemon tells when it has read more */
            ssize_t count = write(port.fd, queue + queue_at, size);
            if (count > 0) {
                queue_at += (size_t)count;
                sent += (size_t)count;
            } else if (count == 0 || errno != EINTR)
                break; /* EAGAIN, or nobody is there: the next edge tells */
        }
        if (!held_back || queue_end - queue_at > QUEUE_HIGH)
            return;
        receive();
    }
}

/* Messages */

static struct writer *begin(uint16_t operation, uint32_t id)
{
    set16(written, operation);
    set16(written + 2, 0);
    set32(written + 4, id);
    writer = (struct writer){ written + MESSAGE_HEAD, 0, MOST_MESSAGE - MESSAGE_HEAD, false };
    return &writer;
}

struct writer *answer_begin(struct request request, enum status status)
{
    unwanted = request.session != session;
    begin(request.operation | ANSWER, request.id);
    unsigned char value = (unsigned char)status;
    put_bytes(&writer, STATUS, &value, 1);
    return &writer;
}

struct writer *event_begin(enum operation event)
{
    unwanted = false;
    return begin((uint16_t)event, 0);
}

void message_send(void)
{
    size_t size = MESSAGE_HEAD + writer.size;
    for (size_t at = 0; at < size && !unwanted;) {
        size_t part = size - at < MOST_PAYLOAD ? size - at : MOST_PAYLOAD;
        send_frame(FRAME_MESSAGE, at + part < size ? FLAG_MORE : 0, 0, 0, written + at, part);
        at += part;
    }
}

void answer_ok(struct request request)
{
    answer_begin(request, OK);
    message_send();
}

void answer_failure(struct request request, const struct failure *failure)
{
    struct writer *answer = answer_begin(request, failure->status);
    put_text(answer, MESSAGE, failure->text);
    put_number(answer, EXIT_CODE, (uint64_t)failure->exit_code);
    message_send();
}

static bool take_message(struct bytes part, bool more)
{
    if (part.size > MOST_MESSAGE - received_size)
        return session_error("a message of more than 1 MiB");
    memcpy(received + received_size, part.data, part.size);
    received_size += part.size;
    if (more)
        return true;
    struct bytes record = { received + MESSAGE_HEAD, received_size - MESSAGE_HEAD };
    if (received_size < MESSAGE_HEAD || !record_is_valid(record))
        return session_error("a message that is no record");
    struct request request = {
        .id = get32(received + 4), .operation = get16(received), .session = session
    };
    received_size = 0;
    call->request(request, record);
    return true;
}

/* Frames */

static bool greet(struct bytes hello)
{
    struct bytes nonce = record_find(hello, NONCE), next = record_find(hello, TOKEN);
    if (!record_is_valid(hello) || nonce.size != NONCE_SIZE || next.size != TOKEN_SIZE)
        return false;
    memcpy(token, next.data, TOKEN_SIZE);
    /* The only copy, for children to forget. */
    explicit_bzero(input + (next.data - input), TOKEN_SIZE);
    input_searched = input_at;
    session++;
    received_size = 0;
    queue_clear();
    call->dropped();
    streams_forget_session();
    state = OPEN;
    memcpy(queue_room(NONCE_SIZE), nonce.data, NONCE_SIZE);
    static unsigned char welcome[MOST_PAYLOAD];
    struct writer told = { welcome, 0, sizeof welcome, false };
    call->state(&told);
    heard = input_end - input_at;
    heard_told = sent = 0;
    sent_most = LINE_ROOM;
    send_frame(FRAME_WELCOME, 0, 0, 0, welcome, told.size);
    streams_greet();
    return true;
}

static bool take_frame(const unsigned char *head, struct bytes payload)
{
    int type = head[6], flags = head[7];
    uint64_t offset = get64(head + 8);
    struct stream *stream = stream_find(get16(head + 4));
    switch (type) {
    case FRAME_DATA:
        return stream == NULL || stream_data(stream, offset, payload, flags & FLAG_FIN);
    case FRAME_WINDOW:
        if (payload.size != 8)
            return session_error("a WINDOW of another size");
        return stream == NULL || stream_window(stream, get64(payload.data), offset);
    case FRAME_STOP:
        if (stream != NULL)
            stream_stop(stream);
        return true;
    case FRAME_MESSAGE:
        return take_message(payload, flags & FLAG_MORE);
    case FRAME_HEARD:
        if (offset > sent)
            return session_error("more was read than was sent");
        if (offset + LINE_ROOM > sent_most)
            sent_most = offset + LINE_ROOM;
        return true;
    case FRAME_ERROR:
        state = SKIPPING;
        return false;
    default:
        return session_error("a frame of an unknown type");
    }
}

/* Take the next frame, if it is whole before `until`. */
static bool next_frame(size_t until)
{
    if (state == SKIPPING || until < input_at + FRAME_HEAD)
        return false;
    const unsigned char *head = input + input_at;
    size_t size = get32(head);
    if (size > MOST_PAYLOAD) {
        if (state == OPEN)
            session_error("a frame of more than 65,536 bytes");
        state = SKIPPING;
        return false;
    }
    if (until - input_at - FRAME_HEAD < size)
        return false;
    struct bytes payload = { head + FRAME_HEAD, size };
    input_at += FRAME_HEAD + size;
    if (state == OPEN)
        return take_frame(head, payload);
    if (head[6] == FRAME_HELLO && greet(payload))
        return true;
    state = SKIPPING;
    return false;
}

static void take_input(void)
{
    for (;;) {
        /* The token counts wherever it is; what is before it may still be whole frames. */
        unsigned char *found = memmem(input + input_searched, input_end - input_searched, token,
                                      TOKEN_SIZE);
        uint32_t before = session;
        size_t until = found != NULL ? (size_t)(found - input) : input_end;
        while (session == before && next_frame(until))
            ;
        if (session != before)
            continue; /* another token counts from here on */
        if (found == NULL)
            break;
        input_at = input_searched = until + TOKEN_SIZE;
        received_size = 0;
        state = GREETING;
    }
    if (input_end - input_searched >= TOKEN_SIZE)
        input_searched = input_end - TOKEN_SIZE + 1;
    if (state == SKIPPING)
        input_at = input_end;
    size_t done = input_at < input_searched ? input_at : input_searched;
    memmove(input, input + done, input_end - done);
    input_at -= done;
    input_searched -= done;
    input_end -= done;
}

/* Tell the daemon how much of what it sends has left the line. */
static void tell_heard(void)
{
    if (!paced || state != OPEN || heard - heard_told < HEARD_STEP)
        return;
    heard_told = heard;
    send_frame(FRAME_HEARD, 0, 0, heard, "", 0);
}

static void receive(void)
{
    for (;;) {
        /* Not of a line: what it is to read may be that it may send. */
        held_back = !paced && queue_end - queue_at > QUEUE_HIGH;
        if (held_back)
            return;
        ssize_t count = read(port.fd, input + input_end, sizeof input - input_end);
        if (count > 0) {
            input_end += (size_t)count;
            heard += (size_t)count;
            take_input();
            tell_heard();
        } else if (count == 0 || errno != EINTR) {
            return; /* EAGAIN, or nobody is there: the next edge tells */
        }
    }
}

static void ready(struct watch *watch, uint32_t events)
{
    (void)watch;
    (void)events; /* sending goes on in any case, when this batch of events is done */
    receive();
}

void session_open(int fd, bool is_paced, const struct session_calls *calls)
{
    call = calls;
    paced = is_paced;
    queue_size = 2 * (FRAME_HEAD + MOST_PAYLOAD);
    queue = allocate(queue_size);
    port.ready = ready;
    loop_add(&port, fd, EPOLLIN | EPOLLOUT);
}
