/* A file layer that knows what a power cut would leave: preloaded into a process, it journals every change of files and
 * directories under POWERCUT_ROOT, and every sync. replay.py makes of the journal what was synced, and nothing else.
 *
 * A sync covers what was journaled before it began. Where POWERCUT_SKIP is set, syncs of paths that contain it are
 * carried out but not journaled: the layer then behaves as if the program had left them out.
 *
 * Where POWERCUT_BREAK is set, syncs of paths that contain it fail with EIO as soon as a file POWERCUT_ROOT.broken is
 * there: a disk that dies under a running server.
 *
 * Each change and its record happen under one lock, so the journal's order is the order of the changes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum op { OPEN = 1, WRITE, TRUNCATE, RENAME, LINK, UNLINK, MKDIR, RMDIR, SYNC, SYNC_DIR, APPEND_SIZE };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int journal = -1;
static uint64_t position;
static char root[PATH_MAX];
static size_t root_length;
static const char *skip;
static const char *breaks;
static char broken[PATH_MAX + 16];

struct __attribute__((packed)) record {
    uint8_t op;
    uint64_t ino;
    uint64_t offset;
    uint32_t first;
    uint32_t second;
};

static void fail(const char *what) {
    dprintf(2, "power-cut layer: %s: %s\n", what, strerror(errno));
    _exit(97);
}

__attribute__((constructor)) static void start(void) {
    const char *folder = getenv("POWERCUT_ROOT"), *path = getenv("POWERCUT_JOURNAL");
    skip = getenv("POWERCUT_SKIP");
    breaks = getenv("POWERCUT_BREAK");
    if (!folder || !path) return;
    if (!realpath(folder, root)) fail("POWERCUT_ROOT");
    root_length = strlen(root);
    snprintf(broken, sizeof broken, "%s.broken", root);
    journal = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0) fail("POWERCUT_JOURNAL");
    off_t end = lseek(journal, 0, SEEK_END);
    position = end < 0 ? 0 : (uint64_t)end;
}

static void put(uint8_t op, uint64_t ino, uint64_t offset, const void *first, size_t first_length, const void *second,
                size_t second_length) {
    struct record head = {op, ino, offset, (uint32_t)first_length, (uint32_t)second_length};
    struct iovec parts[3] = {
        {&head, sizeof head}, {(void *)first, first_length}, {(void *)second, second_length}};
    size_t total = sizeof head + first_length + second_length, done = 0;
    int at = 0;
    while (done < total) {
        long n = syscall(SYS_writev, journal, parts + at, 3 - at);
        if (n < 0) {
            if (errno == EINTR) continue;
            fail("journal");
        }
        done += (size_t)n;
        while (at < 3 && (size_t)n >= parts[at].iov_len) n -= (long)parts[at++].iov_len;
        if (at < 3) {
            parts[at].iov_base = (char *)parts[at].iov_base + n;
            parts[at].iov_len -= (size_t)n;
        }
    }
    position += total;
}

/* The absolute path of a name, its folder's links resolved; the name itself may not exist. Answers its place behind the
 * root, or null if it lies elsewhere. */
static const char *place(int folder, const char *name, char *buffer) {
    char whole[PATH_MAX * 2];
    if (journal < 0 || !name) return NULL;
    if (name[0] == '/') {
        snprintf(whole, sizeof whole, "%s", name);
    } else {
        char base[PATH_MAX], link[64];
        if (folder == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return NULL;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            ssize_t n = readlink(link, base, sizeof base - 1);
            if (n < 0) return NULL;
            base[n] = 0;
        }
        snprintf(whole, sizeof whole, "%s/%s", base, name);
    }
    size_t length = strlen(whole);
    while (length > 1 && whole[length - 1] == '/') whole[--length] = 0;
    char *slash = strrchr(whole, '/');
    if (!slash) return NULL;
    char last[NAME_MAX + 1];
    snprintf(last, sizeof last, "%s", slash + 1);
    *slash = 0;
    char resolved[PATH_MAX];
    if (!realpath(whole[0] ? whole : "/", resolved)) return NULL;
    if (snprintf(buffer, PATH_MAX, "%s/%s", strcmp(resolved, "/") ? resolved : "", last) >= PATH_MAX) return NULL;
    if (strncmp(buffer, root, root_length) || (buffer[root_length] != '/' && buffer[root_length])) return NULL;
    return buffer[root_length] ? buffer + root_length + 1 : buffer + root_length;
}

/* Whether a descriptor is a file or folder under the root; its path behind the root goes to `buffer`. */
static int inside(int fd, struct stat *about, char *buffer) {
    if (journal < 0 || fd == journal) return 0;
    int saved = errno;
    char link[64], target[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, target, sizeof target - 1);
    if (n < 0 || fstat(fd, about) < 0 || !(S_ISREG(about->st_mode) || S_ISDIR(about->st_mode))) {
        errno = saved;
        return 0;
    }
    target[n] = 0;
    errno = saved;
    if (strncmp(target, root, root_length) || (target[root_length] != '/' && target[root_length])) return 0;
    snprintf(buffer, PATH_MAX, "%s", target[root_length] ? target + root_length + 1 : "");
    return 1;
}

