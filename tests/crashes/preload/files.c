// Preloaded into the node by the crash harness: records every call that changes a file below a folder,
// in the order in which they took effect and with their data, and lets a sync fail when told to.
//
// HONGBAO_TRACE_ROOT  the folder
// HONGBAO_TRACE       file that the record is appended to; nothing is recorded without it
// HONGBAO_FAIL_SYNC   the number of the sync of a regular file that fails with EIO, once
// HONGBAO_SYNC_MS     time that each sync takes, in milliseconds
//
// A record is: u8 kind, u64 inode, u64 number, u32 length of text, u32 length of data, text, data.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { WRITE = 1, SYNC, TRUNCATE, ALLOCATE, CREATE, RENAME, UNLINK, MKDIR, LINK, SEND, FAILED, CLEAR };
enum { INODES = 1 << 16, TEXT_MAX = 8192 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *root;
static size_t root_len;
static int out = -1;
static long fail_sync, sync_ms, syncs;
// Inodes of files and folders below the root; open addressing, never removed.
static uint64_t known[INODES];

static void start(void) {
  root = getenv("HONGBAO_TRACE_ROOT");
  root_len = root ? strlen(root) : 0;
  const char *path = getenv("HONGBAO_TRACE");
  if (root && path) out = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  const char *text = getenv("HONGBAO_FAIL_SYNC");
  fail_sync = text ? atol(text) : 0;
  text = getenv("HONGBAO_SYNC_MS");
  sync_ms = text ? atol(text) : 0;
}

static int is_below(const char *path) {
  pthread_once(&once, start);
  return root && path && strncmp(path, root, root_len) == 0 && (path[root_len] == '/' || !path[root_len]);
}

static const char *inner(const char *path) { return path[root_len] ? path + root_len + 1 : ""; }

static size_t slot(uint64_t inode) {
  size_t at = (inode * 0x9e3779b97f4a7c15u) >> 48;
  while (known[at % INODES] && known[at % INODES] != inode) at++;
  return at % INODES;
}

// Nobody shall wonder why a process ended.
static void give_up(const char *what) {
  char text[256];
  int saved = errno;
  int len = snprintf(text, sizeof text, "the recorder gives up: %s: %s\n", what, strerror(saved));
  if (len > 0) syscall(SYS_write, 2, text, len);
  abort();
}

static void put_all(const struct iovec *parts, int count) {
  struct iovec rest[16];
  memcpy(rest, parts, count * sizeof *parts);
  for (int at = 0; at < count;) {
    ssize_t done = syscall(SYS_writev, out, rest + at, count - at);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) give_up("cannot write");
    while (at < count && (size_t)done >= rest[at].iov_len) done -= rest[at++].iov_len;
    if (at < count) {
      rest[at].iov_base = (char *)rest[at].iov_base + done;
      rest[at].iov_len -= done;
    }
  }
}

static void note(uint8_t kind, uint64_t inode, uint64_t number, const char *text, const void *data, size_t len) {
  if (out < 0) return;
  int saved = errno;
  char head[25];
  uint32_t text_len = text ? strlen(text) : 0, data_len = len;
  head[0] = kind;
  memcpy(head + 1, &inode, 8);
  memcpy(head + 9, &number, 8);
  memcpy(head + 17, &text_len, 4);
  memcpy(head + 21, &data_len, 4);
  struct iovec parts[3] = {{head, 25}, {(void *)text, text_len}, {(void *)data, len}};
  put_all(parts, 3);
  errno = saved;
}

// The inode of an open file or folder below the root, else 0. Sockets give 1.
static uint64_t inode_of(int fd, struct stat *found) {
  pthread_once(&once, start);
  if (!root || fd < 0 || syscall(SYS_fstat, fd, found) < 0) return 0;
  if (S_ISSOCK(found->st_mode)) return 1;
  if (!S_ISREG(found->st_mode) && !S_ISDIR(found->st_mode)) return 0;
  return known[slot(found->st_ino)] ? found->st_ino : 0;
}

static void note_parts(uint64_t inode, uint64_t at, const struct iovec *parts, int count, ssize_t written) {
  for (int index = 0; index < count && written > 0; index++) {
    size_t len = parts[index].iov_len < (size_t)written ? parts[index].iov_len : (size_t)written;
    if (len) note(WRITE, inode, at, NULL, parts[index].iov_base, len);
    at += len;
    written -= len;
  }
}

