/* A disk that fails when told to, for the files whose path begins with HEADRACE_TEST_DATABASE.
 *
 * In the folder HEADRACE_TEST_FAULTS, a file `full` means that nothing can be written; a file
 * `sync` holds a number n, and the n-th sync from then on fails, after which the file is gone.
 * Files say it, so that a test can say it at any moment, to a process that has long begun.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;

#define REAL(type, name, ...)                                        \
    static type (*real)(__VA_ARGS__);                                \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static ssize_t plain_write(int fd, const void *bytes, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    return real(fd, bytes, size);
}

static int is_told(const char *name, char *path, size_t size) {
    const char *folder = getenv("HEADRACE_TEST_FAULTS");
    if (!folder) return 0;
    snprintf(path, size, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static int is_database(int fd) {
    const char *database = getenv("HEADRACE_TEST_DATABASE");
    char link[64], path[4096];
    if (!database) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strncmp(path, database, strlen(database)) == 0;
}

static int is_full(int fd) {
    int before = errno;
    char path[4096];
    if (is_told("full", path, sizeof path) && is_database(fd)) {
        errno = ENOSPC;
        return 1;
    }
    errno = before;
    return 0;
}

static int sync_fails(int fd) {
    int before = errno, fails = 0;
    char path[4096], text[32] = {0};
    pthread_mutex_lock(&counting);
    if (is_told("sync", path, sizeof path) && is_database(fd)) {
        int control = open(path, O_RDWR);
        if (control >= 0 && read(control, text, sizeof text - 1) > 0) {
            int left = atoi(text) - 1;
            if (left > 0) {
                int length = snprintf(text, sizeof text, "%-8d", left);
                lseek(control, 0, SEEK_SET);
                if (plain_write(control, text, (size_t)length) != length) abort();
            } else {
                unlink(path);
                fails = 1;
            }
        }
        if (control >= 0) close(control);
    }
    pthread_mutex_unlock(&counting);
    errno = fails ? EIO : before;
    return fails;
}

ssize_t write(int fd, const void *bytes, size_t size) {
    return is_full(fd) ? -1 : plain_write(fd, bytes, size);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    return is_full(fd) ? -1 : real(fd, bytes, size, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    return is_full(fd) ? -1 : real(fd, bytes, size, at);
}

int ftruncate(int fd, off_t size) {
    REAL(int, ftruncate, int, off_t);
    return is_full(fd) ? -1 : real(fd, size);
}

int ftruncate64(int fd, off64_t size) {
    REAL(int, ftruncate64, int, off64_t);
    return is_full(fd) ? -1 : real(fd, size);
}

int posix_fallocate(int fd, off_t at, off_t size) {
    REAL(int, posix_fallocate, int, off_t, off_t);
    return is_full(fd) ? ENOSPC : real(fd, at, size);
}

int posix_fallocate64(int fd, off64_t at, off64_t size) {
    REAL(int, posix_fallocate64, int, off64_t, off64_t);
    return is_full(fd) ? ENOSPC : real(fd, at, size);
}

int fsync(int fd) {
    REAL(int, fsync, int);
    return sync_fails(fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    return sync_fails(fd) ? -1 : real(fd);
}
