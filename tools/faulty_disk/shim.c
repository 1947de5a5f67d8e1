/* A disk and a clock that can be made faulty, for a process that knows nothing of it (LD_PRELOAD).
 *
 * Steered by the control file that FAULTY_DISK_CONTROL names. For files below its folder: fsync and fdatasync take
 * longer, writes that would make a file longer fail with ENOSPC, bad sectors of one file can't be read (EIO), and
 * everything that goes to the disk is written to a log. For the whole process: CLOCK_REALTIME is shifted. Without a control file nothing is changed.
 *
 * Not seen: descriptors made by dup, writes through mmap, io_uring, and calls from inside libc (stdio).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "control_layout.h"

#define EXPORT __attribute__((visibility("default")))
#define DESCRIPTORS 65536
#define SLICE_MS 5
#define REALTIME_FROM_S 1000000000 /* a monotonic clock never stands there */

/* The next one in the row of libraries, looked up at the first call. */
#define NEXT(name) ((__typeof__(&name))next_of(#name, &cached_##name))
#define CACHE(name) static _Atomic(void *) cached_##name

static struct control *control;
static size_t folder_length;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER; /* what is done and what is recorded: in one order */
static _Atomic int log_descriptor = -1;
static _Atomic uint64_t sync_numbers;

static struct {
    _Atomic uint64_t inode; /* 0: none of ours */
    _Atomic uint64_t device;
} ours[DESCRIPTORS];

static void *next_of(const char *name, _Atomic(void *) *cached)
{
    void *found = atomic_load_explicit(cached, memory_order_relaxed);
    if (found == NULL) {
        found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2"); /* x86-64 has an older pthread_cond_timedwait, too */
        if (found == NULL)
            found = dlsym(RTLD_NEXT, name);
        atomic_store_explicit(cached, found, memory_order_relaxed);
    }
    return found;
}

CACHE(open); CACHE(open64); CACHE(openat); CACHE(openat64); CACHE(creat); CACHE(creat64); CACHE(close);
CACHE(write); CACHE(writev); CACHE(pwrite); CACHE(pwrite64); CACHE(pwritev); CACHE(pwritev64);
CACHE(read); CACHE(readv); CACHE(pread); CACHE(pread64); CACHE(preadv); CACHE(preadv64);
CACHE(ftruncate); CACHE(ftruncate64); CACHE(truncate); CACHE(truncate64);
CACHE(posix_fallocate); CACHE(posix_fallocate64); CACHE(fallocate); CACHE(fallocate64);
CACHE(fsync); CACHE(fdatasync); CACHE(rename); CACHE(renameat); CACHE(unlink); CACHE(unlinkat);
CACHE(clock_gettime); CACHE(gettimeofday); CACHE(timespec_get);
CACHE(sem_timedwait); CACHE(sem_clockwait); CACHE(pthread_cond_timedwait); CACHE(pthread_cond_clockwait);
CACHE(pthread_mutex_timedlock);

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULTY_DISK_CONTROL");
    if (path == NULL || *path == '\0')
        return;
    int descriptor = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (descriptor < 0) {
        fprintf(stderr, "faulty disk: %s: %s\n", path, strerror(errno));
        _exit(127); /* a fault that does not happen would make a proof of nothing */
    }
    void *page = mmap(NULL, CONTROL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    syscall(SYS_close, descriptor);
    if (page == MAP_FAILED || memcmp(page, CONTROL_MAGIC, 8) != 0 || ((struct control *)page)->version != CONTROL_VERSION) {
        fprintf(stderr, "faulty disk: %s is not a control file of layout %u\n", path, CONTROL_VERSION);
        _exit(127);
    }
    folder_length = strlen(((struct control *)page)->folder);
    control = page;
}

static void count(uint64_t *counter) { __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED); }
static uint32_t now_set(const uint32_t *setting) { return __atomic_load_n(setting, __ATOMIC_ACQUIRE); }
static int recording(void) { return control != NULL && now_set(&control->recording) != 0; }

/* --- whose file is it? ----------------------------------------------------------------------------------------- */

/* The part of an absolute path below the folder; NULL: it is elsewhere. The folder itself is "". */
static const char *below(const char *path)
{
    if (strncmp(path, control->folder, folder_length) != 0)
        return NULL;
    if (path[folder_length] == '/')
        return path + folder_length + 1;
    return path[folder_length] == '\0' ? path + folder_length : NULL;
}

