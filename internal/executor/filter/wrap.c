// The linker puts the functions named __wrap_* here in front of libseccomp's.
// While a record is adopted they note what would be added to a filter, and do
// it only when the filter is exported and the record doesn't have it already.
// Every way for a filter to be used that libcontainer takes leads through
// here; one that it doesn't take (seccomp_load) makes up for what was put off.

#define _GNU_SOURCE
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

scmp_filter_ctx __real_seccomp_init(uint32_t action);
int __real_seccomp_arch_add(scmp_filter_ctx ctx, uint32_t arch);
int __real_seccomp_attr_set(scmp_filter_ctx ctx, enum scmp_filter_attr attr, uint32_t value);
int __real_seccomp_rule_add_array(scmp_filter_ctx ctx, uint32_t action, int syscall, unsigned int n, const struct scmp_arg_cmp *args);
int __real_seccomp_export_bpf(scmp_filter_ctx ctx, int fd);
int __real_seccomp_load(scmp_filter_ctx ctx);

static struct record *record; // NULL: none is adopted
static size_t room;           // bytes for data
static int writable;          // it waits for its record

static scmp_filter_ctx noted; // whose calls are noted; NULL: none's
static unsigned char *notes;
static size_t length, capacity;
static int rules; // put off

// filter_adopt takes descriptor fd if it is a record: 1 if so, else 0. The
// descriptor stays, so that no other file gets its number, until the exec.
int filter_adopt(int fd) {
	struct stat st;
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(struct record))
		return 0;
	int write = (flags & O_ACCMODE) == O_RDWR;
	void *p = mmap(NULL, st.st_size, write ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return 0;
	struct record *r = p;
	size_t size = st.st_size - sizeof(struct record);
	if (r->magic != RECORD_MAGIC || r->calls > size || r->program > size - r->calls || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
		munmap(p, st.st_size);
		return 0;
	}
	record = r;
	room = size;
	writable = write;
	return 1;
}

// note appends a value to the notes; with no memory it ends them.
static int note(const void *p, size_t n) {
	if (length + n > capacity) {
		size_t more = 2 * capacity + n + 4096;
		unsigned char *grown = realloc(notes, more);
		if (grown == NULL)
			return -1;
		notes = grown;
		capacity = more;
	}
	memcpy(notes + length, p, n);
	length += n;
	return 0;
}

static int note32(uint32_t v) { return note(&v, sizeof v); }
static int note64(uint64_t v) { return note(&v, sizeof v); }

static uint32_t take32(size_t *at) {
	uint32_t v;
	memcpy(&v, notes + *at, sizeof v);
	*at += sizeof v;
	return v;
}

static uint64_t take64(size_t *at) {
	uint64_t v;
	memcpy(&v, notes + *at, sizeof v);
	*at += sizeof v;
	return v;
}

enum { RULE = 1, ARCH, ATTRIBUTE };

// The arguments of a rule, each of another one of the call's six.
#define MAX_ARGS 6

// settle does what was put off, and takes no more notes.
static int settle(void) {
	scmp_filter_ctx ctx = noted;
	noted = NULL;
	size_t at = 5 * sizeof(uint32_t); // behind what seccomp_init has noted
	while (rules > 0 && at < length) {
		uint32_t kind = take32(&at);
		if (kind != RULE) {
			at += kind == ARCH ? 4 : 8;
			continue;
		}
		rules--;
		uint32_t action = take32(&at), call = take32(&at), n = take32(&at);
		struct scmp_arg_cmp args[MAX_ARGS];
		for (uint32_t i = 0; i < n; i++) {
			args[i].arg = take32(&at);
			args[i].op = take32(&at);
			args[i].datum_a = take64(&at);
			args[i].datum_b = take64(&at);
		}
		int rc = __real_seccomp_rule_add_array(ctx, action, (int)call, n, n > 0 ? args : NULL);
		if (rc != 0)
			return rc;
	}
	return 0;
}

