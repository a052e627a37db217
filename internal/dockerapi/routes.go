package dockerapi

import (
	"net/http"
	"strings"

	"github.com/containerd/errdefs"
)

// table lists every endpoint of the Docker Engine API, those that bothy does
// not serve included, so that a client is told which of the two it met.
func (s *Server) table() []route {
	return compile([]route{
		{method: "GET", path: "/_ping", handle: s.ping},
		{method: "HEAD", path: "/_ping", handle: s.ping},
		{method: "GET", path: "/version", handle: s.versionInfo},
		{method: "GET", path: "/info", handle: s.info},
		{method: "GET", path: "/events", handle: s.streaming(s.events)},
		{method: "GET", path: "/system/df", handle: notYet},
		{method: "POST", path: "/auth", handle: s.login},

		{method: "GET", path: "/images/json", handle: s.listImages},
		{method: "POST", path: "/images/create", handle: s.createImage},
		{method: "POST", path: "/images/load", handle: s.loadImages},
		{method: "GET", path: "/images/search", handle: notYet},
		{method: "GET", path: "/images/get", handle: notYet},
		{method: "POST", path: "/images/prune", handle: notYet},
		{method: "GET", path: "/images/{name...}/json", handle: s.inspectImage},
		{method: "POST", path: "/images/{name...}/tag", handle: s.tagImage},
		{method: "GET", path: "/images/{name...}/attestations", handle: notYet},
		{method: "GET", path: "/images/{name...}/history", handle: notYet},
		{method: "GET", path: "/images/{name...}/get", handle: notYet},
		{method: "POST", path: "/images/{name...}/push", handle: notYet},
		{method: "DELETE", path: "/images/{name...}", handle: s.removeImage},
		{method: "POST", path: "/commit", handle: notYet},
		{method: "GET", path: "/distribution/{name...}/json", handle: notYet},

		{method: "GET", path: "/containers/json", handle: s.listContainers},
		{method: "POST", path: "/containers/create", handle: s.createContainer},
		{method: "POST", path: "/containers/prune", handle: notYet},
		{method: "GET", path: "/containers/{name}/json", handle: s.inspectContainer},
		{method: "GET", path: "/containers/{name}/logs", handle: s.streaming(s.containerLogs)},
		{method: "POST", path: "/containers/{name}/start", handle: s.startContainer},
		{method: "POST", path: "/containers/{name}/stop", handle: s.stopContainer},
		{method: "POST", path: "/containers/{name}/restart", handle: s.restartContainer},
		{method: "POST", path: "/containers/{name}/kill", handle: s.killContainer},
		{method: "POST", path: "/containers/{name}/rename", handle: s.renameContainer},
		{method: "POST", path: "/containers/{name}/resize", handle: s.resizeContainer},
		{method: "POST", path: "/containers/{name}/attach", handle: s.attachContainer},
		{method: "POST", path: "/containers/{name}/wait", handle: s.streaming(s.waitContainer)},
		{method: "DELETE", path: "/containers/{name}", handle: s.removeContainer},
		{method: "GET", path: "/containers/{name}/attach/ws", handle: notYet},
		{method: "GET", path: "/containers/{name}/top", handle: notYet},
		{method: "GET", path: "/containers/{name}/changes", handle: notYet},
		{method: "GET", path: "/containers/{name}/export", handle: notYet},
		{method: "GET", path: "/containers/{name}/stats", handle: notYet},
		{method: "POST", path: "/containers/{name}/update", handle: notYet},
		{method: "POST", path: "/containers/{name}/pause", handle: notYet},
		{method: "POST", path: "/containers/{name}/unpause", handle: notYet},
		{method: "HEAD", path: "/containers/{name}/archive", handle: notYet},
		{method: "GET", path: "/containers/{name}/archive", handle: notYet},
		{method: "PUT", path: "/containers/{name}/archive", handle: notYet},
		{method: "GET", path: "/containers/{name}/checkpoints", handle: notYet},
		{method: "POST", path: "/containers/{name}/checkpoints", handle: notYet},
		{method: "DELETE", path: "/containers/{name}/checkpoints/{checkpoint}", handle: notYet},

		{method: "POST", path: "/containers/{name}/exec", handle: notYet},
		{method: "POST", path: "/exec/{name}/start", handle: notYet},
		{method: "POST", path: "/exec/{name}/resize", handle: notYet},
		{method: "GET", path: "/exec/{name}/json", handle: notYet},

		{method: "GET", path: "/networks", handle: s.listNetworks},
		{method: "POST", path: "/networks/create", handle: notYet},
		{method: "POST", path: "/networks/prune", handle: notYet},
		{method: "GET", path: "/networks/{name}", handle: s.inspectNetwork},
		{method: "DELETE", path: "/networks/{name}", handle: notYet},
		{method: "POST", path: "/networks/{name}/connect", handle: notYet},
		{method: "POST", path: "/networks/{name}/disconnect", handle: notYet},

		{method: "GET", path: "/volumes", handle: notYet},
		{method: "POST", path: "/volumes/create", handle: notYet},
		{method: "POST", path: "/volumes/prune", handle: notYet},
		{method: "GET", path: "/volumes/{name}", handle: notYet},
		{method: "PUT", path: "/volumes/{name}", handle: notYet},
		{method: "DELETE", path: "/volumes/{name}", handle: notYet},

		{method: "POST", path: "/build", handle: notYet},
		{method: "POST", path: "/build/prune", handle: notYet},
		{method: "POST", path: "/build/cancel", handle: notYet},
		{method: "POST", path: "/session", handle: notYet},
		{method: "POST", path: "/grpc", handle: notYet},

		{method: "GET", path: "/plugins", handle: s.listPlugins},
		{method: "GET", path: "/plugins/privileges", handle: notYet},
		{method: "POST", path: "/plugins/pull", handle: notYet},
		{method: "POST", path: "/plugins/create", handle: notYet},
		{method: "GET", path: "/plugins/{name...}/json", handle: notYet},
		{method: "POST", path: "/plugins/{name...}/enable", handle: notYet},
		{method: "POST", path: "/plugins/{name...}/disable", handle: notYet},
		{method: "POST", path: "/plugins/{name...}/upgrade", handle: notYet},
		{method: "POST", path: "/plugins/{name...}/push", handle: notYet},
		{method: "POST", path: "/plugins/{name...}/set", handle: notYet},
		{method: "DELETE", path: "/plugins/{name...}", handle: notYet},

		{method: "POST", path: "/swarm/init", handle: notYet},
		{method: "POST", path: "/swarm/join", handle: notYet},
		{method: "GET", path: "/swarm", handle: noSwarm},
		{method: "POST", path: "/swarm/leave", handle: noSwarm},
		{method: "POST", path: "/swarm/update", handle: noSwarm},
		{method: "GET", path: "/swarm/unlockkey", handle: noSwarm},
		{method: "POST", path: "/swarm/unlock", handle: noSwarm},
		{method: "GET", path: "/nodes", handle: noSwarm},
		{method: "GET", path: "/nodes/{name}", handle: noSwarm},
		{method: "DELETE", path: "/nodes/{name}", handle: noSwarm},
		{method: "POST", path: "/nodes/{name}/update", handle: noSwarm},
		{method: "GET", path: "/services", handle: noSwarm},
		{method: "POST", path: "/services/create", handle: noSwarm},
		{method: "GET", path: "/services/{name}", handle: noSwarm},
		{method: "DELETE", path: "/services/{name}", handle: noSwarm},
		{method: "POST", path: "/services/{name}/update", handle: noSwarm},
		{method: "GET", path: "/services/{name}/logs", handle: noSwarm},
		{method: "GET", path: "/tasks", handle: noSwarm},
		{method: "GET", path: "/tasks/{name}", handle: noSwarm},
		{method: "GET", path: "/tasks/{name}/logs", handle: noSwarm},
		{method: "GET", path: "/secrets", handle: noSwarm},
		{method: "POST", path: "/secrets/create", handle: noSwarm},
		{method: "GET", path: "/secrets/{name}", handle: noSwarm},
		{method: "DELETE", path: "/secrets/{name}", handle: noSwarm},
		{method: "POST", path: "/secrets/{name}/update", handle: noSwarm},
		{method: "GET", path: "/configs", handle: noSwarm},
		{method: "POST", path: "/configs/create", handle: noSwarm},
		{method: "GET", path: "/configs/{name}", handle: noSwarm},
		{method: "DELETE", path: "/configs/{name}", handle: noSwarm},
		{method: "POST", path: "/configs/{name}/update", handle: noSwarm},
	})
}

func compile(routes []route) []route {
	for i := range routes {
		routes[i].segments = strings.Split(strings.Trim(routes[i].path, "/"), "/")
	}
	return routes
}

// notYet refuses an endpoint of docker's that bothy does not have.
func notYet(_ http.ResponseWriter, r *request) error {
	_, path, err := splitVersion(r.URL.Path)
	if err != nil {
		return err
	}
	return notServed("bothy does not serve %s %s yet", r.Method, path)
}

// noSwarm answers what docker answers on a machine that is in no swarm; its
// text is docker's, which clients compare.
func noSwarm(http.ResponseWriter, *request) error {
	return &kindError{`This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`, errdefs.ErrUnavailable}
}
