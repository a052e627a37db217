package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"bothy/internal/engineapi"
	"bothy/internal/image"
	"bothy/internal/spec"
)

// CreateContainer checks the request and makes a container of it. Nothing of it
// runs yet, and if it fails nothing is left.
func (s *Containers) CreateContainer(ctx context.Context, req engineapi.CreateRequest) (container.CreateResponse, error) {
	var none container.CreateResponse
	rec, release, err := s.newRecord(ctx, req)
	if err != nil {
		return none, err
	}
	defer release()
	if rec.Name, err = s.takeName(trimSlash(req.Name), rec.ID); err != nil {
		return none, err
	}
	st := status{State: container.StateCreated}
	if err := s.files.create(rec, st); err != nil {
		s.index.release(rec.Name, rec.ID)
		return none, err
	}
	s.index.add(newCtr(s.files, rec, st))
	s.emit(events.ActionCreate, rec)
	return container.CreateResponse{ID: rec.ID, Warnings: warnings(rec)}, nil
}

// newRecord computes what a container is made as. The image is kept from being
// removed until release, or until a container on record uses it.
func (s *Containers) newRecord(ctx context.Context, req engineapi.CreateRequest) (rec record, release func(), err error) {
	rec, img, err := s.settle(ctx, req)
	if err != nil {
		return rec, nil, err
	}
	release = s.images.Hold(img.ID)
	// It may have been removed before it was held.
	if img, err = s.images.Resolve(ctx, img.ID.String()); err != nil {
		release()
		return rec, nil, err
	}
	if rec.Layers, err = layerFiles(s.opts.DataRoot, img); err != nil {
		release()
		return rec, nil, err
	}
	return rec, release, nil
}

// settle checks a request and works out all settings of its container.
func (s *Containers) settle(ctx context.Context, req engineapi.CreateRequest) (record, *image.Image, error) {
	rec := record{ID: newID(), Created: time.Now().UTC(), Networking: req.Networking}
	if req.Config == nil {
		return rec, nil, failure(errdefs.ErrInvalidArgument, "Config cannot be empty in order to create a container")
	}
	host := container.HostConfig{}
	if req.HostConfig != nil {
		host = *req.HostConfig
	}
	home, err := spec.ParseHome(host.Isolation, string(s.opts.Isolation))
	if err != nil {
		return rec, nil, err
	}
	rec.Home = home
	if err := spec.Refuse(home, req.Config, &host, req.Networking); err != nil {
		return rec, nil, err
	}
	if err := spec.FitCPUs(&host.Resources, s.opts.cpus(home)); err != nil {
		return rec, nil, err
	}
	s.completeHost(&host, home)
	rec.HostConfig = &host
	if _, err := spec.ParseLog(host.LogConfig); err != nil {
		return rec, nil, err
	}
	img, err := s.imageFor(ctx, req.Config.Image, req.Platform)
	if err != nil {
		return rec, nil, err
	}
	rec.ImageID, rec.Platform = img.ID.String(), img.Config.Platform
	rec.Config, err = merge(req.Config, img)
	if err != nil {
		return rec, nil, err
	}
	completeConfig(rec.Config, &host, rec.ID)
	if rec.Config.StopSignal != "" {
		if _, err := parseSignal(rec.Config.StopSignal); err != nil {
			return rec, nil, err
		}
	}
	return rec, img, nil
}

// imageFor finds the image that a container asks for.
func (s *Containers) imageFor(ctx context.Context, ref string, platform *ocispec.Platform) (*image.Image, error) {
	if ref == "" {
		return nil, failure(errdefs.ErrInvalidArgument, "no image specified: name one")
	}
	img, err := s.images.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	if platform != nil && (platform.OS != "" && platform.OS != img.Config.OS || platform.Architecture != "" && platform.Architecture != img.Config.Architecture) {
		return nil, failure(errdefs.ErrNotFound, "image with reference %s was found but its platform (%s/%s) does not match the specified platform (%s/%s)",
			ref, img.Config.OS, img.Config.Architecture, platform.OS, platform.Architecture)
	}
	return img, nil
}

// merge completes a container's settings by its image's.
func merge(cfg *container.Config, img *image.Image) (*container.Config, error) {
	var own dockerspec.DockerOCIImage
	if err := json.Unmarshal(img.RawConfig, &own); err != nil {
		return nil, fmt.Errorf("reading the configuration of image %s: %w", img.ID, err)
	}
	return spec.Merge(cfg, &own.Config)
}

// defaultShmSize is the size of /dev/shm in bytes, as docker has it.
const defaultShmSize = 64 << 20

// completeHost writes the engine's defaults into host, so that inspect shows
// what holds.
func (s *Containers) completeHost(host *container.HostConfig, home spec.Home) {
	host.Isolation = container.Isolation(home)
	if host.NetworkMode == "" || host.NetworkMode == "default" {
		host.NetworkMode = "bridge"
	}
	if host.LogConfig.Type == "" {
		own := s.opts.LogConfig
		options := maps.Clone(own.Config)
		if options == nil {
			options = map[string]string{}
		}
		maps.Copy(options, host.LogConfig.Config)
		host.LogConfig = container.LogConfig{Type: own.Type, Config: options}
	}
	if host.RestartPolicy.Name == "" {
		host.RestartPolicy.Name = container.RestartPolicyDisabled
	}
	if host.Runtime == "" {
		host.Runtime = defaultRuntime
	}
	if host.ShmSize == 0 {
		host.ShmSize = defaultShmSize
	}
	if host.IpcMode == "" {
		host.IpcMode = container.IPCModePrivate
	}
	if host.Memory > 0 && host.MemorySwap == 0 && (home == spec.VM || !s.starter.host.noSwapLimit) {
		host.MemorySwap = 2 * host.Memory
	}
	if host.MemorySwappiness != nil && *host.MemorySwappiness == -1 { // the CLI's word for none
		host.MemorySwappiness = nil
	}
	if !host.Privileged {
		host.MaskedPaths, host.ReadonlyPaths = spec.Paths(host)
	}
}

func completeConfig(cfg *container.Config, host *container.HostConfig, id string) {
	if len(cfg.Volumes) == 0 {
		cfg.Volumes = nil
	}
	if cfg.Hostname == "" {
		cfg.Hostname = shortID(id)
		if host.NetworkMode.IsHost() || host.UTSMode.IsHost() {
			if name, err := os.Hostname(); err == nil {
				cfg.Hostname = name
			}
		}
	}
}

// takeName reserves name, or a random one if it is empty.
func (s *Containers) takeName(name, id string) (string, error) {
	if name != "" {
		if err := checkName(name); err != nil {
			return "", err
		}
		return name, s.index.reserve(name, id)
	}
	for try := range 8 {
		name := randomName(try)
		if s.index.reserve(name, id) == nil {
			return name, nil
		}
	}
	name = shortID(id)
	return name, s.index.reserve(name, id)
}

// warnings are what the user should know about settings that were accepted.
func warnings(rec record) []string {
	all := []string{}
	if h := rec.Config.Healthcheck; h != nil && len(h.Test) > 0 && h.Test[0] != "NONE" {
		all = append(all, "The health check is kept but not run: this version of bothy has none.")
	}
	return all
}
