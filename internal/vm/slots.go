package vm

import (
	"fmt"
	"slices"
	"strconv"
)

// Slots are what a template and the machines that go on from it have in common:
// the same devices, whatever a container needs, and memory in a file.
//
// A slot is a device that the guest has found, and its driver taken, before it
// was kept. A disk's is empty (it reads as zeros) until a machine has a file
// for it. What a container needs beyond the slots follows them on the bus,
// where the guest finds it when it looks again.
type Slots struct {
	MemoryFD int  // the file that is the machine's memory
	Share    bool // what the guest writes goes to that file: a template is being made
	Incoming bool // the machine waits to be told the state of its devices
}

// LayerSlots is the number of slots for layers.
const LayerSlots = 8

// The serials of the slots for disks; those for layers are l0, l1 and so on.
const (
	freshSerial = "rw"  // a copy of the template's own writable disk
	usedSerial  = "old" // any other writable disk
)

// SlotMAC is the address of the network interface that is a slot.
const SlotMAC = "02:00:00:00:00:01"

// slotDevices counts the slots.
const slotDevices = 1 + 2 + LayerSlots

// Sizes in bytes that empty slots appear to have. The guest remembers them: a
// file system in a slot may be smaller, not larger.
const (
	emptyLayer    = 1 << 40
	emptyWritable = 64 << 40
)

// machineType is without what no guest of ours needs.
const machineType = "q35,usb=off,smbus=off,sata=off,vmport=off,hpet=off"

// memoryArgs chooses the machine and what its memory is.
func (l Layout) memoryArgs() []string {
	if l.Slots == nil {
		return []string{"-machine", machineType, "-m", memorySize(l.Machine)}
	}
	args := []string{
		"-machine", machineType + ",memory-backend=mem", "-m", memorySize(l.Machine),
		"-object", fmt.Sprintf("memory-backend-file,id=mem,size=%dM,mem-path=/proc/self/fd/%d,share=%s", mebibytes(l.Machine.Memory), l.Slots.MemoryFD, onOff(l.Slots.Share)),
	}
	if l.Slots.Incoming {
		args = append(args, "-incoming", "defer")
	}
	return args
}

// slotArgs describes the slots, filled as far as the machine has something for
// them, and after them the rest of its devices.
func (l Layout) slotArgs(bus *pci) []string {
	args := nicArgs(0, l.TapFDs[0], SlotMAC, bus)
	for i, serial := range diskSlots() {
		at := slices.IndexFunc(l.Disks, func(d Disk) bool { return d.Serial == serial })
		if at >= 0 {
			args = append(args, diskArgs(i, l.Disks[at], bus)...)
			continue
		}
		args = append(args, emptyArgs(i, serial, bus)...)
	}
	n := len(diskSlots())
	for _, d := range l.Disks {
		if !slices.Contains(diskSlots(), d.Serial) {
			args = append(args, diskArgs(n, d, bus)...)
			n++
		}
	}
	for i, fd := range l.TapFDs[1:] {
		args = append(args, nicArgs(1+i, fd, l.Machine.Interfaces[1+i].MAC, bus)...)
	}
	return args
}

// diskSlots are the serials of the slots for disks, in their order: slot i is
// the block device of the name disk<i>.
func diskSlots() []string {
	serials := []string{freshSerial, usedSerial}
	for i := range LayerSlots {
		serials = append(serials, layerSerial(i))
	}
	return serials
}

func layerSerial(i int) string { return "l" + strconv.Itoa(i) }

// emptyArgs describes disk i as a slot without a file. It is a raw disk over
// one that reads as zeros, so that a file can take the latter's place.
func emptyArgs(i int, serial string, bus *pci) []string {
	d := Disk{Serial: serial, ReadOnly: serial != freshSerial && serial != usedSerial, Size: emptyLayer}
	if !d.ReadOnly {
		d.Size = emptyWritable
	}
	return []string{
		"-blockdev", fmt.Sprintf("driver=raw,node-name=disk%d,read-only=%s,file.driver=null-co,file.size=%d,file.read-zeroes=on", i, onOff(d.ReadOnly), d.Size),
		"-device", diskDevice(i, d, bus),
	}
}
