package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"bothy/internal/image/erofs"
	"bothy/internal/shimapi"
	"bothy/internal/spec"
	"bothy/internal/vm"
)

// practice is the container that a virtual machine runs before it serves
// anybody: with docker's defaults, it makes the machine do once what it will do
// for its own container. Its program is the machine's own.
type practice struct {
	dir          string
	cgroupParent string // of the containers that the machines are for

	mu    sync.Mutex
	found *shimapi.Practice // nil until made
}

// practiceProgram is where the machine's program is in the practice container;
// guestProgram is its place in the machine.
const (
	practiceProgram = "/practice"
	guestProgram    = "/init"
)

// files gives the container's image and bundle, which are made if need be.
func (p *practice) files(ctx context.Context) (shimapi.Practice, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil {
		return *p.found, nil
	}
	made := shimapi.Practice{Image: filepath.Join(p.dir, "image.erofs"), Bundle: p.dir}
	if err := p.make(ctx, made); err != nil {
		return made, diskError(fmt.Errorf("making the container that virtual machines practise with: %w", err))
	}
	p.found = &made
	return made, nil
}

func (p *practice) make(ctx context.Context, to shimapi.Practice) error {
	if err := os.MkdirAll(p.dir, 0o711); err != nil {
		return err
	}
	built, err := practiceSpec(p.cgroupParent)
	if err != nil {
		return err
	}
	data, err := json.Marshal(built)
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(to.Bundle, shimapi.SpecFile), data, false); err != nil {
		return err
	}
	return practiceImage(ctx, to.Image)
}

// practiceSpec is the container's, with docker's defaults: the more it is like
// the containers to come, the more of them the machine has done already.
func practiceSpec(cgroupParent string) (*specs.Spec, error) {
	host := &container.HostConfig{NetworkMode: "bridge", IpcMode: container.IPCModePrivate, ShmSize: defaultShmSize}
	host.MaskedPaths, host.ReadonlyPaths = spec.Paths(host)
	built, err := spec.Build(spec.Input{
		ID: "practice", Home: spec.VM, Hostname: "practice", CgroupsPath: filepath.Join("/", cgroupParent, "practice"),
		Config:     &container.Config{Cmd: []string{practiceProgram, "practice"}, Env: []string{"PATH=/"}, WorkingDir: "/"},
		HostConfig: host,
	})
	if err != nil {
		return nil, err
	}
	built.Mounts = append(built.Mounts, specs.Mount{Source: guestProgram, Destination: practiceProgram, Type: "bind", Options: []string{"rbind", "ro", "rprivate"}})
	return built, nil
}

// practiceImage writes an EROFS file with the directories of a root, as long as
// a guest is to take the device with it for.
func practiceImage(ctx context.Context, path string) (err error) {
	var skeleton bytes.Buffer
	w := tar.NewWriter(&skeleton)
	for _, dir := range []string{"dev/", "etc/", "proc/", "sys/", "tmp/"} {
		err = errors.Join(err, w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "image-*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	err = erofs.Convert(ctx, bytes.NewReader(skeleton.Bytes()), int64(skeleton.Len()), f, erofs.Options{TempDir: filepath.Dir(path)})
	if err == nil {
		err = f.Truncate(vm.PracticeSize)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
