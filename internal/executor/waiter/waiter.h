// What the two ends of a waiter's socket say to each other.
#ifndef BOTHY_WAITER_H
#define BOTHY_WAITER_H

#include <stdint.h>

#define WAITER_ARG "wait-for-command" // argv[1]; argv[2] is the socket's number

// A letter of each side's that needs no more.
#define WAITER_READY 'r' // the waiter has become one
#define WAITER_GO 'g'    // it is to execute the command

// An order is this header, which three descriptors come along with, the groups
// (uint32_t each), and the strings, each with its NUL: working directory, paths
// of the program to try in their order, arguments, environment.
struct order {
	uint32_t size; // bytes of all that follows this field
	uint32_t uid, gid;
	uint32_t groups, paths, args, env; // how many
};

// What was being done when the order failed.
enum stage {
	STAGE_NONE = 0, // nothing failed
	STAGE_ORDER,    // reading the order
	STAGE_STDIO,
	STAGE_CWD,
	STAGE_CWD_OUTSIDE, // the working directory is not inside the root
	STAGE_GROUPS,
	STAGE_GID,
	STAGE_UID,
	STAGE_CAPABILITIES,
	STAGE_STAT,   // of a program
	STAGE_ACCESS, // its permission
};

struct answer {
	uint32_t stage, error; // error is an errno
	uint32_t path;         // which of the paths it is, or failed
};

#endif
