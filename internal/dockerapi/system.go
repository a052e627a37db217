package dockerapi

import (
	"encoding/json"
	"maps"
	"net/http"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/volume"
)

func (s *Server) ping(w http.ResponseWriter, r *request) error {
	h := w.Header()
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Builder-Version", "1")
	h.Set("Swarm", "inactive")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method == http.MethodHead {
		h.Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	_, err := w.Write([]byte("OK"))
	return err
}

func (s *Server) versionInfo(w http.ResponseWriter, r *request) error {
	v, err := s.backend.Version(r.Context())
	if err != nil {
		return err
	}
	v.APIVersion, v.MinAPIVersion = string(maxVersion), string(minVersion)
	for i, c := range v.Components {
		if c.Name != "Engine" { // docker's name of the part that serves the API
			continue
		}
		details := map[string]string{"Experimental": "false"}
		maps.Copy(details, c.Details)
		details["ApiVersion"], details["MinAPIVersion"] = v.APIVersion, v.MinAPIVersion
		v.Components[i].Details = details
	}
	return writeJSON(w, http.StatusOK, v)
}

func (s *Server) info(w http.ResponseWriter, r *request) error {
	info, err := s.backend.Info(r.Context())
	if err != nil {
		return err
	}
	if info.Swarm.LocalNodeState == "" {
		info.Swarm.LocalNodeState = swarm.LocalNodeStateInactive
	}
	return writeJSON(w, http.StatusOK, legacyInfo(info, r.version))
}

// listPlugins answers with none, which is true: bothy has no plugins.
func (s *Server) listPlugins(w http.ResponseWriter, _ *request) error {
	return writeJSON(w, http.StatusOK, []struct{}{})
}

// listVolumes answers with none, which is as true.
func (s *Server) listVolumes(w http.ResponseWriter, _ *request) error {
	return writeJSON(w, http.StatusOK, volume.ListResponse{Volumes: []volume.Volume{}, Warnings: []string{}})
}

// events streams what happens until the client leaves, or until the time that
// it named.
func (s *Server) events(w http.ResponseWriter, r *request) error {
	since, err := r.time("since")
	if err != nil {
		return err
	}
	until, err := r.time("until")
	if err != nil {
		return err
	}
	if !until.IsZero() && until.Before(since) {
		return invalid("`since` time (%s) cannot be after `until` time (%s)", r.query.Get("since"), r.query.Get("until"))
	}
	filters, err := r.filters()
	if err != nil {
		return err
	}
	past, live, err := s.backend.Subscribe(r.Context(), since, until, filters)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	out := eventStream{enc: json.NewEncoder(w), rc: http.NewResponseController(w)}
	for _, m := range past {
		if err := out.send(m); err != nil {
			return err
		}
	}
	if err := out.rc.Flush(); err != nil {
		return err
	}
	return out.follow(r, live, until)
}

type eventStream struct {
	enc *json.Encoder
	rc  *http.ResponseController
}

func (o eventStream) send(m events.Message) error {
	if err := o.enc.Encode(legacyEvent(m)); err != nil {
		return err
	}
	return o.rc.Flush()
}

func (o eventStream) follow(r *request, live <-chan events.Message, until time.Time) error {
	var end <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		end = timer.C
	}
	for {
		select {
		case m, ok := <-live:
			if !ok {
				return nil
			}
			if err := o.send(m); err != nil {
				return err
			}
		case <-end:
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
}
