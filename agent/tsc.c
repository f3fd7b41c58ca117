/* Tells the frequency of this host's time stamp counter in kHz, measured against the clock; 0 where
 * there is none. A guest under software translation sees the same counter. */
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>

enum { MEASURED = 50 * 1000 * 1000 }; /* nanoseconds */

static int64_t elapsed(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC_RAW, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int main(void)
{
    struct timespec pause = { .tv_nsec = MEASURED };
    int64_t began = elapsed();
    uint64_t first = __rdtsc();
    nanosleep(&pause, NULL);
    int64_t took = elapsed() - began;
    uint64_t ticks = __rdtsc() - first;
    printf("%.0f\n", (double)ticks * 1e6 / (double)took);
    return 0;
}
#else
int main(void)
{
    puts("0");
    return 0;
}
#endif