static void note_open(int descriptor)
{
    char link[64], path[PATH_BYTES * 2];
    struct stat status;
    if (control == NULL || descriptor < 0 || descriptor >= DESCRIPTORS)
        return;
    atomic_store(&ours[descriptor].inode, 0);
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return;
    path[length] = '\0';
    if (below(path) == NULL || fstat(descriptor, &status) != 0 || !(S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)))
        return;
    atomic_store(&ours[descriptor].device, (uint64_t)status.st_dev);
    atomic_store(&ours[descriptor].inode, (uint64_t)status.st_ino);
}

/* Is it a file (or folder) of ours? Looks twice, as libc may have closed it behind our back. */
static int is_ours(int descriptor, struct stat *status)
{
    int saved = errno, yes;
    if (control == NULL || descriptor < 0 || descriptor >= DESCRIPTORS || atomic_load(&ours[descriptor].inode) == 0)
        return 0;
    yes = fstat(descriptor, status) == 0 && (uint64_t)status->st_ino == atomic_load(&ours[descriptor].inode)
          && (uint64_t)status->st_dev == atomic_load(&ours[descriptor].device);
    errno = saved;
    return yes;
}

/* The name below the folder of a path that need not exist; 0: it is elsewhere. */
static int name_of(int folder, const char *path, char *name)
{
    char given[PATH_BYTES * 2], parent[PATH_MAX], whole[PATH_MAX + NAME_MAX + 2];
    if (path[0] == '/' || folder == AT_FDCWD) {
        if (strlen(path) >= sizeof given)
            return 0;
        strcpy(given, path);
    } else if ((size_t)snprintf(given, sizeof given, "/proc/self/fd/%d/%s", folder, path) >= sizeof given) {
        return 0;
    }
    char *slash = strrchr(given, '/');
    const char *last = slash == NULL ? given : slash + 1;
    if (slash != NULL)
        *slash = '\0';
    if (realpath(slash == NULL ? "." : *given == '\0' ? "/" : given, parent) == NULL || strlen(last) > NAME_MAX)
        return 0;
    snprintf(whole, sizeof whole, "%s/%s", parent[1] == '\0' ? "" : parent, last);
    const char *found = below(whole);
    if (found == NULL || strlen(found) >= PATH_BYTES)
        return 0;
    strcpy(name, found);
    return 1;
}

/* --- the log --------------------------------------------------------------------------------------------------- */

