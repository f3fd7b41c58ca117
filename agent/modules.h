/* The kernel's modules: those that the initial file system brings, and those that it asks for later. */
#ifndef MODULES_H
#define MODULES_H

/* Load those that `/modules.list` names for a stage, in its order; what is missing is noted. */
void modules_load(const char *stage);
/* From now on the kernel finds what it asks for (request_module) as a whole system would. */
void modules_serve(void);
/* What the kernel starts for that, in the place of modprobe(8). */
_Noreturn void modules_fetch(char **argv);

#endif
