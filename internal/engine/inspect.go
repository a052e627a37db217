package engine

import (
	"context"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"

	"bothy/internal/engineapi"
	"bothy/internal/spec"
)

const (
	storageDriver  = "erofs"
	defaultRuntime = "bothy"
)

// InspectContainer gives all that is known of the container; size adds how
// much it has written.
func (s *Containers) InspectContainer(ctx context.Context, ref string, size bool) (*container.InspectResponse, error) {
	c, err := s.index.find(ref)
	if err != nil {
		return nil, err
	}
	rec, st := c.snapshot()
	path, args := pathAndArgs(rec.Config)
	resp := &container.InspectResponse{
		ID:              rec.ID,
		Created:         rec.Created.Format(time.RFC3339Nano),
		Path:            path,
		Args:            args,
		State:           inspectState(st),
		Image:           rec.ImageID,
		Name:            "/" + rec.Name,
		Driver:          storageDriver,
		Platform:        "linux",
		HostConfig:      rec.HostConfig,
		GraphDriver:     &storage.DriverData{Name: storageDriver, Data: graphData(c.dir, rec)},
		Mounts:          mountPoints(rec.HostConfig),
		Config:          rec.Config,
		NetworkSettings: networkSettings(rec, st),
		ExecIDs:         s.execs.of(c),
	}
	if rec.HostConfig.LogConfig.Type != logNone {
		resp.LogPath = logPath(c.dir, c.id)
	}
	if !st.StartedAt.IsZero() {
		f := networkFilesIn(c.dir)
		resp.HostnamePath, resp.HostsPath, resp.ResolvConfPath = f.hostname, f.hosts, f.resolv
	}
	if size {
		rw := writtenSize(c.dir, rec.Home)
		root := rw + s.imageSize(ctx, rec.ImageID)
		resp.SizeRw, resp.SizeRootFs = &rw, &root
	}
	return resp, nil
}

func inspectState(st status) *container.State {
	return &container.State{
		Status:     st.State,
		Running:    running(st.State) || st.State == container.StateRestarting,
		Paused:     st.State == container.StatePaused,
		Restarting: st.State == container.StateRestarting,
		OOMKilled:  st.OOMKilled,
		Dead:       st.State == container.StateDead,
		Pid:        st.Pid,
		ExitCode:   st.ExitCode,
		Error:      st.Error,
		StartedAt:  stamp(st.StartedAt),
		FinishedAt: stamp(st.FinishedAt),
	}
}

// stamp is docker's text for a time; "0001-01-01T00:00:00Z" for none.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// graphData tells what the root file system lies on.
func graphData(dir string, rec record) map[string]string {
	data := map[string]string{"LowerDir": joinReversed(rec.Layers)}
	if rec.Home == spec.VM {
		data["Disk"] = filepath.Join(dir, diskFile)
		return data
	}
	data["UpperDir"], data["WorkDir"] = filepath.Join(dir, upperDir), filepath.Join(dir, workDir)
	return data
}

// networkSettings is what inspect tells of the network.
func networkSettings(rec record, st status) *container.NetworkSettings {
	return &container.NetworkSettings{Ports: portMap(rec), Networks: networksOf(rec, st)}
}

// mountPoints lists the container's mounts, as inspect has them.
func mountPoints(hc *container.HostConfig) []container.MountPoint {
	points := []container.MountPoint{}
	binds, err := spec.Binds(hc) // checked at creation
	if err != nil {
		return points
	}
	for _, b := range binds {
		points = append(points, container.MountPoint{
			Type: mount.TypeBind, Source: b.Source, Destination: b.Target, RW: !b.ReadOnly, Propagation: b.Propagation,
		})
	}
	for _, m := range hc.Mounts {
		if m.Type == mount.TypeTmpfs {
			points = append(points, container.MountPoint{Type: mount.TypeTmpfs, Destination: m.Target, RW: !m.ReadOnly})
		}
	}
	return points
}

// writtenSize is how many bytes a container's writable side takes.
func writtenSize(dir string, home spec.Home) int64 {
	path := filepath.Join(dir, upperDir)
	if home == spec.VM {
		path = filepath.Join(dir, diskFile)
	}
	var total int64
	_ = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it went away meanwhile
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() {
			total += min(info.Size(), st.Blocks*512)
		}
		return nil
	})
	return total
}

// imageSize is an image's size in bytes, 0 if it is gone.
func (s *Containers) imageSize(ctx context.Context, id string) int64 {
	img, err := s.images.Resolve(ctx, id)
	if err != nil {
		return 0
	}
	return img.Size
}

// ContainerMachine tells of the virtual machine that a container runs in; nil
// if it has none now.
func (s *Containers) ContainerMachine(_ context.Context, ref string) (*engineapi.Machine, error) {
	c, err := s.index.find(ref)
	if err != nil {
		return nil, err
	}
	_, st := c.snapshot()
	if st.Machine == nil {
		return nil, nil
	}
	m := engineapi.Machine(*st.Machine)
	return &m, nil
}

// joinReversed joins layer files as docker does: the topmost first.
func joinReversed(files []string) string {
	top := slices.Clone(files)
	slices.Reverse(top)
	return strings.Join(top, ":")
}

// portMap has the exposed ports; none of them is published.
func portMap(rec record) network.PortMap {
	ports := network.PortMap{}
	for p := range rec.Config.ExposedPorts {
		ports[p] = nil
	}
	return ports
}