static int log_now(void)
{
    int descriptor = atomic_load(&log_descriptor);
    if (descriptor < 0) {
        descriptor = (int)syscall(SYS_openat, AT_FDCWD, control->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        atomic_store(&log_descriptor, descriptor);
    }
    return descriptor;
}

static void put(enum operation operation, uint64_t inode, int64_t offset, const char *name, const struct iovec *data, int parts)
{
    struct timespec now;
    struct record head = {.operation = (uint16_t)operation, .inode = inode, .offset = offset};
    struct iovec all[18];
    int saved = errno;
    size_t bytes = sizeof head + strlen(name);
    all[0] = (struct iovec){&head, sizeof head};
    all[1] = (struct iovec){(void *)name, strlen(name)};
    for (int i = 0; i < parts && i < 16; i++) {
        all[2 + i] = data[i];
        bytes += data[i].iov_len;
    }
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    head.bytes = (uint32_t)bytes;
    head.name_bytes = (uint16_t)strlen(name);
    head.time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    if (parts > 16 || syscall(SYS_writev, log_now(), all, 2 + parts) != (long)bytes)
        count(&control->unrecorded);
    errno = saved;
}

static void put_written(const struct stat *status, int64_t offset, const struct iovec *data, int parts, ssize_t written)
{
    struct iovec cut[16];
    size_t left = (size_t)written;
    int n = 0;
    for (int i = 0; i < parts && i < 16 && left > 0; i++, n++) {
        cut[i] = data[i];
        if (cut[i].iov_len > left)
            cut[i].iov_len = left;
        left -= cut[i].iov_len;
    }
    if (left > 0)
        count(&control->unrecorded);
    else
        put(WRITE, (uint64_t)status->st_ino, offset, "", cut, n);
}

/* --- opening and closing --------------------------------------------------------------------------------------- */

struct opening {
    int watched, existed;
    char name[PATH_BYTES];
};

static void before_open(struct opening *o, int folder, const char *path, int flags)
{
    struct stat status;
    int saved = errno;
    o->watched = recording() && (flags & (O_CREAT | O_TRUNC)) != 0 && name_of(folder, path, o->name);
    if (o->watched) {
        pthread_mutex_lock(&order);
        o->existed = fstatat(folder, path, &status, 0) == 0;
    }
    errno = saved;
}

static int after_open(struct opening *o, int flags, int descriptor)
{
    struct stat status;
    int saved = errno;
    note_open(descriptor);
    if (o->watched) {
        if (descriptor >= 0 && is_ours(descriptor, &status)) {
            if (!o->existed)
                put(CREATE, (uint64_t)status.st_ino, 0, o->name, NULL, 0);
            else if (flags & O_TRUNC)
                put(TRUNCATE, (uint64_t)status.st_ino, 0, "", NULL, 0);
        }
        pthread_mutex_unlock(&order);
    }
    errno = saved;
    return descriptor;
}

static int needs_mode(int flags) { return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE; }

#define OPEN(name)                                                  \
    EXPORT int name(const char *path, int flags, ...)               \
    {                                                               \
        struct opening o;                                           \
        va_list rest;                                               \
        va_start(rest, flags);                                      \
        mode_t mode = needs_mode(flags) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                               \
        before_open(&o, AT_FDCWD, path, flags);                     \
        return after_open(&o, flags, NEXT(name)(path, flags, mode)); \
    }
#define OPENAT(name)                                                        \
    EXPORT int name(int folder, const char *path, int flags, ...)           \
    {                                                                       \
        struct opening o;                                                   \
        va_list rest;                                                       \
        va_start(rest, flags);                                              \
        mode_t mode = needs_mode(flags) ? va_arg(rest, mode_t) : 0;         \
        va_end(rest);                                                       \
        before_open(&o, folder, path, flags);                               \
        return after_open(&o, flags, NEXT(name)(folder, path, flags, mode)); \
    }
#define CREAT(name)                                             \
    EXPORT int name(const char *path, mode_t mode)              \
    {                                                           \
        struct opening o;                                       \
        int flags = O_CREAT | O_WRONLY | O_TRUNC;               \
        before_open(&o, AT_FDCWD, path, flags);                 \
        return after_open(&o, flags, NEXT(name)(path, mode));   \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
CREAT(creat)
CREAT(creat64)

EXPORT int close(int descriptor)
{
    if (descriptor >= 0 && descriptor < DESCRIPTORS)
        atomic_store(&ours[descriptor].inode, 0);
    return NEXT(close)(descriptor);
}

/* --- writing --------------------------------------------------------------------------------------------------- */

/* A full disk takes what is written over what is there, and nothing that makes a file longer. */
static int no_space(const struct stat *status, int64_t end)
{
    if (!now_set(&control->full) || end <= (int64_t)status->st_size)
        return 0;
    count(&control->refused);
    errno = ENOSPC;
    return 1;
}

static int64_t total_of(const struct iovec *data, int parts)
{
    int64_t sum = 0;
    for (int i = 0; i < parts; i++)
        sum += (int64_t)data[i].iov_len;
    return sum;
}

/* offset -1: at the descriptor's own place */
#define WRITING(descriptor, offset_given, data, parts, call)                                        \
    struct stat status;                                                                             \
    if (!is_ours(descriptor, &status))                                                              \
        return call;                                                                                \
    int64_t offset = offset_given;                                                                  \
    if (offset < 0)                                                                                 \
        offset = fcntl(descriptor, F_GETFL) & O_APPEND ? (int64_t)status.st_size : (int64_t)lseek(descriptor, 0, SEEK_CUR); \
    if (no_space(&status, offset + total_of(data, parts)))                                          \
        return -1;                                                                                  \
    if (!recording())                                                                               \
        return call;                                                                                \
    pthread_mutex_lock(&order);                                                                     \
    ssize_t written = call;                                                                         \
    if (written > 0)                                                                                \
        put_written(&status, offset, data, parts, written);                                         \
    pthread_mutex_unlock(&order);                                                                   \
    return written

EXPORT ssize_t write(int descriptor, const void *bytes, size_t length)
{
    struct iovec one = {(void *)bytes, length};
    WRITING(descriptor, -1, &one, 1, NEXT(write)(descriptor, bytes, length));
}

EXPORT ssize_t writev(int descriptor, const struct iovec *data, int parts)
{
    WRITING(descriptor, -1, data, parts, NEXT(writev)(descriptor, data, parts));
}

EXPORT ssize_t pwrite(int descriptor, const void *bytes, size_t length, off_t at)
{
    struct iovec one = {(void *)bytes, length};
    WRITING(descriptor, at, &one, 1, NEXT(pwrite)(descriptor, bytes, length, at));
}

EXPORT ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off64_t at)
{
    struct iovec one = {(void *)bytes, length};
    WRITING(descriptor, at, &one, 1, NEXT(pwrite64)(descriptor, bytes, length, at));
}

EXPORT ssize_t pwritev(int descriptor, const struct iovec *data, int parts, off_t at)
{
    WRITING(descriptor, at, data, parts, NEXT(pwritev)(descriptor, data, parts, at));
}

EXPORT ssize_t pwritev64(int descriptor, const struct iovec *data, int parts, off64_t at)
{
    WRITING(descriptor, at, data, parts, NEXT(pwritev64)(descriptor, data, parts, at));
}

/* status holds the inode; result 0: it was done, to this size */
#define RECORDED(inode, size, call)                             \
    pthread_mutex_lock(&order);                                 \
    int result = call;                                          \
    if (result == 0)                                            \
        put(TRUNCATE, (uint64_t)(inode), size, "", NULL, 0);    \
    pthread_mutex_unlock(&order);                               \
    return result

#define FTRUNCATE(name, type)                                               \
    EXPORT int name(int descriptor, type size)                              \
    {                                                                       \
        struct stat status;                                                 \
        if (!is_ours(descriptor, &status) || !recording())                  \
            return NEXT(name)(descriptor, size);                            \
        RECORDED(status.st_ino, size, NEXT(name)(descriptor, size));        \
    }
#define PATH_TRUNCATE(name, type)                                                           \
    EXPORT int name(const char *path, type size)                                            \
    {                                                                                       \
        struct stat status;                                                                 \
        char found[PATH_BYTES];                                                             \
        if (!recording() || !name_of(AT_FDCWD, path, found) || stat(path, &status) != 0)    \
            return NEXT(name)(path, size);                                                  \
        RECORDED(status.st_ino, size, NEXT(name)(path, size));                              \
    }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)
