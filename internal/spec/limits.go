package spec

import (
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
)

const minMemory = 6 << 20

// validateResources checks limits, with docker's words.
func validateResources(r *container.Resources) error {
	for _, check := range []func(*container.Resources) error{validateMemory, validateCPU, validateDevices} {
		if err := check(r); err != nil {
			return err
		}
	}
	if r.BlkioWeight != 0 && (r.BlkioWeight < 10 || r.BlkioWeight > 1000) {
		return invalidf("range of blkio weight is from 10 to 1000")
	}
	for _, u := range r.Ulimits {
		if err := checkUlimit(u); err != nil {
			return err
		}
	}
	return nil
}

func validateMemory(r *container.Resources) error {
	switch {
	case r.Memory < 0 || (r.Memory != 0 && r.Memory < minMemory):
		return invalidf("Minimum memory limit allowed is 6MB")
	case r.MemorySwap < -1:
		return invalidf("invalid memory swap %d: it cannot be negative (-1: unlimited)", r.MemorySwap)
	case r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		return invalidf("Minimum memoryswap limit should be larger than memory limit, see usage")
	case r.Memory == 0 && r.MemorySwap > 0:
		return invalidf("You should always set the Memory limit when using Memoryswap limit, see usage")
	case r.MemorySwappiness != nil && (*r.MemorySwappiness < -1 || *r.MemorySwappiness > 100):
		return invalidf("Invalid value: %d, valid memory swappiness range is 0-100", *r.MemorySwappiness)
	case r.MemoryReservation < 0 || (r.MemoryReservation > 0 && r.MemoryReservation < minMemory):
		return invalidf("Minimum memory reservation allowed is 6MB")
	case r.Memory > 0 && r.MemoryReservation > 0 && r.Memory < r.MemoryReservation:
		return invalidf("Minimum memory limit can not be less than memory reservation limit, see usage")
	case r.PidsLimit != nil && *r.PidsLimit < -1:
		return invalidf("invalid pids limit %d: it cannot be negative (-1: unlimited)", *r.PidsLimit)
	}
	return nil
}

func validateCPU(r *container.Resources) error {
	switch {
	case r.NanoCPUs > 0 && r.CPUPeriod > 0:
		return invalidf("Conflicting options: Nano CPUs and CPU Period cannot both be set")
	case r.NanoCPUs > 0 && r.CPUQuota > 0:
		return invalidf("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
	case r.NanoCPUs < 0 || (r.NanoCPUs > 0 && r.NanoCPUs < 10_000_000):
		return invalidf("range of CPUs is from 0.01 up to the number of CPUs")
	case r.CPUShares < 0:
		return invalidf("invalid CPU shares (%d): value must be a positive integer", r.CPUShares)
	case r.CPUPeriod != 0 && (r.CPUPeriod < 1000 || r.CPUPeriod > 1_000_000):
		return invalidf("CPU cfs period cannot be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case r.CPUQuota > 0 && r.CPUQuota < 1000, r.CPUQuota < -1:
		return invalidf("CPU cfs quota cannot be less than 1ms (i.e. 1000)")
	case !validCPUSet(r.CpusetCpus):
		return invalidf("invalid value %s for cpuset cpus", r.CpusetCpus)
	case !validCPUSet(r.CpusetMems):
		return invalidf("invalid value %s for cpuset mems", r.CpusetMems)
	}
	return nil
}

// FitCPUs refuses --cpus beyond the number of processors that there are.
func FitCPUs(r *container.Resources, cpus int) error {
	if r.NanoCPUs > int64(cpus)*1_000_000_000 {
		return invalidf("range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", cpus, cpus)
	}
	return nil
}

// validCPUSet: numbers and ranges, "0-2,4"; at most 8192 CPUs.
func validCPUSet(text string) bool {
	if text == "" {
		return true
	}
	for _, span := range strings.Split(text, ",") {
		from, to, isSpan := strings.Cut(span, "-")
		if !isSpan {
			to = from
		}
		first, err1 := strconv.ParseUint(from, 10, 13)
		last, err2 := strconv.ParseUint(to, 10, 13)
		if err1 != nil || err2 != nil || first > last {
			return false
		}
	}
	return true
}

func validateDevices(r *container.Resources) error {
	for _, m := range r.Devices {
		if err := checkDevice(m); err != nil {
			return err
		}
	}
	for _, text := range r.DeviceCgroupRules {
		if _, err := parseDeviceRule(text); err != nil {
			return err
		}
	}
	return nil
}

// StorageSize reads --storage-opt size=20G: bytes, 0 if it is not given.
func StorageSize(opts map[string]string) (int64, error) {
	for key, value := range opts {
		if key != "size" {
			return 0, invalidf("unknown option %s in --storage-opt: there is \"size\"", key)
		}
		size, err := units.RAMInBytes(value)
		if err != nil || size <= 0 {
			return 0, invalidf("invalid size %q in --storage-opt", value)
		}
		return size, nil
	}
	return 0, nil
}
