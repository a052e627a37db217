package vm

import (
	"fmt"
	"os"
	"strings"

	"bothy/internal/shimapi"
)

// Fingerprint identifies how machines with slots are built, whatever their
// sizes: what QEMU is told of them and the firmware that it starts them with.
// A template is of use only to machines with the same; what kernel, initramfs
// and QEMU are is not in it.
func Fingerprint(m shimapi.Machine) (string, error) {
	l := Layout{
		Machine: shimapi.Machine{Accel: m.Accel, Cmdline: m.Cmdline, Memory: 1 << 30, MaxMemory: m.MaxMemory, CPUs: 1},
		TapFDs:  []int{0}, Slots: &Slots{Share: true}, Kernel: "kernel", Initramfs: "initramfs",
	}
	firmware := ""
	if st, err := os.Stat(qbootPath); err == nil {
		l.Firmware = qbootPath
		firmware = fmt.Sprintf("%d bytes of %s", st.Size(), st.ModTime().UTC())
	}
	args, err := Args(l)
	if err != nil {
		return "", err
	}
	return strings.Join(args, "\n") + "\n" + firmware, nil
}

// ClockRate is the rate of this host's time stamp counter in kHz, which a
// template remembers: 0 if it is unknown. Two looks differ by less than 1 ‰.
func ClockRate() int { return hostTSC().KHz }