PATH_TRUNCATE(truncate, off_t)
PATH_TRUNCATE(truncate64, off64_t)

#define POSIX_FALLOCATE(name, type)                                                     \
    EXPORT int name(int descriptor, type offset, type length)                           \
    {                                                                                   \
        struct stat status;                                                             \
        if (!is_ours(descriptor, &status))                                              \
            return NEXT(name)(descriptor, offset, length);                              \
        if (no_space(&status, offset + length))                                         \
            return ENOSPC;                                                              \
        if (!recording() || offset + length <= status.st_size)                          \
            return NEXT(name)(descriptor, offset, length);                              \
        RECORDED(status.st_ino, offset + length, NEXT(name)(descriptor, offset, length)); \
    }
POSIX_FALLOCATE(posix_fallocate, off_t)
POSIX_FALLOCATE(posix_fallocate64, off64_t)

#define FALLOCATE(name, type)                                                                       \
    EXPORT int name(int descriptor, int mode, type offset, type length)                             \
    {                                                                                               \
        struct stat status;                                                                         \
        if (!is_ours(descriptor, &status))                                                          \
            return NEXT(name)(descriptor, mode, offset, length);                                    \
        if (no_space(&status, offset + length))                                                     \
            return -1;                                                                              \
        if (!recording() || mode != 0 || offset + length <= status.st_size)                         \
            return NEXT(name)(descriptor, mode, offset, length);                                    \
        RECORDED(status.st_ino, offset + length, NEXT(name)(descriptor, mode, offset, length));     \
    }
FALLOCATE(fallocate, off_t)
FALLOCATE(fallocate64, off64_t)

