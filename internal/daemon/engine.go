package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/moby/moby/api/types/container"

	"bothy/internal/engine"
	"bothy/internal/network"
)

// OpenEngine is the Opener of the real engine.
func OpenEngine(ctx context.Context, cfg Config, log *slog.Logger) (Engine, error) {
	opts, err := cfg.engineOptions()
	if err != nil {
		return nil, err
	}
	opts.Log = log
	bridge, err := lockBridge(cfg.Bridge)
	if err != nil {
		return nil, err
	}
	e, err := engine.Open(ctx, opts)
	if err != nil {
		_ = bridge.Close()
		return nil, err
	}
	return lockedEngine{e, bridge}, nil
}

// lockedEngine is an engine that has its bridge for itself.
type lockedEngine struct {
	*engine.Engine
	bridge io.Closer
}

// Close ends the engine and lets go of its bridge.
func (e lockedEngine) Close() error {
	return errors.Join(e.Engine.Close(), e.bridge.Close())
}

// engineOptions says the same in the engine's words. The configuration is
// complete.
func (c *Config) engineOptions() (engine.Options, error) {
	home, err := c.isolation()
	if err != nil {
		return engine.Options{}, err
	}
	return engine.Options{
		DataRoot:           c.DataRoot,
		ExecRoot:           c.ExecRoot,
		Shim:               c.Shim,
		Isolation:          container.Isolation(home),
		Network:            c.networkOptions(),
		RegistryConfig:     registryConfig(),
		InsecureRegistries: c.InsecureRegistries,
		Labels:             c.Labels,
		Debug:              c.Debug,
		LogConfig:          container.LogConfig{Type: c.LogDriver, Config: c.LogOptions},
		CgroupParent:       c.CgroupParent,
		Trace:              c.Trace,
		VM: engine.VMOptions{
			QEMU:      c.VMQEMU,
			Kernel:    c.VMKernel,
			Accel:     c.VMAccel,
			DiskSize:  int64(c.VMDiskSize),
			Memory:    int64(c.VMMemory),
			CPUs:      c.VMCPUs,
			Templates: c.VMTemplates,
			OwnMemory: c.VMOwnMemory,
			Pool:      int(c.VMPool),
		},
	}, nil
}

func (c *Config) networkOptions() network.Options {
	opts := network.Options{
		StateDir: c.DataRoot,
		Bridge:   c.Bridge,
		MTU:      c.MTU,
		DNS:      network.DNS{Servers: c.DNS, Search: c.DNSSearch, Options: c.DNSOptions},
	}
	if c.Bridge != Defaults().Bridge {
		opts.Table = "bothy_" + c.Bridge // each bothyd of a machine has its own
	}
	if c.BIP != "" {
		opts.BIP = netip.MustParsePrefix(c.BIP)
	}
	for _, pool := range c.AddressPools {
		opts.Pools = append(opts.Pools, network.Pool{Base: netip.MustParsePrefix(pool.Base), Size: pool.Size})
	}
	return opts
}

// registryConfig gives the directories with a certs.d layout that are there:
// bothy's own, then containerd's and docker's.
func registryConfig() []string {
	var dirs []string
	for _, dir := range []string{"/etc/bothy/certs.d", "/etc/containerd/certs.d", "/etc/docker/certs.d"} {
		if info, err := os.Stat(filepath.Clean(dir)); err == nil && info.IsDir() {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}
