/* A directory and all below it, removed by descriptors: links are not followed. */
#ifndef REMOVE_H
#define REMOVE_H

/* -1 with errno. */
int remove_tree(int directory, const char *name);

#endif
