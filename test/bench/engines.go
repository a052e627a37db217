package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The ways in which a bothyd makes machines, as daemon.json has them.
var (
	bootSettings     = map[string]any{"vm-templates": false, "vm-pool": 0}
	templateSettings = map[string]any{"vm-templates": true, "vm-pool": 0}
	poolSettings     = map[string]any{"vm-templates": true, "vm-pool": 1}
)

// plain is a bothyd without machines that it keeps.
func (l *lab) plain(ctx context.Context) (*engine, error) {
	return l.bothy(ctx, "plain", bootSettings)
}

// bothy is a bothyd with the busybox image, on directories of its own.
func (l *lab) bothy(ctx context.Context, name string, settings map[string]any) (*engine, error) {
	return l.engine("bothy "+name, func() (*engine, error) { return l.startBothy(ctx, name, settings) })
}

func (l *lab) startBothy(ctx context.Context, name string, settings map[string]any) (*engine, error) {
	root, run := filepath.Join(l.disk, name), filepath.Join(l.run, name)
	for _, dir := range []string{root, run} {
		if err := os.Mkdir(dir, 0o711); err != nil {
			return nil, err
		}
	}
	file, socket := filepath.Join(root, "daemon.json"), filepath.Join(run, "bothy.sock")
	if err := l.configure(ctx, file, settings); err != nil {
		return nil, err
	}
	e := &engine{env: []string{"DOCKER_HOST=unix://" + socket, "DOCKER_CONFIG=" + root}, cli: []string{filepath.Join(l.bin, "bothy")}, run: run}
	var err error
	e.pid, err = l.daemon(ctx, root, socket, e.removeAll, filepath.Join(l.bin, "bothyd"), "--data-root", filepath.Join(root, "data"), "--exec-root", run,
		"--pidfile", filepath.Join(run, "pid"), "--config-file", file, "--bridge", "bench"+name, "-H", "unix://"+socket)
	if err != nil {
		return nil, err
	}
	_, err = e.do(ctx, "import", l.busybox(), "busybox")
	return e, err
}

// configure writes a daemon.json. A bothyd that has no such settings boots every
// machine, and that is all that can be asked of it.
func (l *lab) configure(ctx context.Context, file string, settings map[string]any) error {
	data, err := json.Marshal(settings)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return err
	}
	out, err := command(ctx, nil, []string{filepath.Join(l.bin, "bothyd"), "--validate", "--config-file", file}).CombinedOutput()
	if err == nil {
		return nil
	}
	if settings["vm-templates"] != false {
		return fmt.Errorf("%w: %s", err, out)
	}
	return os.WriteFile(file, []byte("{}\n"), 0o644)
}

// docker is Docker's engine, where dockerd is installed.
func (l *lab) docker(ctx context.Context) (*engine, error) {
	return l.engine("docker", func() (*engine, error) {
		dockerd, err := exec.LookPath("dockerd")
		if err != nil {
			return nil, err
		}
		root, run := filepath.Join(l.disk, "docker"), filepath.Join(l.run, "docker")
		for _, dir := range []string{root, run} {
			if err := os.Mkdir(dir, 0o711); err != nil {
				return nil, err
			}
		}
		file, socket := filepath.Join(root, "daemon.json"), filepath.Join(run, "docker.sock")
		if err := os.WriteFile(file, []byte("{}\n"), 0o644); err != nil {
			return nil, err
		}
		e := &engine{env: []string{"DOCKER_HOST=unix://" + socket, "DOCKER_CONFIG=" + root}, cli: []string{"docker"}}
		e.pid, err = l.daemon(ctx, root, socket, e.removeAll, dockerd, "--data-root", filepath.Join(root, "data"), "--exec-root", filepath.Join(run, "exec"),
			"--pidfile", filepath.Join(run, "pid"), "--config-file", file, "-H", "unix://"+socket)
		if err != nil {
			return nil, err
		}
		_, err = e.do(ctx, "import", l.busybox(), "busybox")
		return e, err
	})
}

// podman is a store for Podman, with runc: crun refuses a host whose cgroups are
// in part v1.
func (l *lab) podman(ctx context.Context) (*engine, error) {
	return l.engine("podman", func() (*engine, error) {
		podman, err := exec.LookPath("podman")
		if err != nil {
			return nil, err
		}
		root := filepath.Join(l.disk, "podman")
		e := &engine{cli: []string{podman, "--root", root, "--runroot", filepath.Join(l.run, "podman"), "--runtime", "runc", "--cgroup-manager", "cgroupfs"}}
		l.later(func() {
			limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
			defer cancel()
			_, _ = e.do(limited, "system", "reset", "--force")
			_ = exec.Command("umount", "-R", filepath.Join(root, "overlay")).Run()
		})
		_, err = e.do(ctx, "import", l.busybox(), "localhost/busybox")
		return e, err
	})
}

// podmanRun are the arguments of a run: Podman asks for more open files than a
// shell's limit may allow.
func podmanRun(flags ...string) []string {
	args := append([]string{"run", "--rm", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"}, flags...)
	return append(args, "localhost/busybox", "echo", "hi")
}

// runc is a bundle that is ready, and the runtime with no engine around it.
func (l *lab) runc(ctx context.Context) (argv []string, err error) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		return nil, err
	}
	bundle := filepath.Join(l.disk, "bundle")
	rootfs := filepath.Join(bundle, "rootfs")
	if err := os.MkdirAll(rootfs, 0o755); err != nil {
		return nil, err
	}
	for _, argv := range [][]string{{"tar", "-xf", l.busybox(), "-C", rootfs}, {runc, "spec", "--bundle", bundle}} {
		if out, err := command(ctx, nil, argv).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %w: %s", argv, err, out)
		}
	}
	file := filepath.Join(bundle, "config.json")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var config map[string]any
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	process, ok := config["process"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s has no process", file)
	}
	process["args"], process["terminal"] = strings.Fields("echo hi"), false
	if data, err = json.Marshal(config); err != nil {
		return nil, err
	}
	return []string{runc, "--root", filepath.Join(l.run, "runc"), "run", "--bundle", bundle, "bothy-bench"}, os.WriteFile(file, data, 0o644)
}
