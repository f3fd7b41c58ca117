#include "record.h"

#include <stdlib.h>
#include <string.h>

enum { FIELD_HEAD = 8 };

bool record_next(struct bytes *record, struct field *field)
{
    if (record->size < FIELD_HEAD)
        return false;
    size_t size = get32(record->data + 4);
    if (get16(record->data + 2) != 0 || size > record->size - FIELD_HEAD)
        return false;
    field->tag = get16(record->data);
    field->value = (struct bytes){ record->data + FIELD_HEAD, size };
    record->data += FIELD_HEAD + size;
    record->size -= FIELD_HEAD + size;
    return true;
}

bool record_is_valid(struct bytes record)
{
    struct field field;
    int count = 0;
    while (record.size > 0)
        if (!record_next(&record, &field) || ++count > MOST_FIELDS)
            return false;
    return true;
}

struct bytes record_find(struct bytes record, enum tag tag)
{
    struct field field;
    while (record_next(&record, &field))
        if (field.tag == tag)
            return field.value;
    return (struct bytes){ (const unsigned char *)"", 0 };
}

uint64_t bytes_number(struct bytes value)
{
    uint64_t number = 0;
    for (size_t at = value.size < 8 ? value.size : 8; at > 0; at--)
        number = number << 8 | value.data[at - 1];
    return number;
}

uint64_t record_number(struct bytes record, enum tag tag)
{
    return bytes_number(record_find(record, tag));
}

char *bytes_text(struct bytes value)
{
    if (memchr(value.data, 0, value.size) != NULL)
        return NULL;
    char *text = malloc(value.size + 1);
    if (text != NULL) {
        memcpy(text, value.data, value.size);
        text[value.size] = 0;
    }
    return text;
}

char *record_text(struct bytes record, enum tag tag)
{
    return bytes_text(record_find(record, tag));
}

static unsigned char *put_head(struct writer *writer, enum tag tag, size_t size)
{
    if (writer->full || size > writer->most - writer->size
        || writer->most - writer->size - size < FIELD_HEAD) {
        writer->full = true;
        return NULL;
    }
    unsigned char *at = writer->data + writer->size;
    set16(at, (uint16_t)tag);
    set16(at + 2, 0);
    set32(at + 4, (uint32_t)size);
    writer->size += FIELD_HEAD + size;
    return at + FIELD_HEAD;
}

void put_bytes(struct writer *writer, enum tag tag, const void *data, size_t size)
{
    unsigned char *at = put_head(writer, tag, size);
    if (at != NULL && size > 0)
        memcpy(at, data, size);
}

void put_text(struct writer *writer, enum tag tag, const char *text)
{
    put_bytes(writer, tag, text, strlen(text));
}

void put_number(struct writer *writer, enum tag tag, uint64_t number)
{
    unsigned char value[8];
    size_t size = 0;
    for (; number > 0; number >>= 8)
        value[size++] = (unsigned char)number;
    if (size > 0)
        put_bytes(writer, tag, value, size);
}

void put_fields(struct writer *writer, struct bytes record)
{
    if (writer->full || record.size > writer->most - writer->size) {
        writer->full = true;
        return;
    }
    memcpy(writer->data + writer->size, record.data, record.size);
    writer->size += record.size;
}

size_t put_begin(struct writer *writer, enum tag tag)
{
    put_head(writer, tag, 0);
    return writer->size;
}

void put_end(struct writer *writer, size_t begun)
{
    if (!writer->full)
        set32(writer->data + begun - 4, (uint32_t)(writer->size - begun));
}

uint16_t get16(const unsigned char *data)
{
    return (uint16_t)(data[0] | data[1] << 8);
}

uint32_t get32(const unsigned char *data)
{
    return get16(data) | (uint32_t)get16(data + 2) << 16;
}

uint64_t get64(const unsigned char *data)
{
    return get32(data) | (uint64_t)get32(data + 4) << 32;
}

void set16(unsigned char *data, uint16_t number)
{
    data[0] = (unsigned char)number;
    data[1] = (unsigned char)(number >> 8);
}

void set32(unsigned char *data, uint32_t number)
{
    set16(data, (uint16_t)number);
    set16(data + 2, (uint16_t)(number >> 16));
}

void set64(unsigned char *data, uint64_t number)
{
    set32(data, (uint32_t)number);
    set32(data + 4, (uint32_t)(number >> 32));
}
