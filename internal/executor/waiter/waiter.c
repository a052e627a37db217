// The waiter is C, and runs before Go's runtime comes up: it stands for months
// where it must be small, and its whole work is a dozen calls.

#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "waiter.h"

#define MAX_ORDER (8u << 20) // bytes; the kernel takes a quarter of a stack's limit
#define EXIT_FAILED 255      // as libcontainer's first process

struct command {
	struct order head;
	uint32_t *groups;
	char *cwd;
	char **paths, **args, **env;
};

static int read_all(int fd, void *p, size_t n) {
	for (char *at = p; n > 0;) {
		ssize_t got = read(fd, at, n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -1;
		at += got;
		n -= got;
	}
	return 0;
}

// receive reads an order's header and the descriptors that come with it.
static int receive(int fd, struct order *head, int stdio[3]) {
	char control[CMSG_SPACE(3 * sizeof(int))];
	struct iovec data = { head, sizeof *head };
	struct msghdr m = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	ssize_t got;
	do
		got = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got <= 0)
		return -1;
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (c == NULL || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(3 * sizeof(int)))
		return -1;
	memcpy(stdio, CMSG_DATA(c), 3 * sizeof(int));
	return read_all(fd, (char *)head + got, sizeof *head - got);
}

// take cuts n strings off what is left of an order.
static char **take(char **at, char *end, uint32_t n) {
	if (n > MAX_ORDER / sizeof(char *))
		return NULL;
	char **list = calloc(n + 1, sizeof *list);
	for (uint32_t i = 0; list != NULL && i < n; i++) {
		char *nul = memchr(*at, 0, end - *at);
		if (nul == NULL)
			return NULL;
		list[i] = *at;
		*at = nul + 1;
	}
	return list;
}

static int parse(int fd, struct command *c) {
	size_t n = c->head.size;
	if (n < sizeof c->head - sizeof c->head.size || n > MAX_ORDER)
		return -1;
	n -= sizeof c->head - sizeof c->head.size;
	char *body = malloc(n + 1);
	if (body == NULL || read_all(fd, body, n) < 0 || c->head.groups > n / sizeof(uint32_t))
		return -1;
	c->groups = (uint32_t *)body;
	char *at = body + c->head.groups * sizeof(uint32_t), *end = body + n;
	char **cwd = take(&at, end, 1);
	if (cwd == NULL || c->head.paths == 0 || c->head.args == 0)
		return -1;
	c->cwd = cwd[0];
	c->paths = take(&at, end, c->head.paths);
	c->args = c->paths == NULL ? NULL : take(&at, end, c->head.args);
	c->env = c->args == NULL ? NULL : take(&at, end, c->head.env);
	return c->env == NULL ? -1 : 0;
}

