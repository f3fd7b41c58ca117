/* Network cards: names, addresses, routes (rtnetlink(7)). */
#ifndef NETWORK_H
#define NETWORK_H

#include "common.h"
#include "record.h"

/* Bring the loopback and the cards of SETUP's fields NETWORK up. */
int network_setup(struct bytes record, struct failure *failure);
/* Leave them as they were before: down, without addresses, a template's. */
int network_forget(struct bytes record, struct failure *failure);

#endif
