/* Threads and processes that each keep a number of their own in the wide registers, all at once, for
 * some seconds: 0 if none ever saw another's. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 3, PROCESSES = 2, SECONDS = 3, ROUNDS = 3000000 };

#define SPIN "mov %2, %%rcx\n1: dec %%rcx\njnz 1b\n"

__attribute__((target("avx"))) static int keeps_256(long long number)
{
    long long given[4] = { number, ~number, number + 1, number - 1 }, seen[4];
    __asm__ volatile("vmovdqu %1, %%ymm9\n" SPIN "vmovdqu %%ymm9, %0"
                     : "=m"(seen)
                     : "m"(given), "i"(ROUNDS)
                     : "rcx", "xmm9");
    return memcmp(given, seen, sizeof given) == 0;
}

__attribute__((target("avx512f"))) static int keeps_512(long long number)
{
    long long given[8] = { number, ~number, number + 1, number - 1, 1, 2, 3, number }, seen[8];
    __asm__ volatile("vmovdqu64 %1, %%zmm19\n" SPIN "vmovdqu64 %%zmm19, %0"
                     : "=m"(seen)
                     : "m"(given), "i"(ROUNDS)
                     : "rcx", "xmm19");
    return memcmp(given, seen, sizeof given) == 0;
}

static void *keep(void *given)
{
    long long number = (long long)getpid() << 32 | (long)given;
    int widest = __builtin_cpu_supports("avx512f");
    for (time_t end = time(NULL) + SECONDS; time(NULL) < end;)
        if (!keeps_256(number) || (widest && !keeps_512(number)))
            exit(1);
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    int failed = 0, status;
    for (int each = 1; each < PROCESSES && fork() > 0; each++)
        ;
    for (long each = 0; each < THREADS; each++)
        if (pthread_create(&threads[each], NULL, keep, (void *)each) != 0)
            return 2;
    for (int each = 0; each < THREADS; each++)
        pthread_join(threads[each], NULL);
    while (wait(&status) > 0)
        failed |= status;
    puts(failed ? "lost" : "kept");
    return failed != 0;
}
