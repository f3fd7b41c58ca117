/* Streams: one direction of bytes between a channel and a pipe or terminal, with a bounded buffer. */
#ifndef STREAM_H
#define STREAM_H

#include "loop.h"
#include "record.h"

struct stream {
    struct watch watch; /* the agent's end; -1: closed */
    uint16_t number;    /* of the channel; 0: what comes is dropped */
    bool incoming;      /* from the daemon */
    bool terminal;
    bool hung;    /* nobody writes to the pipe any more */
    bool ended;   /* no byte comes after `end` */
    bool stopped; /* the receiver wants no more: what comes is dropped */
    bool draining;
    bool open;     /* the other side has said in this session where it goes on */
    bool fin_sent; /* in this session */
    bool told;     /* `at_end` has been called */
    unsigned char *room;
    uint64_t origin;    /* what is at the beginning of `room` */
    uint64_t base, end; /* the bytes that are kept */
    uint64_t sent;      /* outgoing: what follows was not sent in this session */
    uint64_t limit;     /* what follows may not be sent yet */
    uint64_t left;      /* draining: so much is still to be read */
    /* Called once: all has been read (outgoing), or the reader is gone (incoming). */
    void (*at_end)(struct stream *stream);
    void *owner;
    struct stream *next;
};

/* Make a stream and watch its descriptor, which must be one that does not block. */
struct stream *stream_new(uint16_t number, int fd, bool incoming, bool terminal);
void stream_free(struct stream *stream);
struct stream *stream_find(uint16_t number);

/* The process that writes has ended: take what is there by now, and no more. */
void stream_drain(struct stream *stream);
/* Read on and keep nothing. */
void stream_discard(struct stream *stream);
/* The same, and its channel is free again; standard input ends. */
void stream_disown(struct stream *stream);
/* Nobody wants any more: close the descriptor, drop what is kept. */
void stream_close(struct stream *stream);

/* A session begins, or ends. */
void streams_forget_session(void);
void streams_greet(void);
/* Frames of the daemon; false with `error` set if the protocol does not allow them. */
bool stream_data(struct stream *stream, uint64_t offset, struct bytes data, bool fin);
bool stream_window(struct stream *stream, uint64_t taken, uint64_t limit);
void stream_stop(struct stream *stream);
/* Build the next frame that some stream has to send into a buffer; its size, or 0. */
size_t streams_next_frame(unsigned char *frame);
void put_stream(struct writer *writer, const struct stream *stream, int kind);

#endif
