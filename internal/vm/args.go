package vm

import (
	"fmt"
	"strconv"
	"strings"

	"bothy/internal/shimapi"
	"bothy/internal/vm/link"
)

// Layout is all that QEMU's command line is made of. File descriptors are those
// of the QEMU process.
//
// There are two arrangements of devices. A machine that just boots has those
// that its container needs. A template, and what goes on from it, has Slots.
type Layout struct {
	Machine   shimapi.Machine
	TSC       TSC    // the host's
	Firmware  string // path of a firmware; empty: QEMU's default
	Kernel    string // path as QEMU sees it
	Initramfs string // path as QEMU sees it
	Disks     []Disk
	TapFDs    []int  // one for each of Machine.Interfaces; with Slots at least one
	Slots     *Slots // nil: no others than the container's devices
	QMPFD     int    // connected stream socket
	LinkFD    int    // connected stream socket
	ConsoleFD int    // connected stream socket
}

// TSC describes a processor's time stamp counter.
type TSC struct {
	KHz    int  // its rate; 0: unknown
	Steady bool // it is the same on all processors, always
}

// Disk is one virtio-blk device.
type Disk struct {
	Serial   string // at most 20 bytes: what the guest finds the disk by
	ReadOnly bool
	Size     int64 // bytes
	FD       int
}

// longest is the size in bytes of the largest disk that QEMU writes to.
func (l Layout) longest() uint64 {
	n := int64(0)
	for _, d := range l.Disks {
		if !d.ReadOnly {
			n = max(n, d.Size)
		}
	}
	return uint64(n)
}

// baseCmdline is what every guest kernel is told.
//
//   - reboot and panic end QEMU at once (-no-reboot), the caller sees it.
//   - The console is a serial port: it works from the kernel's first line, and is
//     slow, hence "quiet".
//   - Memory that the machine is given later is used at once, and none is set
//     aside for devices that could not reach it.
//   - What is not the kernel's it gives to PID 1: with no other programs that want
//     the processor, Go need not interrupt its goroutines, which costs signals.
//   - The rest spares the probing for hardware that the machine does not have.
const baseCmdline = "console=ttyS0 quiet panic=-1 reboot=t rdinit=/init random.trust_cpu=on " +
	"cryptomgr.notests raid=noautodetect 8250.nr_uarts=1 i8042.noaux i8042.nopnp memhp_default_state=online swiotlb=noforce " +
	"GODEBUG=asyncpreemptoff=1"

// emulatedCmdline is added under emulation, where a kernel's changes to its own
// code are what its start takes longest for: its relocation to a random address
// alone is a tenth of it. The mitigations are against processors that an
// emulated one is not.
const emulatedCmdline = " nokaslr noreplace-smp mitigations=off no_timer_check"

// maxDevices is the number of PCI functions on q35's root bus that a device can
// have: slots 1 to 30, eight functions each. Slot 0 is the host bridge and 31
// the chipset.
const maxDevices = 30 * 8

// Args returns QEMU's arguments, without the program's name.
func Args(l Layout) ([]string, error) {
	m := l.Machine
	if n := l.devices(); n > maxDevices {
		return nil, fmt.Errorf("a virtual machine has room for %d devices, not %d", maxDevices, n)
	}
	if want := l.taps(); len(l.TapFDs) != want {
		return nil, fmt.Errorf("%d network interfaces but %d taps", want, len(l.TapFDs))
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
	}
	args = append(args, l.memoryArgs()...)
	accel, err := accelArgs(m)
	if err != nil {
		return nil, err
	}
	args = append(args, accel...)
	if l.Firmware != "" {
		args = append(args, "-bios", escape(l.Firmware))
	}
	args = append(args,
		"-smp", strconv.Itoa(max(1, m.CPUs)),
		"-kernel", escape(l.Kernel), "-initrd", escape(l.Initramfs),
		"-append", cmdline(m, l.TSC),
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", l.QMPFD), "-mon", "chardev=qmp,mode=control",
		"-chardev", fmt.Sprintf("socket,id=console,fd=%d", l.ConsoleFD), "-serial", "chardev:console",
	)
	var bus pci
	args = append(args,
		"-device", "virtio-serial-pci,id=serial,max_ports=2,"+bus.next(),
		"-chardev", fmt.Sprintf("socket,id=link,fd=%d", l.LinkFD),
		"-device", "virtserialport,bus=serial.0,nr=1,chardev=link,name="+link.PortName,
	)
	args = append(args, "-device", "virtio-balloon-pci,id=balloon,free-page-reporting=on,"+bus.next())
	if l.Slots != nil {
		return append(args, l.slotArgs(&bus)...), nil
	}
	for i, d := range l.Disks {
		args = append(args, diskArgs(i, d, &bus)...)
	}
	for i, fd := range l.TapFDs {
		args = append(args, nicArgs(i, fd, m.Interfaces[i].MAC, &bus)...)
	}
	return args, nil
}

