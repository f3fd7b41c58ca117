#include "text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST = 256 };

bool text_add(struct text *text, const void *data, size_t size)
{
    if (size >= text->room - text->size) {
        size_t room = 2 * text->room + size + LEAST;
        char *larger = realloc(text->data, room);
        if (larger == NULL) {
            errno = ENOMEM;
            return false;
        }
        text->data = larger;
        text->room = room;
    }
    if (size > 0)
        memcpy(text->data + text->size, data, size);
    text->size += size;
    text->data[text->size] = 0;
    return true;
}

bool text_format(struct text *text, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    return text_add(text, line, (size_t)size < sizeof line ? (size_t)size : sizeof line - 1);
}

void text_cut(struct text *text, size_t size)
{
    text->size = size;
    if (text->data != NULL)
        text->data[size] = 0;
}

void text_free(struct text *text)
{
    free(text->data);
    *text = (struct text){ 0 };
}
