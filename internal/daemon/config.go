// Package daemon turns bothyd's flags and daemon.json into a running engine
// that is served on sockets: configuration, locks, listeners, signals, and the
// wiring of engine and API.
//
// Options are named as dockerd names them, so that what starts a dockerd can
// start a bothyd. An option that bothyd does not have is refused.
package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/docker/go-units"
)

// Config is bothyd's configuration. Its JSON names are the keys of daemon.json;
// paths are absolute.
type Config struct {
	Hosts    []string `json:"hosts"`     // listen addresses, "unix:///run/bothy/bothy.sock"
	Group    string   `json:"group"`     // owns the sockets; a name or a number
	DataRoot string   `json:"data-root"` // what outlives a reboot
	ExecRoot string   `json:"exec-root"` // what does not
	Pidfile  string   `json:"pidfile"`

	Debug     bool   `json:"debug"`
	LogLevel  string `json:"log-level"`  // debug, info, warn, error, fatal
	LogFormat string `json:"log-format"` // text, json
	Trace     string `json:"trace"`      // a file for the phases of every start; "": none

	Bridge       string        `json:"bridge"` // the bridge's name
	BIP          string        `json:"bip"`    // the bridge's address and subnet, CIDR
	AddressPools []AddressPool `json:"default-address-pools"`
	DNS          []string      `json:"dns"`
	DNSSearch    []string      `json:"dns-search"`
	DNSOptions   []string      `json:"dns-opts"`
	MTU          int           `json:"mtu"` // 0: that of the host's way out

	InsecureRegistries []string          `json:"insecure-registries"`
	ExecOptions        []string          `json:"exec-opts"`     // "isolation=vm"
	CgroupParent       string            `json:"cgroup-parent"` // a path below the cgroup root; "": the engine's choice
	Labels             []string          `json:"labels"`
	LogDriver          string            `json:"log-driver"`
	LogOptions         map[string]string `json:"log-opts"`

	Shim        string `json:"shim"` // the shim program; "": beside bothyd, then on PATH
	VMKernel    string `json:"vm-kernel"`
	VMQEMU      string `json:"vm-qemu"`
	VMAccel     string `json:"vm-accel"`      // kvm, tcg; "": probed
	VMDiskSize  Size   `json:"vm-disk-size"`  // of a VM's writable disk
	VMMemory    Size   `json:"vm-memory"`     // of a VM whose container has no limit; 0: the engine's choice
	VMCPUs      int    `json:"vm-cpus"`       // likewise
	VMTemplates bool   `json:"vm-templates"`  // VMs go on from templates
	VMOwnMemory bool   `json:"vm-own-memory"` // no VM shares memory with another
	VMPool      VMPool `json:"vm-pool"`       // how many VMs wait
}

// AddressPool is a range that networks get their subnets from.
type AddressPool struct {
	Base string `json:"base"` // CIDR
	Size int    `json:"size"` // prefix length of each subnet
}

// Size is a number of bytes, written as a number or with a unit ("10GB",
// "512MiB").
type Size int64

// DefaultConfigFile is read if it is there; another must be.
const DefaultConfigFile = "/etc/bothy/daemon.json"

// defaultGroup may use the sockets if it exists; another group must.
const defaultGroup = "bothy"

// Defaults gives the configuration of a bothyd that is told nothing.
func Defaults() Config {
	return Config{
		Group:      defaultGroup,
		DataRoot:   "/var/lib/bothy",
		ExecRoot:   "/run/bothy",
		Pidfile:    "/run/bothy/bothyd.pid",
		LogLevel:   "info",
		LogFormat:  "text",
		Bridge:     "bothy0",
		LogDriver:  "json-file",
		VMDiskSize: 10 * units.GB,

		VMTemplates: true,
		VMPool:      poolAuto,
	}
}

// defaultHost is listened on where no host is named.
const defaultHost = "unix:///run/bothy/bothy.sock"

