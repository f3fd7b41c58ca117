/* The kernel modules that the initial file system brings. */
#ifndef MODULES_H
#define MODULES_H

/* Load those that `/modules.list` names for a stage, in its order; what is missing is noted. */
void modules_load(const char *stage);

#endif
