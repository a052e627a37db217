package vm

import (
	"encoding/json"
	"fmt"
	"os"
)

// sockets are the host's ends of what QEMU is connected to.
type sockets struct{ qmp, link *os.File }

// qbootPath is where QEMU's packages put a firmware that does nothing but start
// a kernel; QEMU's default one takes some tenths of a second longer.
const qbootPath = "/usr/share/qemu/qboot.rom"

// firstFD is the first descriptor that QEMU inherits beyond its standard ones.
const firstFD = 3

// inherited collects the files that QEMU gets.
type inherited struct {
	files []*os.File // in the order of their descriptors, from firstFD on
	own   []*os.File // to be closed once QEMU has them
}

// pass adds f and returns its descriptor in QEMU.
func (h *inherited) pass(f *os.File) int {
	h.files = append(h.files, f)
	return firstFD + len(h.files) - 1
}

// give is pass for a file that nobody else needs.
func (h *inherited) give(f *os.File) int {
	h.own = append(h.own, f)
	return h.pass(f)
}

func (h *inherited) close() {
	for _, f := range h.own {
		f.Close()
	}
}

// socket makes a socket pair, passes one end and returns the other.
func (h *inherited) socket() (ours *os.File, fd int, err error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, 0, err
	}
	return ours, h.give(theirs), nil
}

// start opens all that QEMU needs and starts it.
func (m *Machine) start(how arrangement) (s sockets, err error) {
	var h inherited
	var opened []*os.File
	defer h.close()
	defer func() {
		if err != nil {
			for _, f := range opened {
				f.Close()
			}
		}
	}()
	l := Layout{Machine: m.config.Machine}
	if l.Machine.Accel == "tcg" {
		l.TSC = hostTSC()
	}
	if _, err := os.Stat(qbootPath); err == nil {
		l.Firmware = qbootPath
	}
	var console *os.File
	for _, c := range []struct {
		ours **os.File
		fd   *int
	}{{&s.qmp, &l.QMPFD}, {&s.link, &l.LinkFD}, {&console, &l.ConsoleFD}} {
		if *c.ours, *c.fd, err = h.socket(); err != nil {
			return s, err
		}
		opened = append(opened, *c.ours)
	}
	if err = m.passFiles(&l, &h, how); err != nil {
		return s, err
	}
	args, err := Args(l)
	if err != nil {
		return s, err
	}
	log, err := os.OpenFile(consolePath(m.config.Bundle), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
	if err != nil {
		return s, fmt.Errorf("keeping the guest's console: %w", err)
	}
	opened = append(opened, log)
	machine := m.config.Machine
	program := program{
		path: machine.QEMU, args: args, uid: machine.UID, gid: machine.GID, groups: kvmGroups(machine.Accel),
		files: h.files, boot: []string{machine.Kernel, machine.Initramfs},
	}
	if how.state != nil && !how.own {
		program.memory = how.memory
	}
	m.process, err = startProcess(program)
	if err != nil {
		return s, err
	}
	if err = m.placed(l.longest()); err != nil {
		m.process.kill()
		<-m.process.done
		m.removePid()
		return s, err
	}
	go func() {
		keepConsole(log, console, &m.consoleTail)
		close(m.consoleEnd)
	}()
	return s, nil
}

// placed limits QEMU, records its process id and lets the caller put it in its
// place.
func (m *Machine) placed(longest uint64) error {
	if err := limit(m.process.pid, longest); err != nil {
		return err
	}
	if err := writePid(m.config.Bundle, m.process.pid); err != nil {
		return err
	}
	if m.config.Started == nil {
		return nil
	}
	if err := m.config.Started(m.process.pid); err != nil {
		return fmt.Errorf("placing QEMU: %w", err)
	}
	return nil
}

// passFiles opens kernel, initramfs and disks and passes them with the taps and
// what a template consists of.
func (m *Machine) passFiles(l *Layout, h *inherited, how arrangement) error {
	for _, f := range []struct {
		path string
		dest *string
	}{{m.config.Machine.Kernel, &l.Kernel}, {m.config.Machine.Initramfs, &l.Initramfs}} {
		file, err := openBootFile(f.path)
		if err != nil {
			return err
		}
		*f.dest = fmt.Sprintf("/proc/self/fd/%d", h.give(file))
	}
	serial := byIndex
	if how.memory != nil {
		serial = bySlot(m.config.Machine.Fresh)
		l.Slots = &Slots{MemoryFD: h.pass(how.memory), Share: how.state == nil || how.own, Incoming: how.state != nil}
	}
	if how.state != nil {
		m.stateFD = h.pass(how.state)
	}
	disks, err := openDisks(m.config.Rootfs, serial)
	if err != nil {
		return err
	}
	m.serials = serials(disks)
	for _, d := range disks {
		l.Disks = append(l.Disks, Disk{Serial: d.serial, ReadOnly: d.readOnly, Size: d.size, FD: h.give(d.file)})
	}
	taps := m.config.Taps
	for _, t := range taps[:min(l.taps(), len(taps))] {
		l.TapFDs = append(l.TapFDs, h.pass(t))
	}
	return nil
}

// arrangement says which devices a machine has, and how it comes up.
type arrangement struct {
	memory *os.File // not nil: it has slots, and this file is its memory
	state  *os.File // not nil: it goes on from this state of its devices
	own    bool     // nobody else has memory, which is what the state goes with
}

// shutdownReason puts the reason of QEMU's SHUTDOWN event in words.
func shutdownReason(data json.RawMessage) string {
	var d struct {
		Reason string `json:"reason"`
	}
	if json.Unmarshal(data, &d) != nil {
		return ""
	}
	switch d.Reason {
	case "guest-reset", "guest-panic":
		return "its guest kernel panicked or was reset"
	case "guest-shutdown":
		return "its guest powered off"
	}
	return fmt.Sprintf("QEMU was told to end (%.40s)", d.Reason)
}
