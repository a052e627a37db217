package dockerapi

import (
	"encoding/json"
	"strings"

	"bothy/internal/engineapi"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"
	"github.com/moby/moby/api/types/system"
)

// The module of docker's API types describes the newest version, which has
// dropped fields that clients of the versions served here read. The types in
// this file put them back.

// infoAnswer is GET /info.
type infoAnswer struct {
	*system.Info
	BridgeNfIptables  *bool `json:",omitempty"` // before 1.50
	BridgeNfIP6tables *bool `json:"BridgeNfIp6tables,omitempty"`
	ContainerdCommit  commitAnswer
	RuncCommit        commitAnswer
	InitCommit        commitAnswer
}

type commitAnswer struct {
	ID       string
	Expected string `json:",omitempty"` // before 1.49
}

func legacyInfo(info *system.Info, version APIVersion) infoAnswer {
	commit := func(c system.Commit) commitAnswer {
		if version.before("1.49") {
			return commitAnswer{ID: c.ID, Expected: c.ID}
		}
		return commitAnswer{ID: c.ID}
	}
	out := infoAnswer{Info: info, ContainerdCommit: commit(info.ContainerdCommit), RuncCommit: commit(info.RuncCommit), InitCommit: commit(info.InitCommit)}
	if version.before("1.50") {
		out.BridgeNfIptables, out.BridgeNfIP6tables = new(bool), new(bool)
	}
	return out
}

