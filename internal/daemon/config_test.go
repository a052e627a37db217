package daemon

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// configure reads flags and the text of a daemon.json.
func configure(t *testing.T, file string, args ...string) (Config, error) {
	t.Helper()
	cfg := Defaults()
	flags := pflag.NewFlagSet("bothyd", pflag.ContinueOnError)
	cfg.bind(flags)
	if err := flags.Parse(args); err != nil {
		return cfg, err
	}
	if err := cfg.merge([]byte(file), flags); err != nil {
		return cfg, err
	}
	return cfg, cfg.complete()
}

func TestFlagsAndFile(t *testing.T) {
	t.Parallel()
	file := "\xef\xbb\xbf" + `{"debug": true, "hosts": ["unix:///tmp/b.sock"], "default-address-pools": [{"base":"10.0.0.0/8","size":24}],
		"dns-opts": ["ndots:1"], "insecure-registries": ["r:5000"], "exec-opts": ["isolation=vm"], "labels": ["a=b"], "log-opts": {"max-size": "1m"}, "vm-disk-size": "20GB", "vm-memory": 536870912}`
	cfg, err := configure(t, file, "-H", "", "--bip", "172.30.0.1/16")
	if err == nil {
		t.Error("hosts by flag and file were taken")
	}
	cfg, err = configure(t, file, "--bip", "172.30.0.1/16", "--dns", "1.1.1.1", "--dns", "9.9.9.9", "-l", "warn", "--mtu=1400", "--vm-cpus", "2", "--shim", "/s", "--cgroup-parent", "../x")
	if err != nil {
		t.Fatal(err)
	}
	opts, err := cfg.engineOptions()
	if err != nil {
		t.Fatal(err)
	}
	if !cfg.Debug || cfg.Hosts[0] != "unix:///tmp/b.sock" || cfg.LogLevel != "warn" || cfg.LogOptions["max-size"] != "1m" {
		t.Errorf("%+v", cfg)
	}
	if opts.Isolation != "vm" || opts.VM.DiskSize != 20e9 || opts.VM.Memory != 512<<20 || opts.VM.CPUs != 2 || opts.Shim != "/s" || opts.CgroupParent != "/x" || opts.LogConfig.Type != "json-file" {
		t.Errorf("%+v", opts)
	}
	if n := opts.Network; n.BIP != netip.MustParsePrefix("172.30.0.1/16") || len(n.Pools) != 1 || n.Pools[0].Size != 24 || len(n.DNS.Servers) != 2 || n.DNS.Options[0] != "ndots:1" || n.MTU != 1400 {
		t.Errorf("%+v", n)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"", " \n", "{}"} {
		cfg, err := configure(t, file)
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Hosts[0] != "unix:///run/bothy/bothy.sock" || cfg.DataRoot != "/var/lib/bothy" || cfg.Pidfile != "/run/bothy/bothyd.pid" || cfg.VMDiskSize != 10e9 {
			t.Errorf("%+v", cfg)
		}
	}
}

func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		want, file string
		args       []string
	}{
		{"the following directives don't match any configuration option: colour, host", `{"host": [], "colour": 1}`, nil},
		{"don't match any configuration option: validate", `{"validate": true}`, nil},
		{"the following directives are specified both as a flag and in the configuration file: debug: (from flag: true, from file: false)", `{"debug": false}`, []string{"-D"}},
		{"both as a flag and in the configuration file: labels", `{"labels": ["a=b"]}`, []string{"--label", "c=d"}},
		{"cannot unmarshal", `{"debug": "yes"}`, nil},
		{"invalid character", `{"debug": true} x`, nil},
		{"unexpected end", `{`, nil},
		{"is no size", `{"vm-disk-size": "big"}`, nil},
		{"does not listen on TCP yet", "", []string{"-H", "tcp://127.0.0.1:2375"}},
		{"does not take sockets from systemd", "", []string{"-H", "fd://"}},
		{"listens on Unix sockets", "", []string{"-H", "npipe:////./pipe/x"}},
		{"is no address to listen on", "", []string{"-H", "/run/x.sock"}},
		{"is not an absolute path", "", []string{"-H", "unix://x.sock"}},
		{"Linux takes 107 for a socket", "", []string{"-H", "unix:///" + strings.Repeat("x", 107)}},
		{"--data-root \"x\" is not an absolute path", "", []string{"--data-root", "x"}},
		{"--log-level \"loud\"", "", []string{"-l", "loud"}},
		{"--log-format \"xml\"", "", []string{"--log-format", "xml"}},
		{"choose process or vm", "", []string{"--exec-opt", "isolation=cloud"}},
		{"bothyd knows isolation=process", "", []string{"--exec-opt", "native.cgroupdriver=systemd"}},
		{"--bip \"172.17.0.1\"", "", []string{"--bip", "172.17.0.1"}},
		{"write base=", "", []string{"--default-address-pool", "10.0.0.0/8"}},
		{"a prefix length within it", "", []string{"--default-address-pool", "base=10.0.0.0/8,size=4"}},
		{"always has a default network", "", []string{"-b", "none"}},
		{"--bridge \"a/b\"", "", []string{"-b", "a/b"}},
		{"is not an IP address", "", []string{"--dns", "dns.example"}},
		{"--mtu 5", "", []string{"--mtu", "5"}},
		{"--label \"x\" has no value", "", []string{"--label", "x"}},
		{"write it as key=value", "", []string{"--log-opt", "x"}},
		{"--vm-accel \"hvf\"", "", []string{"--vm-accel", "hvf"}},
		{"cannot be negative", "", []string{"--vm-cpus", "-1"}},
	} {
		if _, err := configure(t, test.file, test.args...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q %q: %v, want %q", test.file, test.args, err, test.want)
		}
	}
}

func TestConfigFileThatIsNotThere(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "daemon.json")
	cfg, flags := Defaults(), pflag.NewFlagSet("", pflag.ContinueOnError)
	if err := cfg.readFile(missing, flags, false); err != nil {
		t.Errorf("the default one: %v", err)
	}
	if err := cfg.readFile(missing, flags, true); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("a named one: %v", err)
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	good := filepath.Join(t.TempDir(), "daemon.json")
	if err := os.WriteFile(good, []byte(`{"debug": true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args      []string
		out, fail string
	}{
		{args: []string{"--version"}, out: "bothyd version 1.2\n"},
		{args: []string{"-v"}, out: "bothyd version 1.2\n"},
		{args: []string{"--validate", "--config-file", good}, out: "configuration OK\n"},
		{args: []string{"--validate", "--config-file", good, "-D"}, fail: "both as a flag"},
		{args: []string{"--no-such"}, fail: "unknown flag: --no-such"},
		{args: []string{"serve"}, fail: `unknown command "serve"`},
	} {
		var out bytes.Buffer
		cmd := NewCommand("1.2", nil)
		cmd.SetArgs(test.args)
		cmd.SetOut(&out)
		err := cmd.ExecuteContext(t.Context())
		if test.fail == "" && err != nil || test.fail != "" && (err == nil || !strings.Contains(err.Error(), test.fail)) || out.String() != test.out {
			t.Errorf("%q: %q, %v", test.args, out.String(), err)
		}
	}
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte(`{"hosts":["unix:///x"],"vm-memory":"1g","default-address-pools":[{"base":"::/0","size":64}]}`))
	f.Add([]byte(`{"debug":null}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		cfg := Defaults()
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		cfg.bind(flags)
		if cfg.merge(file, flags) == nil && cfg.complete() == nil {
			if _, err := cfg.engineOptions(); err != nil {
				t.Errorf("%s: complete, and yet %v", file, err)
			}
		}
	})
}
