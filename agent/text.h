/* Bytes that grow: names, records, lists. */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* `data` ends with a zero byte that `size` does not count; NULL while nothing was added. */
struct text {
    char *data;
    size_t size, room;
};

/* False, with ENOMEM, where there is no memory for it: it is as it was. */
bool text_add(struct text *text, const void *data, size_t size);
bool text_format(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_cut(struct text *text, size_t size);
void text_free(struct text *text);

#endif