// Writes at `at`, or where the file stands when it is negative.
static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t at) {
  struct stat found;
  int saved = errno;
  uint64_t inode = inode_of(fd, &found);
  errno = saved;
  if (!inode || fd == out) {
    return at < 0 ? syscall(SYS_writev, fd, parts, count) : syscall(SYS_pwritev, fd, parts, count, at, 0);
  }
  pthread_mutex_lock(&lock);
  if (inode == 1) {
    // Before it leaves, since a promise counts from the moment it can be seen.
    for (int index = 0; index < count; index++) note(SEND, fd, index, NULL, parts[index].iov_base, parts[index].iov_len);
    pthread_mutex_unlock(&lock);
    return syscall(SYS_writev, fd, parts, count);
  }
  off_t place = at;
  if (at < 0) place = syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND ? found.st_size : syscall(SYS_lseek, fd, 0, SEEK_CUR);
  ssize_t written = at < 0 ? syscall(SYS_writev, fd, parts, count) : syscall(SYS_pwritev, fd, parts, count, at, 0);
  note_parts(inode, place, parts, count, written);
  pthread_mutex_unlock(&lock);
  return written;
}

ssize_t write(int fd, const void *data, size_t len) {
  struct iovec part = {(void *)data, len};
  return write_parts(fd, &part, 1, -1);
}
ssize_t pwrite(int fd, const void *data, size_t len, off_t at) {
  struct iovec part = {(void *)data, len};
  return write_parts(fd, &part, 1, at);
}
ssize_t pwrite64(int fd, const void *data, size_t len, off_t at) { return pwrite(fd, data, len, at); }
ssize_t writev(int fd, const struct iovec *parts, int count) { return write_parts(fd, parts, count, -1); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return write_parts(fd, parts, count, at); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at) { return write_parts(fd, parts, count, at); }

ssize_t sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *to, socklen_t to_len) {
  pthread_once(&once, start);
  pthread_mutex_lock(&lock);
  if (root) note(SEND, fd, 0, NULL, data, len);
  pthread_mutex_unlock(&lock);
  return syscall(SYS_sendto, fd, data, len, flags, to, to_len);
}
ssize_t send(int fd, const void *data, size_t len, int flags) { return sendto(fd, data, len, flags, NULL, 0); }
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  pthread_once(&once, start);
  pthread_mutex_lock(&lock);
  for (size_t index = 0; root && index < message->msg_iovlen; index++)
    note(SEND, fd, index, NULL, message->msg_iov[index].iov_base, message->msg_iov[index].iov_len);
  pthread_mutex_unlock(&lock);
  return syscall(SYS_sendmsg, fd, message, flags);
}

static int sync_with(long call, int fd) {
  struct stat found;
  uint64_t inode = inode_of(fd, &found);
  if (inode < 2) return syscall(call, fd);
  if (sync_ms) {
    struct timespec time = {sync_ms / 1000, sync_ms % 1000 * 1000000};
    nanosleep(&time, NULL);
  }
  pthread_mutex_lock(&lock);
  int result = 0;
  if (S_ISREG(found.st_mode) && fail_sync && ++syncs == fail_sync) {
    note(FAILED, inode, 0, NULL, NULL, 0);
    errno = EIO;
    result = -1;
  } else if ((result = syscall(call, fd)) == 0) {
    note(SYNC, inode, 0, NULL, NULL, 0);
  }
  pthread_mutex_unlock(&lock);
  return result;
}
int fsync(int fd) { return sync_with(SYS_fsync, fd); }
int fdatasync(int fd) { return sync_with(SYS_fdatasync, fd); }

int ftruncate(int fd, off_t len) {
  struct stat found;
  uint64_t inode = inode_of(fd, &found);
  pthread_mutex_lock(&lock);
  int result = syscall(SYS_ftruncate, fd, len);
  if (inode > 1 && result == 0) note(TRUNCATE, inode, len, NULL, NULL, 0);
  pthread_mutex_unlock(&lock);
  return result;
}
int ftruncate64(int fd, off_t len) { return ftruncate(fd, len); }