/* --- reading --------------------------------------------------------------------------------------------------- */

/* Does it touch a bad sector? offset -1: at the descriptor's own place */
static int unreadable(int descriptor, int64_t offset, int64_t length)
{
    struct stat status;
    uint64_t inode = control == NULL ? 0 : __atomic_load_n(&control->bad_inode, __ATOMIC_ACQUIRE);
    if (inode == 0 || !is_ours(descriptor, &status) || (uint64_t)status.st_ino != inode)
        return 0;
    if (offset < 0)
        offset = (int64_t)lseek(descriptor, 0, SEEK_CUR);
    if (offset + length <= control->bad_from || offset >= control->bad_to || offset >= (int64_t)status.st_size)
        return 0;
    count(&control->unread);
    errno = EIO;
    return 1;
}

EXPORT ssize_t read(int descriptor, void *bytes, size_t length)
{
    return unreadable(descriptor, -1, (int64_t)length) ? -1 : NEXT(read)(descriptor, bytes, length);
}

EXPORT ssize_t readv(int descriptor, const struct iovec *data, int parts)
{
    return unreadable(descriptor, -1, total_of(data, parts)) ? -1 : NEXT(readv)(descriptor, data, parts);
}

#define PREAD(name, type)                                                                                           \
    EXPORT ssize_t name(int descriptor, void *bytes, size_t length, type at)                                        \
    {                                                                                                               \
        return unreadable(descriptor, at, (int64_t)length) ? -1 : NEXT(name)(descriptor, bytes, length, at);        \
    }
#define PREADV(name, type)                                                                                          \
    EXPORT ssize_t name(int descriptor, const struct iovec *data, int parts, type at)                               \
    {                                                                                                               \
        return unreadable(descriptor, at, total_of(data, parts)) ? -1 : NEXT(name)(descriptor, data, parts, at);    \
    }
PREAD(pread, off_t)
PREAD(pread64, off64_t)
PREADV(preadv, off_t)
PREADV(preadv64, off64_t)

/* --- syncing --------------------------------------------------------------------------------------------------- */

static void slow_disk(void)
{
    uint32_t waited = 0;
    while (waited < now_set(&control->sync_delay_ms)) { /* looked at again: it may have become fast meanwhile */
        struct timespec slice = {0, SLICE_MS * 1000000L};
        if (waited == 0)
            count(&control->delayed);
        nanosleep(&slice, NULL);
        waited += SLICE_MS;
    }
}

#define SYNC(name)                                                                                  \
    EXPORT int name(int descriptor)                                                                 \
    {                                                                                               \
        struct stat status;                                                                         \
        if (!is_ours(descriptor, &status))                                                          \
            return NEXT(name)(descriptor);                                                          \
        count(&control->syncs);                                                                     \
        int64_t number = 0;                                                                         \
        if (recording() && !S_ISDIR(status.st_mode)) {                                              \
            number = (int64_t)atomic_fetch_add(&sync_numbers, 1) + ((int64_t)getpid() << 32);       \
            pthread_mutex_lock(&order);                                                             \
            put(SYNC_BEGIN, (uint64_t)status.st_ino, number, "", NULL, 0);                          \
            pthread_mutex_unlock(&order);                                                           \
        }                                                                                           \
        int saved = errno;                                                                          \
        slow_disk();                                                                                \
        errno = saved;                                                                              \
        int result = NEXT(name)(descriptor);                                                        \
        if (result == 0 && recording()) {                                                           \
            pthread_mutex_lock(&order);                                                             \
            put(S_ISDIR(status.st_mode) ? FOLDER_SYNC : SYNC_END, (uint64_t)status.st_ino, number, "", NULL, 0); \
            pthread_mutex_unlock(&order);                                                           \
        }                                                                                           \
        return result;                                                                              \
    }
SYNC(fsync)
SYNC(fdatasync)

/* --- names ----------------------------------------------------------------------------------------------------- */

static int renamed(int from_folder, const char *from, int to_folder, const char *to, int plain)
{
    char old[PATH_BYTES], new[PATH_BYTES];
    if (!recording() || !name_of(from_folder, from, old) || !name_of(to_folder, to, new))
        return plain ? NEXT(rename)(from, to) : NEXT(renameat)(from_folder, from, to_folder, to);
    pthread_mutex_lock(&order);
    int result = plain ? NEXT(rename)(from, to) : NEXT(renameat)(from_folder, from, to_folder, to);
    if (result == 0) {
        struct iovec data = {new, strlen(new)};
        put(RENAME, 0, 0, old, &data, 1);
    }
    pthread_mutex_unlock(&order);
    return result;
}