static int is_null(const struct stat *st) {
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

// adopt makes the received descriptors the standard ones. The null device is
// opened anew, as the container has it; all others are to be the user's.
static int adopt(const int stdio[3], uid_t uid) {
	struct stat st;
	for (int i = 0; i < 3; i++) {
		int fd = stdio[i];
		if (fstat(fd, &st) < 0)
			return -1;
		if (is_null(&st)) {
			if ((fd = open("/dev/null", O_RDWR | O_CLOEXEC)) < 0 || fstat(fd, &st) < 0)
				return -1;
			if (!is_null(&st)) {
				errno = EINVAL;
				return -1;
			}
		} else if (st.st_uid != uid && fchown(fd, uid, -1) < 0 && errno != EPERM && errno != EROFS) {
			return -1;
		}
		if (dup3(fd, i, 0) < 0)
			return -1;
		close(fd);
	}
	return 0;
}

// become takes the user's identity. The capabilities stay as they are: what
// another user than root may not have goes when the command is executed.
static enum stage become(const struct command *c) {
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct caps[2];
	if (syscall(SYS_capget, &header, caps) < 0 || prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return STAGE_CAPABILITIES;
	if (syscall(SYS_setgroups, (size_t)c->head.groups, c->groups) < 0)
		return STAGE_GROUPS;
	if (syscall(SYS_setgid, c->head.gid) < 0)
		return STAGE_GID;
	if (syscall(SYS_setuid, c->head.uid) < 0)
		return STAGE_UID;
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0 || syscall(SYS_capset, &header, caps) < 0)
		return STAGE_CAPABILITIES;
	return STAGE_NONE;
}

// find looks for the first path that can be executed.
static enum stage find(const struct command *c, uint32_t *path) {
	enum stage stage = STAGE_STAT;
	struct stat st;
	for (uint32_t i = 0; i < c->head.paths; i++) {
		*path = i;
		stage = STAGE_STAT;
		if (stat(c->paths[i], &st) < 0)
			continue;
		stage = STAGE_ACCESS;
		if (S_ISDIR(st.st_mode)) {
			errno = EISDIR;
			continue;
		}
		if (syscall(SYS_faccessat2, AT_FDCWD, c->paths[i], X_OK, AT_EACCESS) == 0)
			return STAGE_NONE;
		if (errno == ENOSYS || errno == EPERM) { // an old kernel or a filter: the bits have to do
			if (st.st_mode & 0111)
				return STAGE_NONE;
			errno = EACCES;
		}
	}
	return stage;
}

static int inside(void) {
	char cwd[4096];
	return syscall(SYS_getcwd, cwd, sizeof cwd) > 0 && cwd[0] == '/';
}

static enum stage obey(int fd, struct command *c, uint32_t *path) {
	int stdio[3];
	if (receive(fd, &c->head, stdio) < 0 || parse(fd, c) < 0)
		return STAGE_ORDER;
	if (adopt(stdio, c->head.uid) < 0)
		return STAGE_STDIO;
	// First as root, who may enter what the user may not, and, where root may
	// not, as the user.
	int entered = chdir(c->cwd);
	if (entered < 0 && errno != EACCES && errno != EPERM)
		return STAGE_CWD;
	enum stage stage = become(c);
	if (stage != STAGE_NONE)
		return stage;
	if (entered < 0 && chdir(c->cwd) < 0)
		return STAGE_CWD;
	if (!inside())
		return STAGE_CWD_OUTSIDE;
	return find(c, path);
}

// run executes the command. It returns only if that is not possible.
static void run(const struct command *c, uint32_t path) {
	execve(c->paths[path], c->args, c->env);
	const char *why = strerror(errno);
	dprintf(2, "exec %s: %c%s\n", c->paths[path], tolower(why[0]), why + 1);
}

static void wait_for_command(int fd) {
	char letter = WAITER_READY;
	struct command c = { 0 };
	struct answer a = { 0 };
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		_exit(EXIT_FAILED);
	for (int other = 3; other < fd; other++) // those that it was started with
		close(other);
	syscall(SYS_close_range, fd + 1, ~0u, 0);
	// What libcontainer's first process is called until it executes the command.
	prctl(PR_SET_NAME, "runc:[2:INIT]", 0, 0, 0);
	if (write(fd, &letter, 1) != 1)
		_exit(EXIT_FAILED);
	a.stage = obey(fd, &c, &a.path);
	a.error = a.stage == STAGE_NONE ? 0 : errno;
	if (write(fd, &a, sizeof a) != sizeof a || a.stage != STAGE_NONE)
		_exit(EXIT_FAILED);
	if (read_all(fd, &letter, 1) < 0 || letter != WAITER_GO)
		_exit(EXIT_FAILED);
	run(&c, a.path);
	_exit(EXIT_FAILED);
}

static void __attribute__((constructor)) waiter(int argc, char **argv) {
	if (argc == 3 && strcmp(argv[1], WAITER_ARG) == 0)
		wait_for_command(atoi(argv[2]));
}