// devices is the number of PCI functions that the machine's devices take.
func (l Layout) devices() int {
	n := 2 + len(l.Disks) + len(l.TapFDs)
	if l.Slots != nil {
		n += slotDevices // more than it takes: some are among the others
	}
	return n
}

// taps is the number of taps that the machine needs.
func (l Layout) taps() int {
	if l.Slots != nil {
		return max(1, len(l.Machine.Interfaces))
	}
	return len(l.Machine.Interfaces)
}

// nicArgs describes network interface i, whose tap QEMU gets open.
func nicArgs(i, fd int, mac string, bus *pci) []string {
	return []string{
		"-netdev", fmt.Sprintf("tap,id=net%d,fd=%d,vhost=off", i, fd),
		"-device", fmt.Sprintf("virtio-net-pci,netdev=net%d,mac=%s,romfile=,%s", i, escape(mac), bus.next()),
	}
}

// cmdline is the guest kernel's command line; what the user adds comes last.
func cmdline(m shimapi.Machine, tsc TSC) string {
	line := baseCmdline
	if m.Accel == "tcg" {
		line += emulatedCmdline
		if tsc.KHz > 0 {
			line += " tsc_early_khz=" + strconv.Itoa(tsc.KHz)
		}
		if tsc.Steady {
			line += " tsc=reliable"
		}
	}
	return strings.TrimSpace(line + " " + m.Cmdline)
}

// accelArgs chooses accelerator and processor.
func accelArgs(m shimapi.Machine) ([]string, error) {
	switch m.Accel {
	case "kvm":
		return []string{"-accel", "kvm", "-cpu", "host"}, nil
	case "tcg":
		// tb-size bounds the memory (MiB) for translated code. Without the
		// features, programs copy memory by instructions that emulation runs
		// byte by byte, and the kernel walks page tables of five levels.
		return []string{"-accel", fmt.Sprintf("tcg,thread=multi,tb-size=%d", translated(m)), "-cpu", "max,-erms,-fsrm,-la57"}, nil
	}
	return nil, fmt.Errorf("unknown accelerator %q: use kvm or tcg", m.Accel)
}

// translated is the memory in MiB for an emulated machine's translated code. A
// container's start translates 50; with room for 24 it takes half as long again, and
// an idle machine has 25 MiB less.
func translated(m shimapi.Machine) int64 { return min(max(mebibytes(m.Memory)/16, 24), 128) }

// diskArgs describes disk i, whose file QEMU gets as a descriptor set.
func diskArgs(i int, d Disk, bus *pci) []string {
	set := i + 1
	block := fmt.Sprintf("driver=raw,node-name=disk%d,read-only=%s,file.driver=file,file.filename=/dev/fdset/%d,file.locking=off", i, onOff(d.ReadOnly), set)
	if !d.ReadOnly {
		block += ",discard=unmap,file.discard=unmap"
	}
	return []string{
		"-add-fd", fmt.Sprintf("fd=%d,set=%d", d.FD, set),
		"-blockdev", block,
		"-device", diskDevice(i, d, bus),
	}
}

// diskDevice describes the device of disk i.
func diskDevice(i int, d Disk, bus *pci) string {
	device := fmt.Sprintf("virtio-blk-pci,drive=disk%d,serial=%s,%s", i, escape(d.Serial), bus.next())
	if !d.ReadOnly {
		// Where the host's disk is full the guest is to see an error; QEMU would
		// stop the machine, without a word, until somebody makes it go on.
		device += ",werror=report"
	}
	return device
}

// pci hands out addresses on the root bus, eight functions to a slot.
type pci struct{ used int }

func (p *pci) next() string {
	slot, function := 1+p.used/8, p.used%8
	p.used++
	address := fmt.Sprintf("disable-legacy=on,addr=0x%x.%d", slot, function)
	if function == 0 {
		address += ",multifunction=on"
	}
	return address
}

func mebibytes(n int64) int64 { return (n + 1<<20 - 1) >> 20 }

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// escape doubles commas, which separate QEMU's options.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
