package dockerapi

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

func (s *Server) createContainer(w http.ResponseWriter, r *request) error {
	platform, err := r.platform()
	if err != nil {
		return err
	}
	if err := r.checkJSON(); err != nil {
		return err
	}
	req, err := decodeCreate(http.MaxBytesReader(w, r.Body, maxBody), r.version)
	if err != nil {
		return err
	}
	req.Name, req.Platform = r.query.Get("name"), platform
	created, err := s.backend.CreateContainer(r.Context(), req)
	if err != nil {
		return err
	}
	if created.Warnings == nil {
		created.Warnings = []string{}
	}
	return writeJSON(w, http.StatusCreated, created)
}

// createBody is the body of POST /containers/create in the forms of all API
// versions served: a command may be one string, and the MAC address may stand
// beside the networks.
type createBody struct {
	container.CreateRequest
	Cmd        words
	Entrypoint words
	Shell      words
	MacAddress network.HardwareAddr
}

// words is a list of strings, or one string for a list of one.
type words []string

// UnmarshalJSON takes both forms.
func (w *words) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*w = make(words, 1)
		return json.Unmarshal(data, &(*w)[0])
	}
	return json.Unmarshal(data, (*[]string)(w))
}

// decodeCreate reads the body of POST /containers/create into what the engine
// takes, none of it nil.
func decodeCreate(body io.Reader, version APIVersion) (CreateRequest, error) {
	var b createBody
	if err := decodeJSON(body, &b); err != nil {
		return CreateRequest{}, err
	}
	if b.Config == nil && b.Cmd == nil && b.Entrypoint == nil {
		return CreateRequest{}, invalid("config cannot be empty in order to create a container")
	}
	if b.Config == nil {
		b.Config = &container.Config{}
	}
	b.Config.Cmd, b.Config.Entrypoint, b.Config.Shell = b.Cmd, b.Entrypoint, b.Shell
	if b.HostConfig == nil {
		b.HostConfig = &container.HostConfig{}
	}
	if b.NetworkingConfig == nil {
		b.NetworkingConfig = &network.NetworkingConfig{}
	}
	if b.NetworkingConfig.EndpointsConfig == nil {
		b.NetworkingConfig.EndpointsConfig = map[string]*network.EndpointSettings{}
	}
	if err := placeMAC(b.MacAddress, b.HostConfig, b.NetworkingConfig); err != nil {
		return CreateRequest{}, err
	}
	adaptHostConfig(b.HostConfig, version)
	return CreateRequest{Config: b.Config, HostConfig: b.HostConfig, Networking: b.NetworkingConfig}, nil
}

// adaptHostConfig gives values the meaning that they have in the client's
// version.
func adaptHostConfig(hc *container.HostConfig, version APIVersion) {
	if version.before("1.25") {
		hc.AutoRemove = false // such clients remove the container themselves
	}
	if hc.PidsLimit != nil && *hc.PidsLimit <= 0 {
		hc.PidsLimit = nil // docker's words for "no limit"
	}
}

// placeMAC moves the container-wide MAC address of clients before API 1.44 to
// the network that it is for.
func placeMAC(mac network.HardwareAddr, hc *container.HostConfig, nc *network.NetworkingConfig) error {
	if len(mac) == 0 {
		return nil
	}
	name := string(hc.NetworkMode)
	if name == network.NetworkHost || strings.HasPrefix(name, "container:") {
		return invalid("conflicting options: mac-address and the network mode")
	}
	if name == "" || name == network.NetworkDefault {
		name = network.NetworkBridge
	}
	for _, key := range []string{name, network.NetworkDefault} {
		if ep := nc.EndpointsConfig[key]; ep != nil {
			if len(ep.MacAddress) != 0 && ep.MacAddress.String() != mac.String() {
				return invalid("the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty")
			}
			ep.MacAddress = mac
			return nil
		}
	}
	nc.EndpointsConfig[name] = &network.EndpointSettings{MacAddress: mac}
	return nil
}
