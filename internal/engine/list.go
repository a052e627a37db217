package engine

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"bothy/internal/engineapi"
)

// ListContainers lists the containers that run, or all, the newest first. A
// limit above 0 takes the newest, whether they run or not.
func (s *Containers) ListContainers(ctx context.Context, all bool, limit int, size bool, filters engineapi.Filters) ([]container.Summary, error) {
	f, err := s.newListFilter(ctx, filters)
	if err != nil {
		return nil, err
	}
	all = all || limit > 0 || f.namesState
	list := []container.Summary{}
	images := s.imageNames(ctx)
	now := time.Now()
	for _, v := range s.views() {
		if !all && !running(v.st.State) && v.st.State != container.StateRestarting {
			continue
		}
		if !f.match(v) {
			continue
		}
		sum := summary(v, images, now)
		if size {
			sum.SizeRw = writtenSize(v.dir, v.rec.Home)
			sum.SizeRootFs = sum.SizeRw + s.imageSize(ctx, v.rec.ImageID)
		}
		list = append(list, sum)
		if limit > 0 && len(list) == limit {
			break
		}
	}
	return list, nil
}

// view is a container at one moment.
type view struct {
	dir string
	rec record
	st  status
}

// views gives all containers, the newest first.
func (s *Containers) views() []view {
	var all []view
	for _, c := range s.index.all() {
		rec, st := c.snapshot()
		all = append(all, view{c.dir, rec, st})
	}
	slices.SortFunc(all, func(a, b view) int {
		if order := b.rec.Created.Compare(a.rec.Created); order != 0 {
			return order
		}
		return strings.Compare(a.rec.ID, b.rec.ID)
	})
	return all
}

func summary(v view, images imageNames, now time.Time) container.Summary {
	sum := container.Summary{
		ID:              v.rec.ID,
		Names:           []string{"/" + v.rec.Name},
		Image:           images.shown(v.rec),
		ImageID:         v.rec.ImageID,
		Command:         command(v.rec.Config),
		Created:         v.rec.Created.Unix(),
		Ports:           ports(v.rec.Config),
		Labels:          v.rec.Config.Labels,
		State:           v.st.State,
		Status:          statusText(v.st, now),
		Mounts:          mountPoints(v.rec.HostConfig),
		NetworkSettings: &container.NetworkSettingsSummary{Networks: networksOf(v.rec, v.st)},
	}
	sum.HostConfig.NetworkMode = string(v.rec.HostConfig.NetworkMode)
	sum.HostConfig.Annotations = v.rec.HostConfig.Annotations
	return sum
}

// imageNames says which image a name means now.
type imageNames map[string]string

func (s *Containers) imageNames(ctx context.Context) imageNames {
	names := imageNames{}
	all, err := s.images.List(ctx)
	if err != nil {
		return names // containers are shown by the names they were made with
	}
	for _, img := range all {
		for _, name := range img.Names {
			names[name] = img.ID.String()
		}
	}
	return names
}

// shown is the name that the container was created with, or the image's ID if
// that name is another image's by now.
func (n imageNames) shown(rec record) string {
	if id, ok := n[withTag(rec.Config.Image)]; ok && id != rec.ImageID {
		return rec.ImageID
	}
	return rec.Config.Image
}

// command is what the container runs, as docker's list shows it.
func command(cfg *container.Config) string {
	path, args := pathAndArgs(cfg)
	words := []string{path}
	for _, a := range args {
		if strings.Contains(a, " ") {
			a = "'" + a + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

func pathAndArgs(cfg *container.Config) (path string, args []string) {
	all := slices.Concat(cfg.Entrypoint, cfg.Cmd)
	if len(all) == 0 {
		return "", []string{}
	}
	return all[0], append([]string{}, all[1:]...)
}

// ports lists the ports that the container's settings expose.
func ports(cfg *container.Config) []container.PortSummary {
	list := []container.PortSummary{}
	for p := range cfg.ExposedPorts {
		list = append(list, container.PortSummary{PrivatePort: p.Num(), Type: string(p.Proto())})
	}
	slices.SortFunc(list, func(a, b container.PortSummary) int {
		if a.PrivatePort != b.PrivatePort {
			return int(a.PrivatePort) - int(b.PrivatePort)
		}
		return strings.Compare(a.Type, b.Type)
	})
	return list
}

// networksOf gives the container's networks; addresses only while it runs.
func networksOf(rec record, st status) map[string]*network.EndpointSettings {
	name := string(rec.HostConfig.NetworkMode)
	e := &network.EndpointSettings{}
	if rec.Networking != nil {
		if own := rec.Networking.EndpointsConfig[name]; own != nil {
			e = own.Copy()
		}
	}
	if st.Endpoint != nil {
		st.Endpoint.describe(e)
	}
	return map[string]*network.EndpointSettings{name: e}
}
