/* Records: sequences of tagged fields, read in place and written into bounded buffers. */
#ifndef RECORD_H
#define RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

/* Bytes that belong to somebody else. */
struct bytes {
    const unsigned char *data;
    size_t size;
};

struct field {
    uint16_t tag;
    struct bytes value;
};

/* Whether these bytes are a record: whole fields, and not too many. Values are not looked into. */
bool record_is_valid(struct bytes record);

/* Take the first field off a record; false at its end, or where it goes wrong. */
bool record_next(struct bytes *record, struct field *field);

/* The first field with a tag; an empty value where there is none. */
struct bytes record_find(struct bytes record, enum tag tag);
uint64_t record_number(struct bytes record, enum tag tag);
uint64_t bytes_number(struct bytes value);

/* A copy that ends with a zero byte; NULL where a zero is among the bytes. */
char *bytes_text(struct bytes value);
char *record_text(struct bytes record, enum tag tag);

/* A record being written. What does not fit any more is dropped, and `full` says so. */
struct writer {
    unsigned char *data;
    size_t size, most;
    bool full;
};

void put_bytes(struct writer *writer, enum tag tag, const void *data, size_t size);
void put_text(struct writer *writer, enum tag tag, const char *text);
/* Nothing is written for 0, which is what a missing number means. */
void put_number(struct writer *writer, enum tag tag, uint64_t number);
/* All fields of another record. */
void put_fields(struct writer *writer, struct bytes record);
/* A record inside: what is written between the two calls. */
size_t put_begin(struct writer *writer, enum tag tag);
void put_end(struct writer *writer, size_t begun);

uint16_t get16(const unsigned char *data);
uint32_t get32(const unsigned char *data);
uint64_t get64(const unsigned char *data);
void set16(unsigned char *data, uint16_t number);
void set32(unsigned char *data, uint32_t number);
void set64(unsigned char *data, uint64_t number);

#endif
