package engine

import (
	"math/bits"
	"runtime"

	"github.com/moby/moby/api/types/container"

	"bothy/internal/spec"
)

const (
	mebibyte = 1 << 20
	gibibyte = 1 << 30

	// leastMachineMemory is the smallest machine that is made.
	leastMachineMemory = 256 * mebibyte
	// machineAllowance is what a virtual machine has beyond its container's
	// memory limit, for its kernel and the executor in it.
	machineAllowance = 112 * mebibyte
	// machineBooks is the part of its memory that a kernel keeps books on all of
	// it in: 64 bytes for each page of 4096, and some room.
	machineBooks = 1. / 60
)

// size gives a machine's memory in bytes and its CPUs. The CPUs are the same for
// all, as a container sees all of its host's; limits are the cgroup's. The
// memory is enough for the container to reach its limit, or for one without a
// limit what is configured. It has one of few sizes, so that machines can share
// templates, but never more than the host: there a container reaches no higher
// limit either.
func (m *machines) size(r container.Resources) (memory int64, cpus int) {
	memory = m.opts.VM.Memory
	if r.Memory > 0 {
		memory = int64(float64(r.Memory+machineAllowance) * (1 + machineBooks))
	}
	return min(machineShape(memory), m.maxMemory()), max(m.opts.VM.CPUs, 1)
}

// machineShape rounds a machine's memory up: to 256, 384, 512 or 768 MiB, or
// from 1 GiB on to a quarter of the power of two below it.
func machineShape(memory int64) int64 {
	if memory <= leastMachineMemory {
		return leastMachineMemory
	}
	power := int64(1) << (bits.Len64(uint64(memory)) - 1)
	step := power / 2
	if power >= gibibyte {
		step = power / 4
	}
	return (memory + step - 1) / step * step
}

// maxMemory is what a machine can grow to while it runs, in bytes: what the host
// has. Where that is not known it cannot.
func (m *machines) maxMemory() int64 {
	const block = 128 * mebibyte
	return max(m.hostMemory/block*block, leastMachineMemory)
}

// cpus is the number of processors that a container in that home sees.
func (o Options) cpus(home spec.Home) int {
	if home == spec.VM {
		return o.VM.CPUs
	}
	return runtime.NumCPU()
}
