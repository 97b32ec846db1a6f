/* Counts the calls that change files below a folder, and lets one of them fail or kill.

   LD_PRELOAD it, then fault_arm(at, mode, folder): call number `at` (from 1) is where it happens.
   fault_count() is how many such calls there were since. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { COUNT, KILL, TORN, FULL, EIO_ONCE, EIO_ALWAYS };
enum { GROWS = 1, WRITES = 2 }; /* what a call needs: room on the disk; it has bytes to write */

static long calls, at;
static int mode = -1;
static char folder[4096];

void fault_arm(long where, int how, const char *below) {
    calls = 0;
    at = where;
    mode = how;
    strncpy(folder, below, sizeof folder - 1);
}

long fault_count(void) { return calls; }

static int is_below(const char *path) { return path && !strncmp(path, folder, strlen(folder)); }

static int is_ours(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path);
}

/* 0: go on; -1: fail with errno; 1: write the first half and die. */
static int decide(int ours, int kind) {
    if (mode < 0 || !ours) return 0;
    calls++;
    if (mode == COUNT || calls < at) return 0;
    if (calls == at && mode == KILL) kill(getpid(), SIGKILL);
    if (calls == at && mode == TORN) {
        if (kind & WRITES) return 1;
        kill(getpid(), SIGKILL);
    }
    if (mode == FULL && (kind & GROWS)) { errno = ENOSPC; return -1; }
    if (mode == EIO_ALWAYS || (mode == EIO_ONCE && calls == at)) { errno = EIO; return -1; }
    return 0;
}

#define REAL(name, result, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

#define PWRITE(name, offset_type) \
    ssize_t name(int file, const void *bytes, size_t size, offset_type offset) { \
        REAL(name, ssize_t, int, const void *, size_t, offset_type); \
        int verdict = decide(is_ours(file), GROWS | WRITES); \
        if (verdict < 0) return -1; \
        if (verdict) { real(file, bytes, size / 2, offset); kill(getpid(), SIGKILL); } \
        return real(file, bytes, size, offset); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t write(int file, const void *bytes, size_t size) {
    REAL(write, ssize_t, int, const void *, size_t);
    int verdict = decide(is_ours(file), GROWS | WRITES);
    if (verdict < 0) return -1;
    if (verdict) { real(file, bytes, size / 2); kill(getpid(), SIGKILL); }
    return real(file, bytes, size);
}

#define ON_FILE(name, kind, parameters, arguments) \
    int name parameters { \
        REAL(name, int, PARAMETERS_##name); \
        return decide(is_ours(file), kind) < 0 ? -1 : real arguments; \
    }
#define PARAMETERS_fsync int
#define PARAMETERS_fdatasync int
#define PARAMETERS_ftruncate int, off_t
#define PARAMETERS_ftruncate64 int, off64_t
ON_FILE(fsync, 0, (int file), (file))
ON_FILE(fdatasync, 0, (int file), (file))
ON_FILE(ftruncate, GROWS, (int file, off_t size), (file, size))
ON_FILE(ftruncate64, GROWS, (int file, off64_t size), (file, size))

int unlink(const char *path) {
    REAL(unlink, int, const char *);
    return decide(is_below(path), 0) < 0 ? -1 : real(path);
}

int rename(const char *from, const char *to) {
    REAL(rename, int, const char *, const char *);
    return decide(is_below(to), 0) < 0 ? -1 : real(from, to);
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name, int, const char *, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t bits = flags & O_CREAT ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        int creates = (flags & O_CREAT) && is_below(path) && access(path, F_OK); \
        return decide(creates, GROWS) < 0 ? -1 : real(path, flags, bits); \
    }
OPEN(open)
OPEN(open64)
