// A record is a compiled filter with the calls that describe it, in one file.
#ifndef BOTHY_FILTER_RECORD_H
#define BOTHY_FILTER_RECORD_H

#include <stdint.h>

#define RECORD_MAGIC 0x3172746c66746f62ULL // "botfltr1"
#define RECORD_SIZE (256 << 10)            // of a file that waits for its record

struct record {
	uint64_t magic;
	uint32_t calls;   // bytes; 0: nothing is kept yet
	uint32_t program; // bytes, behind those of the calls
	unsigned char data[];
};

int filter_adopt(int fd);

#endif
