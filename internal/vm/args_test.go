package vm

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bothy/internal/shimapi"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestArgs(t *testing.T) {
	t.Parallel()
	layers := func(n int) (disks []Disk) {
		for i := range n {
			disks = append(disks, Disk{Serial: fmt.Sprint("l", i), ReadOnly: true, FD: 8 + i})
		}
		return append(disks, Disk{Serial: "rw", FD: 8 + n})
	}
	base := Layout{
		Machine:   shimapi.Machine{Accel: "tcg", Memory: 256 << 20, CPUs: 1},
		Kernel:    "/proc/self/fd/6",
		Initramfs: "/proc/self/fd/7",
		QMPFD:     3, LinkFD: 4, ConsoleFD: 5,
	}
	network := base
	network.Machine = shimapi.Machine{
		Accel: "kvm", Memory: 1<<30 + 1, CPUs: 4, Cmdline: "bothy.debug a=b,c",
		Interfaces: []shimapi.Interface{{Name: "eth0", MAC: "02:42:ac:11:00:02"}, {Name: "eth1", MAC: "02:42:ac:12:00:02"}},
	}
	network.Disks = layers(2)
	network.TapFDs = []int{11, 12}
	many := base
	many.TSC = TSC{KHz: 2596000, Steady: true}
	many.Firmware = "/usr/share/qemu/qboot.rom"
	many.Disks = layers(127)
	many.Machine.MaxMemory = 8<<30 + 1
	making := base
	making.Slots = &Slots{MemoryFD: 9, Share: true}
	making.Machine.MaxMemory = 8 << 30
	making.Disks = []Disk{{Serial: "l0", ReadOnly: true, FD: 10}, {Serial: "rw", FD: 11}}
	making.TapFDs = []int{12}
	restored := network
	restored.Slots = &Slots{MemoryFD: 13, Incoming: true}
	restored.Disks = append(layers(10)[:10], Disk{Serial: "old", FD: 18})
	for name, l := range map[string]Layout{"bare": base, "network": network, "layers": many, "template": making, "restored": restored} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args, err := Args(l)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "args-"+name+".golden", strings.Join(args, "\n")+"\n")
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew), got:\n%s", path, got)
	}
}

func TestArgsRefuses(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]Layout{
		"accelerator": {Machine: shimapi.Machine{Accel: "xen"}},
		"disks":       {Machine: shimapi.Machine{Accel: "tcg"}, Disks: make([]Disk, maxDevices)},
		"taps":        {Machine: shimapi.Machine{Accel: "tcg"}, TapFDs: []int{3}},
	} {
		if args, err := Args(l); err == nil {
			t.Errorf("%s: got %q", name, args)
		}
	}
}
