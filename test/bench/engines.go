package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

const startLimit = 60 * time.Second

// startBothy starts bothyd on roots of its own with the busybox image in it.
func startBothy(p plan) ([]*contender, func(), error) {
	bin, err := filepath.Abs("bin")
	if err != nil {
		return nil, nil, err
	}
	root := filepath.Join(p.dir, "bothy")
	socket := filepath.Join(root, "bothy.sock")
	stop, err := startDaemon(root, socket, filepath.Join(bin, "bothyd"), "--data-root", filepath.Join(root, "data"), "--exec-root", filepath.Join(root, "run"),
		"--pidfile", filepath.Join(root, "pid"), "--config-file", filepath.Join(root, "daemon.json"), "--bridge", "bothybench", "-H", "unix://"+socket)
	if err != nil {
		return nil, nil, err
	}
	env := []string{"DOCKER_HOST=unix://" + socket, "DOCKER_CONFIG=" + root}
	cli := filepath.Join(bin, "bothy")
	if err := do(env, cli, "import", p.busybox, "busybox"); err != nil {
		stop()
		return nil, nil, err
	}
	run := func(name string, rounds int, flags ...string) *contender {
		return &contender{name: name, rounds: rounds, env: env, command: append(append([]string{cli, "run", "--rm"}, flags...), "busybox", "echo", "hi")}
	}
	vm := run("bothy vm", p.vmRounds, "--isolation", "vm")
	vm.kind = machines
	contenders := []*contender{
		run("bothy process", p.rounds),
		run("bothy process, no network", p.rounds, "--network", "none"),
		vm,
		importing("bothy", p, env, cli),
	}
	if bare, err := bareMachines(env, cli, filepath.Join(root, "run"), p.vmRounds); err == nil {
		contenders = append(contenders, bare...)
	} else {
		contenders = append(contenders, &contender{name: bareName, problem: err})
	}
	return contenders, stop, nil
}

// startDocker starts Docker's engine where dockerd is installed.
func startDocker(p plan) ([]*contender, func(), error) {
	dockerd, err := exec.LookPath("dockerd")
	if err != nil {
		return nil, func() {}, nil
	}
	root := filepath.Join(p.dir, "docker")
	socket := filepath.Join(root, "docker.sock")
	stop, err := startDaemon(root, socket, dockerd, "--data-root", filepath.Join(root, "data"), "--exec-root", filepath.Join(root, "run"),
		"--pidfile", filepath.Join(root, "pid"), "--config-file", filepath.Join(root, "daemon.json"), "-H", "unix://"+socket)
	if err != nil {
		return []*contender{{name: "docker", problem: err}}, func() {}, nil
	}
	env := []string{"DOCKER_HOST=unix://" + socket, "DOCKER_CONFIG=" + root}
	if err := do(env, "docker", "import", p.busybox, "busybox"); err != nil {
		return []*contender{{name: "docker", problem: err}}, stop, nil
	}
	return []*contender{
		{name: "docker", rounds: p.rounds, env: env, command: []string{"docker", "run", "--rm", "busybox", "echo", "hi"}},
		{name: "docker, no network", rounds: p.rounds, env: env, command: []string{"docker", "run", "--rm", "--network", "none", "busybox", "echo", "hi"}},
		importing("docker", p, env, "docker"),
	}, stop, nil
}

// startPodman makes a store for Podman, with runc: crun refuses a host whose
// cgroups are in part v1.
func startPodman(p plan) ([]*contender, func(), error) {
	podman, err := exec.LookPath("podman")
	if err != nil {
		return nil, func() {}, nil
	}
	root := filepath.Join(p.dir, "podman")
	base := []string{podman, "--root", filepath.Join(root, "root"), "--runroot", filepath.Join(root, "run"), "--runtime", "runc", "--cgroup-manager", "cgroupfs"}
	if err := do(nil, base[0], append(base[1:], "import", p.busybox, "localhost/busybox")...); err != nil {
		return []*contender{{name: "podman", problem: err}}, func() {}, nil
	}
	stop := func() {
		_ = do(nil, base[0], append(base[1:], "system", "reset", "--force")...)
		_ = exec.Command("umount", "-R", filepath.Join(root, "root", "overlay")).Run()
	}
	// Podman asks for more open files than a shell's limit may allow.
	run := func(flags ...string) []string {
		return append(append(append([]string{}, base...), append([]string{"run", "--rm", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"}, flags...)...), "localhost/busybox", "echo", "hi")
	}
	return []*contender{
		{name: "podman", rounds: p.rounds, command: run()},
		{name: "podman, no network", rounds: p.rounds, command: run("--network", "none")},
		importing("podman", p, nil, base...),
	}, stop, nil
}

// importing imports the Debian root file system, and removes it again.
func importing(engine string, p plan, env []string, cli ...string) *contender {
	return &contender{
		name: engine + " import", kind: imports, rounds: p.imports, env: env,
		command: append(slices.Clone(cli), "import", p.debian, "localhost/imported"),
		after:   append(slices.Clone(cli), "rmi", "localhost/imported"),
	}
}

func do(env []string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", filepath.Base(name), args, err, bytes.TrimSpace(out))
	}
	return nil
}

// startDaemon starts an engine and waits until it listens; stop ends it.
func startDaemon(root, socket, path string, args ...string) (stop func(), err error) {
	if err := os.MkdirAll(root, 0o711); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(root, "daemon.json"), []byte("{}\n"), 0o644); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(root, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(startLimit):
			_ = cmd.Process.Kill()
		}
	}
	for deadline := time.Now().Add(startLimit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			return stop, c.Close()
		}
		select {
		case err := <-ended:
			said, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("%s ended: %v: %s", filepath.Base(path), err, bytes.TrimSpace(said[max(0, len(said)-500):]))
		default:
		}
	}
	stop()
	return nil, errors.New(filepath.Base(path) + " did not listen in time")
}
