/* Preloaded into a home's processes by tests.faulty: a disk that fails and a clock that jumps.

   What is to go wrong stands in a file that is mapped into every process, so that it changes
   between two calls; only regular files under FAULTY_UNDER are concerned. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct control {
    volatile int64_t clock;  /* seconds by which this host's clock is off */
    volatile int64_t every;  /* each so-many-th write fails; 1: the disk is full, 0: none does */
    volatile int64_t code;   /* with this errno */
};

static struct control none, *control = &none;
static const char *under = "";
static int64_t counted;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTY_CONTROL");
    if (getenv("FAULTY_UNDER")) under = getenv("FAULTY_UNDER");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *at = mmap(NULL, sizeof(struct control), PROT_READ, MAP_SHARED, file, 0);
    if (at != MAP_FAILED) control = at;
    close(file);
}

static int fails(int file) {
    int64_t every = control->every;
    if (every <= 0) return 0;
    char link[64], path[PATH_MAX];
    struct stat about;
    int digits[12], count = 0, length;
    for (int rest = file; count == 0 || rest > 0; rest /= 10) digits[count++] = rest % 10;
    strcpy(link, "/proc/self/fd/");
    length = strlen(link);
    while (count > 0) link[length++] = '0' + digits[--count];
    link[length] = 0;
    ssize_t found = readlink(link, path, sizeof path - 1);
    if (found <= 0) return 0;
    path[found] = 0;
    if (strncmp(path, under, strlen(under)) != 0) return 0;
    if (fstat(file, &about) != 0 || !S_ISREG(about.st_mode)) return 0;
    if (__atomic_add_fetch(&counted, 1, __ATOMIC_RELAXED) % every != 0) return 0;
    errno = control->code;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *data, size_t size) {
    return fails(file) ? -1 : REAL(write)(file, data, size);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    return fails(file) ? -1 : REAL(pwrite)(file, data, size, at);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    return fails(file) ? -1 : REAL(pwrite64)(file, data, size, at);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    return fails(file) ? -1 : REAL(writev)(file, parts, count);
}

int fsync(int file) { return fails(file) ? -1 : REAL(fsync)(file); }

int fdatasync(int file) { return fails(file) ? -1 : REAL(fdatasync)(file); }

int clock_gettime(clockid_t which, struct timespec *now) {
    int code = REAL(clock_gettime)(which, now);
    if (code == 0 && which == CLOCK_REALTIME) now->tv_sec += control->clock;
    return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int code = REAL(gettimeofday)(now, zone);
    if (code == 0) now->tv_sec += control->clock;
    return code;
}

time_t time(time_t *out) {
    time_t now = REAL(time)(NULL) + control->clock;
    if (out) *out = now;
    return now;
}