int fallocate(int fd, int mode, off_t at, off_t len) {
  struct stat found;
  uint64_t inode = inode_of(fd, &found);
  pthread_mutex_lock(&lock);
  int result = syscall(SYS_fallocate, fd, mode, at, len);
  // Without a mode the file grows; a hole reads as zeros. With any other mode nothing is seen.
  if (inode > 1 && result == 0 && mode == 0) note(ALLOCATE, inode, at + len, NULL, NULL, 0);
  uint64_t bytes = len;
  if (inode > 1 && result == 0 && (mode & FALLOC_FL_PUNCH_HOLE)) note(CLEAR, inode, at, NULL, &bytes, sizeof bytes);
  pthread_mutex_unlock(&lock);
  return result;
}
int fallocate64(int fd, int mode, off_t at, off_t len) { return fallocate(fd, mode, at, len); }

static int open_with(int dir, const char *path, int flags, mode_t mode) {
  if (!is_below(path)) return syscall(SYS_openat, dir, path, flags, mode);
  pthread_mutex_lock(&lock);
  struct stat found;
  int saved = errno;
  int was_there = stat(path, &found) == 0;
  errno = saved;
  int fd = syscall(SYS_openat, dir, path, flags, mode);
  saved = errno;
  if (fd >= 0 && syscall(SYS_fstat, fd, &found) == 0 && S_ISREG(found.st_mode)) {
    known[slot(found.st_ino)] = found.st_ino;
    if (!was_there) note(CREATE, found.st_ino, 0, inner(path), NULL, 0);
    else if (flags & O_TRUNC) note(TRUNCATE, found.st_ino, 0, NULL, NULL, 0);
  }
  errno = saved;
  pthread_mutex_unlock(&lock);
  return fd;
}
static mode_t mode_of(int flags, va_list rest) { return flags & O_CREAT ? va_arg(rest, mode_t) : 0; }
#define OPEN(name)                                   \
  int name(const char *path, int flags, ...) {       \
    va_list rest;                                    \
    va_start(rest, flags);                           \
    mode_t mode = mode_of(flags, rest);              \
    va_end(rest);                                    \
    return open_with(AT_FDCWD, path, flags, mode);   \
  }
#define OPENAT(name)                                      \
  int name(int dir, const char *path, int flags, ...) {   \
    va_list rest;                                         \
    va_start(rest, flags);                                \
    mode_t mode = mode_of(flags, rest);                   \
    va_end(rest);                                         \
    return open_with(dir, path, flags, mode);             \
  }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

// Two paths in one text, with a line's end between them.
static void note_two(uint8_t kind, const char *from, const char *to) {
  char text[TEXT_MAX];
  size_t len = strlen(inner(from));
  if (len + strlen(inner(to)) + 2 > TEXT_MAX) give_up("two long paths");
  memcpy(text, inner(from), len);
  text[len] = '\n';
  strcpy(text + len + 1, inner(to));
  note(kind, 0, 0, text, NULL, 0);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
  pthread_mutex_lock(&lock);
  int result = syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
  if (result == 0 && is_below(from) && is_below(to)) note_two(RENAME, from, to);
  pthread_mutex_unlock(&lock);
  return result;
}
int renameat(int from_dir, const char *from, int to_dir, const char *to) {
  return renameat2(from_dir, from, to_dir, to, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
  pthread_mutex_lock(&lock);
  int result = syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
  if (result == 0 && is_below(from) && is_below(to)) note_two(LINK, from, to);
  pthread_mutex_unlock(&lock);
  return result;
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int dir, const char *path, int flags) {
  pthread_mutex_lock(&lock);
  int result = syscall(SYS_unlinkat, dir, path, flags);
  if (result == 0 && is_below(path)) note(UNLINK, 0, 0, inner(path), NULL, 0);
  pthread_mutex_unlock(&lock);
  return result;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int dir, const char *path, mode_t mode) {
  pthread_mutex_lock(&lock);
  struct stat found;
  int result = syscall(SYS_mkdirat, dir, path, mode);
  if (result == 0 && is_below(path) && stat(path, &found) == 0) {
    known[slot(found.st_ino)] = found.st_ino;
    note(MKDIR, found.st_ino, 0, inner(path), NULL, 0);
  }
  pthread_mutex_unlock(&lock);
  return result;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