scmp_filter_ctx __wrap_seccomp_init(uint32_t action) {
	scmp_filter_ctx ctx = __real_seccomp_init(action);
	if (ctx == NULL || record == NULL || noted != NULL || length != 0)
		return ctx; // one filter a process is what there is
	const struct scmp_version *v = seccomp_version();
	uint32_t version = v == NULL ? 0 : v->major << 20 | v->minor << 10 | v->micro;
	if (note32(version) || note32(seccomp_api_get()) || note32(seccomp_arch_native()) || note32(action) || note32(0))
		return ctx;
	noted = ctx;
	return ctx;
}

int __wrap_seccomp_arch_add(scmp_filter_ctx ctx, uint32_t arch) {
	if (ctx == noted && noted != NULL) {
		int rc = rules > 0 || note32(ARCH) || note32(arch) ? settle() : 0;
		if (rc != 0)
			return rc;
	}
	return __real_seccomp_arch_add(ctx, arch);
}

int __wrap_seccomp_attr_set(scmp_filter_ctx ctx, enum scmp_filter_attr attr, uint32_t value) {
	if (ctx == noted && noted != NULL) {
		int rc = rules > 0 || note32(ATTRIBUTE) || note32(attr) || note32(value) ? settle() : 0;
		if (rc != 0)
			return rc;
	}
	return __real_seccomp_attr_set(ctx, attr, value);
}

static int note_rule(uint32_t action, int call, unsigned int n, const struct scmp_arg_cmp *args) {
	if (note32(RULE) || note32(action) || note32(call) || note32(n))
		return -1;
	for (unsigned int i = 0; i < n; i++)
		if (note32(args[i].arg) || note32(args[i].op) || note64(args[i].datum_a) || note64(args[i].datum_b))
			return -1;
	return 0;
}

int __wrap_seccomp_rule_add_array(scmp_filter_ctx ctx, uint32_t action, int call, unsigned int n, const struct scmp_arg_cmp *args) {
	if (ctx != noted || noted == NULL)
		return __real_seccomp_rule_add_array(ctx, action, call, n, args);
	size_t before = length;
	if (n <= MAX_ARGS && (n == 0 || args != NULL) && note_rule(action, call, n, args) == 0) {
		rules++;
		return 0;
	}
	length = before;
	int rc = settle();
	return rc != 0 ? rc : __real_seccomp_rule_add_array(ctx, action, call, n, args);
}

static int write_all(int fd, const unsigned char *p, size_t n) {
	while (n > 0) {
		ssize_t done = write(fd, p, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		p += done;
		n -= done;
	}
	return 0;
}

// keep writes the program to fd and into the record, if it has room. It goes
// through a pipe: a limit on the size of files has no say in that.
static int keep(scmp_filter_ctx ctx, int fd) {
	int ends[2];
	if (!writable || length >= room || pipe2(ends, O_CLOEXEC) < 0)
		return __real_seccomp_export_bpf(ctx, fd);
	// A program has at most 4096 instructions of 8 bytes; one more byte tells
	// that it has ended.
	int rc = -ENOSPC, size = fcntl(ends[0], F_GETPIPE_SZ);
	if (size > 4096 * 8)
		rc = __real_seccomp_export_bpf(ctx, ends[1]);
	close(ends[1]);
	unsigned char *program = record->data + length;
	size_t n = 0;
	while (rc == 0 && n < room - length) {
		ssize_t got = read(ends[0], program + n, room - length - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		n += got;
	}
	close(ends[0]);
	if (rc != 0 || n == 0 || n == room - length)
		return __real_seccomp_export_bpf(ctx, fd);
	memcpy(record->data, notes, length);
	record->program = n;
	record->calls = length;
	return write_all(fd, program, n);
}

int __wrap_seccomp_export_bpf(const scmp_filter_ctx ctx, int fd) {
	if (ctx != noted || noted == NULL)
		return __real_seccomp_export_bpf(ctx, fd);
	if (record->calls == length && record->program > 0 && memcmp(record->data, notes, length) == 0)
		return write_all(fd, record->data + length, record->program);
	int rc = settle();
	return rc != 0 ? rc : keep(ctx, fd);
}

int __wrap_seccomp_load(const scmp_filter_ctx ctx) {
	int rc = ctx == noted && noted != NULL ? settle() : 0;
	return rc != 0 ? rc : __real_seccomp_load(ctx);
}
