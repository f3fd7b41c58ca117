/* What everything here needs: failures, and small things of the kernel. */
#ifndef COMMON_H
#define COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol.h"

/* Why something could not be done, for an answer. */
struct failure {
    enum status status;
    int error; /* errno's, where that is the reason; else 0 */
    int exit_code;
    char text[512];
};

/* Both give -1, for `return fail(…)`. */
int fail(struct failure *failure, enum status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The status and words of errno, after "what: ". */
int fail_errno(struct failure *failure, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* errno's words as Docker has them: with a small letter first. */
const char *reason(int number);

/* A line in the kernel's log, which goes to the console. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The end: nothing can be done about it, and PID 1 may not return. */
_Noreturn void panic(const char *what);

void *allocate(size_t size);

/* Close all descriptors above standard error but these. */
void keep_only(const int *kept, int count);
bool write_all(int fd, const void *data, size_t size);
/* Write a small file of the kernel's; false with errno where it refuses. */
bool write_file(const char *path, const char *text);
/* Read one into a buffer, as text that ends with a zero byte; its length, or -1. */
ssize_t read_file(const char *path, char *buffer, size_t size);
ssize_t read_file_at(int directory, const char *path, char *buffer, size_t size);

/* openat2(2) within a root: neither links nor `..` lead out, magic links are refused. */
int open_in(int root, const char *path, int flags);
/* mkdir -p within a root; gives an O_PATH descriptor of the directory. */
int make_directories(int root, const char *path);

#endif
