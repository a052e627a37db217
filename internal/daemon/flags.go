package daemon

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/pflag"
)

// fileKeys are the keys of daemon.json that are not their flag's name.
func fileKeys() map[string]string {
	return map[string]string{
		"hosts": "host", "default-address-pools": "default-address-pool", "dns-opts": "dns-opt",
		"insecure-registries": "insecure-registry", "exec-opts": "exec-opt", "labels": "label", "log-opts": "log-opt",
	}
}

// bind adds a flag for each field of c, whose present value is the default.
func (c *Config) bind(f *pflag.FlagSet) {
	f.StringArrayVarP(&c.Hosts, "host", "H", nil, "Socket to listen on, unix:///PATH (default "+defaultHost+")")
	f.StringVarP(&c.Group, "group", "G", c.Group, "Group that may use the socket")
	f.StringVar(&c.DataRoot, "data-root", c.DataRoot, "Directory of images and containers")
	f.StringVar(&c.ExecRoot, "exec-root", c.ExecRoot, "Directory of sockets and other state that ends with a reboot")
	f.StringVarP(&c.Pidfile, "pidfile", "p", c.Pidfile, "File that holds bothyd's process ID")

	f.BoolVarP(&c.Debug, "debug", "D", c.Debug, "Log at level debug")
	f.StringVarP(&c.LogLevel, "log-level", "l", c.LogLevel, "Log level: debug, info, warn, error, fatal")
	f.StringVar(&c.LogFormat, "log-format", c.LogFormat, "Log format: text, json")
	f.StringVar(&c.Trace, "trace", c.Trace, "File that the phases of every start are added to")

	f.StringVarP(&c.Bridge, "bridge", "b", c.Bridge, "Name of the default network's bridge")
	f.StringVar(&c.BIP, "bip", c.BIP, "Address and subnet of the default network's bridge, as in 172.17.0.1/16")
	f.Var((*poolsFlag)(&c.AddressPools), "default-address-pool", "Range that networks get their subnets from, base=CIDR,size=BITS")
	f.StringArrayVar(&c.DNS, "dns", nil, "Name server of containers")
	f.StringArrayVar(&c.DNSSearch, "dns-search", nil, "Search domain of containers")
	f.StringArrayVar(&c.DNSOptions, "dns-opt", nil, "Resolver option of containers")
	f.IntVar(&c.MTU, "mtu", c.MTU, "MTU of the default network; 0: that of the host's way out, at most 1500")

	f.StringArrayVar(&c.InsecureRegistries, "insecure-registry", nil, "Registry, or network of registries, that may be reached without TLS")
	f.StringArrayVar(&c.ExecOptions, "exec-opt", nil, "Execution option: isolation=process or isolation=vm is the home of containers that name none")
	f.StringVar(&c.CgroupParent, "cgroup-parent", c.CgroupParent, "Cgroup below which containers get theirs")
	f.StringArrayVar(&c.Labels, "label", nil, "Label of this host, key=value")
	f.StringVar(&c.LogDriver, "log-driver", c.LogDriver, "Log driver of containers that name none: json-file, none")
	f.Var((*mapFlag)(&c.LogOptions), "log-opt", "Option of that log driver, key=value")

	f.StringVar(&c.Shim, "shim", c.Shim, "Path of containerd-shim-bothy-v2 (default: beside bothyd, then on PATH)")
	f.StringVar(&c.VMKernel, "vm-kernel", c.VMKernel, "Kernel of virtual machines (default: the newest found)")
	f.StringVar(&c.VMQEMU, "vm-qemu", c.VMQEMU, "QEMU of virtual machines (default: the one on PATH)")
	f.StringVar(&c.VMAccel, "vm-accel", c.VMAccel, "Accelerator of virtual machines: kvm, tcg (default: probed)")
	f.Var(&c.VMDiskSize, "vm-disk-size", "Size of a virtual machine's writable disk")
	f.Var(&c.VMMemory, "vm-memory", "Memory of a virtual machine whose container has no --memory (default: 2GiB, at most half of the host's)")
	f.IntVar(&c.VMCPUs, "vm-cpus", c.VMCPUs, "CPUs of a virtual machine (default: the host's)")
	f.BoolVar(&c.VMOwnMemory, "vm-own-memory", c.VMOwnMemory, "Give each virtual machine a copy of its template's memory, so that none shares memory with another")
	f.BoolVar(&c.VMTemplates, "vm-templates", c.VMTemplates, "Start virtual machines from templates, which are made in the background")
	f.Var(&c.VMPool, "vm-pool", "Virtual machines that wait for the next container, for each size in use: auto, 0 for none, or a number")
}

// Set reads a size; see Size.
func (s *Size) Set(text string) error {
	n, err := parseSize(text)
	*s = Size(n)
	return err
}

func (s *Size) String() string {
	if *s == 0 {
		return "" // pflag then prints no default
	}
	return units.HumanSize(float64(*s))
}

// Type names the kind of value in the help text.
func (s *Size) Type() string { return "bytes" }

// UnmarshalJSON takes a number of bytes or a text with a unit.
func (s *Size) UnmarshalJSON(data []byte) error {
	var n int64
	if err := json.Unmarshal(data, &n); err == nil {
		*s = Size(n)
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("%s is no size: write it as \"10GB\"", data)
	}
	return s.Set(text)
}

// parseSize takes binary units with an i (MiB) and decimal ones without (MB).
// A single letter is binary, as in docker's --memory.
func parseSize(text string) (int64, error) {
	lower := strings.ToLower(text)
	parse := units.RAMInBytes
	if strings.HasSuffix(lower, "b") && !strings.HasSuffix(lower, "ib") {
		parse = units.FromHumanSize
	}
	n, err := parse(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no size: write it as 10GB or 512MiB", text)
	}
	return n, nil
}

// poolsFlag is --default-address-pool, given once for each pool.
type poolsFlag []AddressPool

func (p *poolsFlag) Set(text string) error {
	pool, err := parsePool(text)
	if err != nil {
		return err
	}
	*p = append(*p, pool)
	return nil
}

func (p *poolsFlag) String() string {
	var out []string
	for _, pool := range *p {
		out = append(out, "base="+pool.Base+",size="+strconv.Itoa(pool.Size))
	}
	return strings.Join(out, " ")
}

func (*poolsFlag) Type() string { return "pool" }

// mapFlag is a flag of the form key=value, given once for each key.
type mapFlag map[string]string

func (m *mapFlag) Set(text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return fmt.Errorf("%q: write it as key=value", text)
	}
	if *m == nil {
		*m = mapFlag{}
	}
	(*m)[key] = value
	return nil
}

func (m *mapFlag) String() string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(*m)) {
		out = append(out, key+"="+(*m)[key])
	}
	return strings.Join(out, " ")
}

func (*mapFlag) Type() string { return "key=value" }
