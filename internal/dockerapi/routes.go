package dockerapi

import (
	"fmt"
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
		{method: "GET", path: "/system/df", handle: s.systemDF},
		{method: "POST", path: "/auth", handle: s.login},

		{method: "GET", path: "/images/json", handle: s.listImages},
		{method: "POST", path: "/images/create", handle: s.createImage},
		{method: "POST", path: "/images/load", handle: s.loadImages},
		{method: "GET", path: "/images/search", handle: notYet("search registries")},
		{method: "GET", path: "/images/get", handle: notYet("save images to an archive (save)")},
		{method: "POST", path: "/images/prune", handle: s.pruneImages},
		{method: "GET", path: "/images/{name...}/json", handle: s.inspectImage},
		{method: "POST", path: "/images/{name...}/tag", handle: s.tagImage},
		{method: "GET", path: "/images/{name...}/attestations", handle: notYet("keep attestations of images")},
		{method: "GET", path: "/images/{name...}/history", handle: notYet("show an image's history")},
		{method: "GET", path: "/images/{name...}/get", handle: notYet("save images to an archive (save)")},
		{method: "POST", path: "/images/{name...}/push", handle: notYet("push images to a registry")},
		{method: "DELETE", path: "/images/{name...}", handle: s.removeImage},
		{method: "POST", path: "/commit", handle: s.commitContainer},
		{method: "GET", path: "/distribution/{name...}/json", handle: notYet("inspect an image at its registry")},

		{method: "GET", path: "/containers/json", handle: s.listContainers},
		{method: "POST", path: "/containers/create", handle: s.createContainer},
		{method: "POST", path: "/containers/prune", handle: s.pruneContainers},
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
		{method: "GET", path: "/containers/{name}/attach/ws", handle: s.attachWebsocket},
		{method: "GET", path: "/containers/{name}/top", handle: s.containerTop},
		{method: "GET", path: "/containers/{name}/changes", handle: s.containerChanges},
		{method: "GET", path: "/containers/{name}/export", handle: s.exportContainer},
		{method: "GET", path: "/containers/{name}/stats", handle: s.streaming(s.containerStats)},
		{method: "POST", path: "/containers/{name}/update", handle: s.updateContainer},
		{method: "POST", path: "/containers/{name}/pause", handle: s.pauseContainer},
		{method: "POST", path: "/containers/{name}/unpause", handle: s.unpauseContainer},
		{method: "HEAD", path: "/containers/{name}/archive", handle: s.headArchive},
		{method: "GET", path: "/containers/{name}/archive", handle: s.getArchive},
		{method: "PUT", path: "/containers/{name}/archive", handle: s.putArchive},
		{method: "GET", path: "/containers/{name}/checkpoints", handle: notYet("checkpoint containers")},
		{method: "POST", path: "/containers/{name}/checkpoints", handle: notYet("checkpoint containers")},
		{method: "DELETE", path: "/containers/{name}/checkpoints/{checkpoint}", handle: notYet("checkpoint containers")},

		{method: "POST", path: "/containers/{name}/exec", handle: s.createExec},
		{method: "POST", path: "/exec/{name}/start", handle: s.startExec},
		{method: "POST", path: "/exec/{name}/resize", handle: s.resizeExec},
		{method: "GET", path: "/exec/{name}/json", handle: s.inspectExec},

		{method: "GET", path: "/networks", handle: s.listNetworks},
		{method: "POST", path: "/networks/create", handle: notYet("make networks: there are bridge, host and none")},
		{method: "POST", path: "/networks/prune", handle: s.pruneNetworks},
		{method: "GET", path: "/networks/{name}", handle: s.inspectNetwork},
		{method: "DELETE", path: "/networks/{name}", handle: notYet("make or remove networks: there are bridge, host and none")},
		{method: "POST", path: "/networks/{name}/connect", handle: notYet("change the network of a container")},
		{method: "POST", path: "/networks/{name}/disconnect", handle: notYet("change the network of a container")},

		{method: "GET", path: "/volumes", handle: s.listVolumes},
		{method: "POST", path: "/volumes/create", handle: notYet("keep volumes: bind a directory instead")},
		{method: "POST", path: "/volumes/prune", handle: notYet("keep volumes: bind a directory instead")},
		{method: "GET", path: "/volumes/{name}", handle: noVolume},
		{method: "PUT", path: "/volumes/{name}", handle: notYet("keep volumes: bind a directory instead")},
		{method: "DELETE", path: "/volumes/{name}", handle: noVolume},

		{method: "POST", path: "/build", handle: notYet("build images: build elsewhere, and load or import the result")},
		{method: "POST", path: "/build/prune", handle: s.pruneBuildCache},
		{method: "POST", path: "/build/cancel", handle: notYet("build images")},
		{method: "POST", path: "/session", handle: notYet("build images: build elsewhere, and load or import the result")},
		{method: "POST", path: "/grpc", handle: notYet("build images: build elsewhere, and load or import the result")},

		{method: "GET", path: "/plugins", handle: s.listPlugins},
		{method: "GET", path: "/plugins/privileges", handle: notYet("run plugins of the engine")},
		{method: "POST", path: "/plugins/pull", handle: notYet("run plugins of the engine")},
		{method: "POST", path: "/plugins/create", handle: notYet("run plugins of the engine")},
		{method: "GET", path: "/plugins/{name...}/json", handle: noPlugin},
		{method: "POST", path: "/plugins/{name...}/enable", handle: notYet("run plugins of the engine")},
		{method: "POST", path: "/plugins/{name...}/disable", handle: notYet("run plugins of the engine")},
		{method: "POST", path: "/plugins/{name...}/upgrade", handle: notYet("run plugins of the engine")},
		{method: "POST", path: "/plugins/{name...}/push", handle: notYet("run plugins of the engine")},
		{method: "POST", path: "/plugins/{name...}/set", handle: notYet("run plugins of the engine")},
		{method: "DELETE", path: "/plugins/{name...}", handle: noPlugin},

		{method: "POST", path: "/swarm/init", handle: notYet("form a swarm")},
		{method: "POST", path: "/swarm/join", handle: notYet("form a swarm")},
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

// notYet refuses an endpoint of docker's that bothy does not have: what is what
// it is for, as in "bothy does not ... yet". A colon and what to do instead may
// follow.
func notYet(what string) handler {
	text := "bothy does not " + what + " yet"
	if what, instead, ok := strings.Cut(what, ": "); ok {
		text = "bothy does not " + what + " yet: " + instead
	}
	return func(http.ResponseWriter, *request) error { return notServed("%s", text) }
}

// noSwarm answers what docker answers on a machine that is in no swarm; its
// text is docker's, which clients compare.
func noSwarm(http.ResponseWriter, *request) error {
	return &kindError{`This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`, errdefs.ErrUnavailable}
}

// noVolume and noPlugin answer about those that nobody can have made; their
// texts are docker's.
func noVolume(_ http.ResponseWriter, r *request) error {
	return notFoundError("get " + r.name() + ": no such volume")
}

func noPlugin(_ http.ResponseWriter, r *request) error {
	return notFoundError(fmt.Sprintf("plugin %q not found", r.name()))
}
