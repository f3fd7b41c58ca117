/* The session with the daemon: tokens, frames, messages (docs/agent-protocol.md). */
#ifndef SESSION_H
#define SESSION_H

#include "common.h"
#include "record.h"

/* A request, kept until its answer can be given. */
struct request {
    uint32_t id;
    uint16_t operation;
    uint32_t session; /* the number of the session it came in; 0: nobody waits */
};

/* `request` is called with every whole message, `dropped` when a session has taken the place of
 * another, before its WELCOME, which `state` writes. */
struct session_calls {
    void (*request)(struct request request, struct bytes record);
    void (*dropped)(void);
    void (*state)(struct writer *writer);
};

/* `paced`: the line would stop for good were too much waiting in it, so each side is told how much the
 * other has read. */
void session_open(int fd, bool paced, const struct session_calls *calls);
/* Send as much as can be sent. */
void session_flush(void);
/* Whether a session's answers would be read. */
bool session_is_live(void);
/* In a child: forget what only the agent is to know. */
void session_forget(void);

/* The daemon broke the protocol: give the session up. Always false. */
bool session_error(const char *text);
void session_window(uint16_t channel, uint64_t taken, uint64_t limit);
void session_stop(uint16_t channel);
void frame_head(unsigned char *frame, size_t size, uint16_t channel, int type, int flags,
                uint64_t offset);

/* An answer or event: begin, put fields, send. Only one at a time. */
struct writer *answer_begin(struct request request, enum status status);
struct writer *event_begin(enum operation event);
void message_send(void);

void answer_ok(struct request request);
void answer_failure(struct request request, const struct failure *failure);

#endif
