/* What has to be gone through backwards at the end of an unpacking: what was new, and the times of
 * directories. It is kept on the disk of the machine's upper, in a file without a name, so that a
 * tar of any size takes little memory. */
#ifndef JOURNAL_H
#define JOURNAL_H

#include <time.h>

#include "common.h"

enum journal_kind { JOURNAL_MADE = 1, JOURNAL_TIME = 2 };

/* Make room for another entry: what cannot be noted must not be begun. -1 with errno. */
int journal_reserve(void);
void journal_add(enum journal_kind kind, const char *path, struct timespec time);
/* Call `work` for all of a kind, the last first. */
void journal_backwards(enum journal_kind kind,
                       void (*work)(char *path, struct timespec time));

#endif