// complete fills in what has no flag's default and checks every value that can
// be checked without touching the machine. All problems are reported at once.
func (c *Config) complete() error {
	if len(c.Hosts) == 0 {
		c.Hosts = []string{defaultHost}
	}
	var errs []error
	problem := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for i, host := range c.Hosts {
		path, err := socketPath(host)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.Hosts[i] = "unix://" + path
	}
	if c.Trace != "" && !filepath.IsAbs(c.Trace) {
		problem("--trace %q is not an absolute path", c.Trace)
	}
	for name, path := range map[string]*string{"data-root": &c.DataRoot, "exec-root": &c.ExecRoot, "pidfile": &c.Pidfile} {
		if !filepath.IsAbs(*path) {
			problem("--%s %q is not an absolute path", name, *path)
		}
		*path = filepath.Clean(*path)
	}
	if _, err := logLevel(c.LogLevel); err != nil {
		errs = append(errs, err)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		problem("--log-format %q: choose text or json", c.LogFormat)
	}
	if _, err := c.isolation(); err != nil {
		errs = append(errs, err)
	}
	if c.CgroupParent != "" {
		c.CgroupParent = filepath.Join("/", c.CgroupParent) // which also keeps it below the root
	}
	errs = append(errs, c.checkNetwork()...)
	for _, label := range c.Labels {
		if key, _, ok := strings.Cut(label, "="); !ok || key == "" {
			problem("--label %q has no value: write it as key=value", label)
		}
	}
	if c.VMAccel != "" && c.VMAccel != "kvm" && c.VMAccel != "tcg" {
		problem("--vm-accel %q: choose kvm or tcg, or leave it out to have it probed", c.VMAccel)
	}
	if c.VMDiskSize < 0 || c.VMMemory < 0 || c.VMCPUs < 0 {
		problem("--vm-disk-size, --vm-memory and --vm-cpus cannot be negative")
	}
	return errors.Join(errs...)
}

func (c *Config) checkNetwork() []error {
	var errs []error
	problem := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Bridge == "none" {
		problem("--bridge none: bothyd always has a default network so far; containers without one are run with --network none")
	} else if !validLink(c.Bridge) {
		problem("--bridge %q: a link's name has 1 to %d letters, digits, and any of ._-", c.Bridge, maxLink)
	}
	if c.BIP != "" {
		if _, err := netip.ParsePrefix(c.BIP); err != nil {
			problem("--bip %q is no address with a prefix length, as in 172.17.0.1/16", c.BIP)
		}
	}
	for _, pool := range c.AddressPools {
		base, err := netip.ParsePrefix(pool.Base)
		if err != nil || pool.Size < base.Bits() || pool.Size > base.Addr().BitLen() {
			problem("--default-address-pool base=%s,size=%d: base is a CIDR, and size a prefix length within it", pool.Base, pool.Size)
		}
	}
	for _, server := range c.DNS {
		if _, err := netip.ParseAddr(server); err != nil {
			problem("--dns %q is not an IP address", server)
		}
	}
	if c.MTU != 0 && (c.MTU < 68 || c.MTU > 65535) {
		problem("--mtu %d: choose from 68 to 65535, or 0 for that of the host's way out", c.MTU)
	}
	return errs
}

// maxLink is what the kernel takes for a link's name, in bytes.
const maxLink = 15

func validLink(name string) bool {
	const chars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	return name != "" && len(name) <= maxLink && name != "." && name != ".." && strings.Trim(name, chars) == ""
}

// isolation reads the exec options: the home of containers that name none, ""
// for the engine's own choice.
func (c *Config) isolation() (string, error) {
	home := ""
	for _, option := range c.ExecOptions {
		key, value, _ := strings.Cut(option, "=")
		switch {
		case key == "isolation" && (value == "vm" || value == "process" || value == "hyperv" || value == "default"):
			home = value
		case key == "isolation":
			return "", fmt.Errorf("--exec-opt isolation=%s: choose process or vm", value)
		case option == "native.cgroupdriver=cgroupfs": // what bothy does
		default:
			return "", fmt.Errorf("--exec-opt %q: bothyd knows isolation=process, isolation=vm and native.cgroupdriver=cgroupfs", option)
		}
	}
	return home, nil
}

// parsePool reads "base=10.0.0.0/8,size=24".
func parsePool(text string) (AddressPool, error) {
	var pool AddressPool
	for _, field := range strings.Split(text, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch key {
		case "base":
			pool.Base = value
		case "size":
			if _, err := fmt.Sscanf(value+" ", "%d ", &pool.Size); err != nil {
				return pool, fmt.Errorf("size=%q is not a number", value)
			}
		default:
			return pool, fmt.Errorf("%q: write base=10.0.0.0/8,size=24", text)
		}
	}
	if pool.Base == "" || pool.Size == 0 {
		return pool, fmt.Errorf("%q: both are needed, as in base=10.0.0.0/8,size=24", text)
	}
	return pool, nil
}