static int open_in(int folder, const char *name, int flags, mode_t mode) {
    char buffer[PATH_MAX];
    const char *path = (flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR)) && !(flags & O_PATH) ? place(folder, name, buffer) : NULL;
    if (!path) return (int)syscall(SYS_openat, folder, name, flags, mode);
    pthread_mutex_lock(&lock);
    int existed = faccessat(folder, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    int fd = (int)syscall(SYS_openat, folder, name, flags, mode);
    int saved = errno;
    struct stat about;
    if (fd >= 0 && fstat(fd, &about) == 0 && S_ISREG(about.st_mode)) {
        uint64_t how = existed ? 0 : 1;
        put(OPEN, about.st_ino, how, path, strlen(path), NULL, 0);
        if (existed && (flags & O_TRUNC)) put(TRUNCATE, about.st_ino, 0, NULL, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = saved;
    return fd;
}

#define MODE_OF(flags, mode)                           \
    if ((flags) & (O_CREAT | O_TMPFILE)) {             \
        va_list arguments;                             \
        va_start(arguments, flags);                    \
        mode = (mode_t)va_arg(arguments, unsigned int); \
        va_end(arguments);                             \
    }

int open(const char *name, int flags, ...) {
    mode_t mode = 0;
    MODE_OF(flags, mode)
    return open_in(AT_FDCWD, name, flags, mode);
}
int open64(const char *name, int flags, ...) {
    mode_t mode = 0;
    MODE_OF(flags, mode)
    return open_in(AT_FDCWD, name, flags, mode);
}
int openat(int folder, const char *name, int flags, ...) {
    mode_t mode = 0;
    MODE_OF(flags, mode)
    return open_in(folder, name, flags, mode);
}
int openat64(int folder, const char *name, int flags, ...) {
    mode_t mode = 0;
    MODE_OF(flags, mode)
    return open_in(folder, name, flags, mode);
}
int creat(const char *name, mode_t mode) { return open_in(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *name, mode_t mode) { return creat(name, mode); }

static FILE *fopen_in(const char *name, const char *mode) {
    int flags = strchr(mode, '+') ? O_RDWR : (mode[0] == 'r' ? O_RDONLY : O_WRONLY);
    if (mode[0] == 'w') flags |= O_CREAT | O_TRUNC;
    if (mode[0] == 'a') flags |= O_CREAT | O_APPEND;
    if (strchr(mode, 'e')) flags |= O_CLOEXEC;
    int fd = open_in(AT_FDCWD, name, flags, 0666);
    return fd < 0 ? NULL : fdopen(fd, mode);
}
FILE *fopen(const char *name, const char *mode) { return fopen_in(name, mode); }
FILE *fopen64(const char *name, const char *mode) { return fopen_in(name, mode); }

static ssize_t write_at(int fd, const struct iovec *parts, int count, off_t offset, int positioned) {
    struct stat about;
    char path[PATH_MAX];
    if (!inside(fd, &about, path)) {
        return positioned ? syscall(SYS_pwritev, fd, parts, count, (long)offset, 0L) : syscall(SYS_writev, fd, parts, count);
    }
    pthread_mutex_lock(&lock);
    if (!positioned) {
        int flags = fcntl(fd, F_GETFL);
        if (flags & O_APPEND) {
            fstat(fd, &about);
            offset = about.st_size;
        } else {
            offset = lseek(fd, 0, SEEK_CUR);
        }
    }
    ssize_t n = positioned ? syscall(SYS_pwritev, fd, parts, count, (long)offset, 0L) : syscall(SYS_writev, fd, parts, count);
    int saved = errno;
    ssize_t left = n;
    for (int at = 0; at < count && left > 0; at++) {
        size_t length = parts[at].iov_len < (size_t)left ? parts[at].iov_len : (size_t)left;
        put(WRITE, about.st_ino, (uint64_t)offset, parts[at].iov_base, length, NULL, 0);
        offset += (off_t)length;
        left -= (ssize_t)length;
    }
    int flags = n > 0 ? fcntl(fd, F_GETFL) : 0;
    if (flags & O_DSYNC) put(SYNC, about.st_ino, position, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return n;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    struct iovec part = {(void *)bytes, length};
    return write_at(fd, &part, 1, 0, 0);
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    struct iovec part = {(void *)bytes, length};
    return write_at(fd, &part, 1, offset, 1);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) { return pwrite(fd, bytes, length, offset); }
ssize_t writev(int fd, const struct iovec *parts, int count) { return write_at(fd, parts, count, 0, 0); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return write_at(fd, parts, count, offset, 1); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) { return write_at(fd, parts, count, offset, 1); }
/* The callers fall back to read and write. */
ssize_t copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t length, unsigned int flags) {
    (void)in, (void)in_offset, (void)out, (void)out_offset, (void)length, (void)flags;
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile(int out, int in, off_t *offset, size_t count) {
    struct stat about;
    char path[PATH_MAX];
    if (inside(out, &about, path)) {
        errno = EINVAL;
        return -1;
    }
    return syscall(SYS_sendfile, out, in, offset, count);
}
ssize_t sendfile64(int out, int in, off64_t *offset, size_t count) { return sendfile(out, in, offset, count); }

int ftruncate(int fd, off_t length) {
    struct stat about;
    char path[PATH_MAX];
    if (!inside(fd, &about, path)) return (int)syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_ftruncate, fd, length);
    int saved = errno;
    if (result == 0) put(TRUNCATE, about.st_ino, (uint64_t)length, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

static int allocate(int fd, int mode, off_t offset, off_t length) {
    struct stat about;
    char path[PATH_MAX];
    if (!inside(fd, &about, path)) return (int)syscall(SYS_fallocate, fd, mode, offset, length);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_fallocate, fd, mode, offset, length);
    int saved = errno;
    /* Without KEEP_SIZE the file may have grown by zeros. */
    if (result == 0 && !(mode & FALLOC_FL_KEEP_SIZE)) put(APPEND_SIZE, about.st_ino, (uint64_t)(offset + length), NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int fallocate(int fd, int mode, off_t offset, off_t length) { return allocate(fd, mode, offset, length); }
int fallocate64(int fd, int mode, off64_t offset, off64_t length) { return allocate(fd, mode, offset, length); }
int posix_fallocate(int fd, off_t offset, off_t length) { return allocate(fd, 0, offset, length) ? errno : 0; }
int posix_fallocate64(int fd, off64_t offset, off64_t length) { return posix_fallocate(fd, offset, length); }

static int sync_of(int fd, long call) {
    struct stat about;
    char path[PATH_MAX];
    if (!inside(fd, &about, path)) return (int)syscall(call, fd);
    if (breaks && strstr(path, breaks) && syscall(SYS_faccessat, AT_FDCWD, broken, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    pthread_mutex_lock(&lock);
    uint64_t began = position;
    pthread_mutex_unlock(&lock);
    int result = (int)syscall(call, fd);
    int saved = errno;
    if (result == 0 && !(skip && strstr(path, skip))) {
        pthread_mutex_lock(&lock);
        if (S_ISDIR(about.st_mode)) put(SYNC_DIR, about.st_ino, began, path, strlen(path), NULL, 0);
        else put(SYNC, about.st_ino, began, NULL, 0, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    errno = saved;
    return result;
}
int fsync(int fd) { return sync_of(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_of(fd, SYS_fdatasync); }

static int two_names(uint8_t op, int from_folder, const char *from, int to_folder, const char *to, int flags) {
    char from_buffer[PATH_MAX], to_buffer[PATH_MAX];
    const char *old = place(from_folder, from, from_buffer), *new = place(to_folder, to, to_buffer);
    pthread_mutex_lock(&lock);
    int result = op == RENAME ? (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags)
                              : (int)syscall(SYS_linkat, from_folder, from, to_folder, to, flags);
    int saved = errno;
    if (result == 0 && old && new) put(op, 0, 0, old, strlen(old), new, strlen(new));
    else if (result == 0 && (old || new)) {
        dprintf(2, "power-cut layer: %s to %s crosses the root\n", from, to);
        _exit(97);
    }
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int rename(const char *from, const char *to) { return two_names(RENAME, AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return two_names(RENAME, a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned int flags) {
    return two_names(RENAME, a, from, b, to, (int)flags);
}
int link(const char *from, const char *to) { return two_names(LINK, AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int a, const char *from, int b, const char *to, int flags) { return two_names(LINK, a, from, b, to, flags); }

static int remove_in(int folder, const char *name, int flags) {
    char buffer[PATH_MAX];
    const char *path = place(folder, name, buffer);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_unlinkat, folder, name, flags);
    int saved = errno;
    if (result == 0 && path) put(flags & AT_REMOVEDIR ? RMDIR : UNLINK, 0, 0, path, strlen(path), NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int unlink(const char *name) { return remove_in(AT_FDCWD, name, 0); }
int unlinkat(int folder, const char *name, int flags) { return remove_in(folder, name, flags); }
int rmdir(const char *name) { return remove_in(AT_FDCWD, name, AT_REMOVEDIR); }
int remove(const char *name) {
    if (unlink(name) == 0) return 0;
    return errno == EISDIR ? rmdir(name) : -1;
}

static int make_folder(int folder, const char *name, mode_t mode) {
    char buffer[PATH_MAX];
    const char *path = place(folder, name, buffer);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_mkdirat, folder, name, mode);
    int saved = errno;
    if (result == 0 && path) put(MKDIR, 0, 0, path, strlen(path), NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int mkdir(const char *name, mode_t mode) { return make_folder(AT_FDCWD, name, mode); }
int mkdirat(int folder, const char *name, mode_t mode) { return make_folder(folder, name, mode); }