EXPORT int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 1); }

EXPORT int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    return renamed(from_folder, from, to_folder, to, 0);
}

static int removed(int folder, const char *path, int flags, int plain)
{
    char name[PATH_BYTES];
    if (!recording() || (flags & AT_REMOVEDIR) || !name_of(folder, path, name))
        return plain ? NEXT(unlink)(path) : NEXT(unlinkat)(folder, path, flags);
    pthread_mutex_lock(&order);
    int result = plain ? NEXT(unlink)(path) : NEXT(unlinkat)(folder, path, flags);
    if (result == 0)
        put(UNLINK, 0, 0, name, NULL, 0);
    pthread_mutex_unlock(&order);
    return result;
}

EXPORT int unlink(const char *path) { return removed(AT_FDCWD, path, 0, 1); }
EXPORT int unlinkat(int folder, const char *path, int flags) { return removed(folder, path, flags, 0); }

/* --- the clock ------------------------------------------------------------------------------------------------- */

static int64_t offset_ns(void) { return control == NULL ? 0 : __atomic_load_n(&control->clock_offset_ns, __ATOMIC_ACQUIRE); }

static void shift(struct timespec *t, int64_t by_ns)
{
    int64_t ns = t->tv_nsec + by_ns % 1000000000;
    t->tv_sec += by_ns / 1000000000;
    if (ns < 0) {
        ns += 1000000000;
        t->tv_sec--;
    } else if (ns >= 1000000000) {
        ns -= 1000000000;
        t->tv_sec++;
    }
    t->tv_nsec = ns;
}

static int is_wall_clock(clockid_t clock)
{
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;
}

EXPORT int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = NEXT(clock_gettime)(clock, now);
    if (result == 0 && is_wall_clock(clock))
        shift(now, offset_ns());
    return result;
}

EXPORT int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    int result = NEXT(gettimeofday)(now, zone);
    if (result == 0) {
        struct timespec t = {now->tv_sec, now->tv_usec * 1000};
        shift(&t, offset_ns());
        now->tv_sec = t.tv_sec;
        now->tv_usec = t.tv_nsec / 1000;
    }
    return result;
}

EXPORT time_t time(time_t *out)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return (time_t)-1;
    if (out != NULL)
        *out = now.tv_sec;
    return now.tv_sec;
}

EXPORT int timespec_get(struct timespec *now, int base)
{
    int result = NEXT(timespec_get)(now, base);
    if (result == TIME_UTC)
        shift(now, offset_ns());
    return result;
}

/* Who waits until a time on the wall clock must wait by the shifted one. */
static const struct timespec *by_kernel_clock(const struct timespec *until, struct timespec *shifted)
{
    int64_t by = offset_ns();
    if (until == NULL || by == 0 || until->tv_sec < REALTIME_FROM_S)
        return until;
    *shifted = *until;
    shift(shifted, -by);
    return shifted;
}

EXPORT int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until)
{
    struct timespec shifted;
    return NEXT(sem_timedwait)(semaphore, by_kernel_clock(until, &shifted));
}

EXPORT int sem_clockwait(sem_t *restrict semaphore, clockid_t clock, const struct timespec *restrict until)
{
    struct timespec shifted;
    return NEXT(sem_clockwait)(semaphore, clock, by_kernel_clock(until, &shifted));
}

EXPORT int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex, const struct timespec *restrict until)
{
    struct timespec shifted;
    return NEXT(pthread_cond_timedwait)(condition, mutex, by_kernel_clock(until, &shifted));
}

EXPORT int pthread_cond_clockwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex, clockid_t clock, const struct timespec *restrict until)
{
    struct timespec shifted;
    return NEXT(pthread_cond_clockwait)(condition, mutex, clock, by_kernel_clock(until, &shifted));
}

EXPORT int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until)
{
    struct timespec shifted;
    return NEXT(pthread_mutex_timedlock)(mutex, by_kernel_clock(until, &shifted));
}
