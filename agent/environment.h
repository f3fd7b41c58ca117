/* The environment that a process gets. */
#ifndef ENVIRONMENT_H
#define ENVIRONMENT_H

#include "record.h"

/* The values of all fields with a tag, as texts; NULL after the last. */
char **texts(struct bytes record, enum tag tag);
/* The value of a variable; NULL where there is none. */
const char *variable(char **environment, const char *name);
/* What START asks for over what every process has; rules are those of heft.weights.light.spec. */
char **make_environment(struct bytes record, const char *home);

#endif