// eventAnswer is one line of GET /events.
type eventAnswer struct {
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`
	events.Message
}

func legacyEvent(m events.Message) eventAnswer {
	out := eventAnswer{Message: m}
	switch m.Type {
	case events.ContainerEventType:
		out.Status, out.ID, out.From = string(m.Action), m.Actor.ID, m.Actor.Attributes["image"]
	case events.ImageEventType:
		out.Status, out.ID = string(m.Action), m.Actor.ID
	}
	return out
}

// imageSummary is one image of GET /images/json.
type imageSummary struct {
	image.Summary
	VirtualSize int64 `json:",omitempty"` // before 1.44
}

func legacyImages(list []image.Summary, version APIVersion) []imageSummary {
	out := make([]imageSummary, 0, len(list))
	for _, s := range list {
		if s.RepoTags == nil {
			s.RepoTags = []string{}
		}
		if s.RepoDigests == nil {
			s.RepoDigests = []string{}
		}
		if version.before("1.43") && len(s.RepoTags) == 0 && len(s.RepoDigests) == 0 {
			s.RepoTags, s.RepoDigests = []string{"<none>:<none>"}, []string{"<none>@<none>"}
		}
		if version.before("1.48") {
			s.Descriptor = nil
		}
		answer := imageSummary{Summary: s}
		if version.before("1.44") {
			answer.VirtualSize = s.Size
		}
		out = append(out, answer)
	}
	return out
}

// Fields of GET /images/{name}/json and of its Config that docker answers with
// even when they are empty: "name=JSON value". Those of oldImageConfig end with
// API 1.49.
const (
	imageFields    = `Parent="" Comment="" DockerVersion="" Author=""`
	imageConfig    = `User="" Env=null Cmd=null Entrypoint=null Volumes=null WorkingDir="" OnBuild=null Labels=null`
	oldImageConfig = `Hostname="" Domainname="" AttachStdin=false AttachStdout=false AttachStderr=false Tty=false OpenStdin=false StdinOnce=false Image=""`
)

// legacyImage is the answer to GET /images/{name}/json.
func legacyImage(img *image.InspectResponse, version APIVersion) (map[string]json.RawMessage, error) {
	view := *img
	view.Identity, view.Manifests = nil, nil // API 1.52 and later
	if version.before("1.48") {
		view.Descriptor = nil
	}
	if view.GraphDriver == nil {
		view.GraphDriver = &storage.DriverData{}
	}
	if view.RepoTags == nil {
		view.RepoTags = []string{}
	}
	if view.RepoDigests == nil {
		view.RepoDigests = []string{}
	}
	out, err := rawJSON(view)
	if err != nil {
		return nil, err
	}
	addMissing(out, imageFields)
	if version.before("1.44") {
		out["VirtualSize"] = out["Size"]
	}
	config, err := rawJSON(view.Config)
	if err != nil {
		return nil, err
	}
	if config == nil {
		config = map[string]json.RawMessage{}
	}
	addMissing(config, imageConfig)
	if version.before("1.50") {
		addMissing(config, oldImageConfig)
	}
	if out["Config"], err = json.Marshal(config); err != nil {
		return nil, err
	}
	if version.before("1.45") {
		out["Container"], out["ContainerConfig"] = json.RawMessage(`""`), json.RawMessage(`null`)
	}
	return out, nil
}

func addMissing(fields map[string]json.RawMessage, defaults string) {
	for _, field := range strings.Fields(defaults) {
		name, value, _ := strings.Cut(field, "=")
		if _, ok := fields[name]; !ok {
			fields[name] = json.RawMessage(value)
		}
	}
}

// containerSummary is one container of GET /containers/json.
type containerSummary struct {
	container.Summary
	Ports []portSummary
}

type portSummary struct {
	IP          string `json:",omitempty"`
	PrivatePort uint16
	PublicPort  uint16 `json:",omitempty"`
	Type        string
}

func legacySummaries(list []container.Summary, version APIVersion) []containerSummary {
	out := make([]containerSummary, 0, len(list))
	for _, c := range list {
		c.Health = nil // API 1.52 and later
		if version.before("1.46") {
			c.HostConfig.Annotations = nil
		}
		if version.before("1.48") {
			c.ImageManifestDescriptor = nil
		}
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		if c.Mounts == nil {
			c.Mounts = []container.MountPoint{}
		}
		if c.NetworkSettings == nil || c.NetworkSettings.Networks == nil {
			c.NetworkSettings = &container.NetworkSettingsSummary{Networks: map[string]*network.EndpointSettings{}}
		}
		ports := make([]portSummary, 0, len(c.Ports))
		for _, p := range c.Ports {
			port := portSummary{PrivatePort: p.PrivatePort, PublicPort: p.PublicPort, Type: p.Type}
			if p.IP.IsValid() {
				port.IP = p.IP.String()
			}
			ports = append(ports, port)
		}
		out = append(out, containerSummary{Summary: c, Ports: ports})
	}
	return out
}

// containerAnswer is GET /containers/{name}/json.
type containerAnswer struct {
	*container.InspectResponse
	Config          *configAnswer
	NetworkSettings networkAnswer
	// Machine is bothy's own addition: the virtual machine of one that runs in it.
	Machine *engineapi.Machine `json:",omitempty"`
}

type configAnswer struct {
	*container.Config
	MacAddress string `json:",omitempty"` // before 1.44
	OnBuild    []string
}

// networkAnswer has the first network's addresses a second time, as all
// versions before 1.52.
type networkAnswer struct {
	Bridge string
	container.NetworkSettings
	HairpinMode            bool
	LinkLocalIPv6Address   string
	LinkLocalIPv6PrefixLen int
	SecondaryIPAddresses   []struct{}
	SecondaryIPv6Addresses []struct{}
	EndpointID             string
	Gateway                string
	GlobalIPv6Address      string
	GlobalIPv6PrefixLen    int
	IPAddress              string
	IPPrefixLen            int
	IPv6Gateway            string
	MacAddress             string
}

func legacyContainer(c *container.InspectResponse, version APIVersion) containerAnswer {
	view := *c
	view.Storage = nil // API 1.52 and later
	if view.GraphDriver == nil {
		view.GraphDriver = &storage.DriverData{Name: c.Driver}
	}
	if view.Mounts == nil {
		view.Mounts = []container.MountPoint{}
	}
	if view.Args == nil {
		view.Args = []string{}
	}
	if version.before("1.48") {
		view.ImageManifestDescriptor = nil
	}
	out := containerAnswer{InspectResponse: &view, NetworkSettings: legacyNetworks(c.NetworkSettings)}
	if c.Config != nil {
		out.Config = &configAnswer{Config: c.Config, OnBuild: c.Config.OnBuild}
		if version.before("1.44") {
			out.Config.MacAddress = out.NetworkSettings.MacAddress
		}
	}
	return out
}

func legacyNetworks(settings *container.NetworkSettings) networkAnswer {
	var out networkAnswer
	if settings != nil {
		out.NetworkSettings = *settings
	}
	if out.Ports == nil {
		out.Ports = network.PortMap{}
	}
	if out.Networks == nil {
		out.Networks = map[string]*network.EndpointSettings{}
	}
	ep := out.Networks[network.NetworkBridge]
	if ep == nil {
		return out
	}
	out.EndpointID = ep.EndpointID
	out.GlobalIPv6PrefixLen, out.IPPrefixLen = ep.GlobalIPv6PrefixLen, ep.IPPrefixLen
	out.MacAddress = ep.MacAddress.String()
	if ep.Gateway.IsValid() {
		out.Gateway = ep.Gateway.String()
	}
	if ep.IPAddress.IsValid() {
		out.IPAddress = ep.IPAddress.String()
	}
	if ep.GlobalIPv6Address.IsValid() {
		out.GlobalIPv6Address = ep.GlobalIPv6Address.String()
	}
	if ep.IPv6Gateway.IsValid() {
		out.IPv6Gateway = ep.IPv6Gateway.String()
	}
	return out
}
