package dockerapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
)

// createImage pulls an image (fromImage) or makes one of a root file system
// (fromSrc).
func (s *Server) createImage(w http.ResponseWriter, r *request) error {
	switch {
	case r.query.Get("fromImage") != "":
		return s.pullImage(w, r)
	case r.query.Get("fromSrc") != "":
		return s.importImage(w, r)
	default:
		return invalid("name what to create an image from: fromImage for a registry's, fromSrc=- for a tar archive in the body")
	}
}

func (s *Server) pullImage(w http.ResponseWriter, r *request) error {
	ref, err := pullReference(r.query.Get("fromImage"), r.query.Get("tag"))
	if err != nil {
		return err
	}
	platform, err := r.platform()
	if err != nil {
		return err
	}
	auth, err := parseAuth(r.Header.Get("X-Registry-Auth"))
	if err != nil {
		return err
	}
	out := newProgressStream(w)
	return out.end(s.backend.PullImage(r.Context(), ref, platform, auth, out.send))
}

// pullReference joins the name and tag (or digest) of a pull. Without a tag
// docker pulls all of them, which bothy does not.
func pullReference(name, tag string) (string, error) {
	ref, err := reference.ParseNormalizedNamed(strings.TrimSuffix(name, ":"))
	if err != nil {
		return "", invalid("invalid reference %q: %v", name, err)
	}
	if tag != "" {
		if d, digestErr := digest.Parse(tag); digestErr == nil {
			ref, err = reference.WithDigest(reference.TrimNamed(ref), d)
		} else {
			ref, err = reference.WithTag(reference.TrimNamed(ref), tag)
		}
		if err != nil {
			return "", invalid("invalid tag %q of %s: %v", tag, name, err)
		}
	}
	if reference.IsNameOnly(ref) {
		return "", notServed("bothy does not pull all tags of %s at once yet: name one, as in %s:latest", name, name)
	}
	return reference.FamiliarString(ref), nil
}

func (s *Server) importImage(w http.ResponseWriter, r *request) error {
	src := r.query.Get("fromSrc")
	if src != "-" {
		return notServed("bothy does not fetch %s itself yet: download it and send it as the body, with fromSrc=-", src)
	}
	ref, err := importReference(r.query.Get("repo"), r.query.Get("tag"))
	if err != nil {
		return err
	}
	platform, err := r.platform()
	if err != nil {
		return err
	}
	message := r.query.Get("message")
	if message == "" {
		message = "Imported from " + src
	}
	return upload(w, r, func(ctx context.Context, body io.Reader) error {
		out := newProgressStream(w)
		_, err := s.backend.ImportImage(ctx, body, ref, message, r.query["changes"], platform, out.send)
		return out.end(err)
	})
}

// importReference gives the name of the image to be made, "" for none.
func importReference(repo, tag string) (string, error) {
	if repo == "" {
		if tag != "" {
			return "", invalid("a tag (%q) needs a repository's name", tag)
		}
		return "", nil
	}
	ref, err := reference.ParseNormalizedNamed(repo)
	if err != nil {
		return "", invalid("invalid reference %q: %v", repo, err)
	}
	if _, ok := ref.(reference.Digested); ok {
		return "", invalid("cannot import digest reference")
	}
	if tag != "" {
		if ref, err = reference.WithTag(reference.TrimNamed(ref), tag); err != nil {
			return "", invalid("invalid tag %q: %v", tag, err)
		}
	}
	return reference.FamiliarString(reference.TagNameOnly(ref)), nil
}

func (s *Server) loadImages(w http.ResponseWriter, r *request) error {
	platform, err := r.platform()
	if err != nil {
		return err
	}
	quiet := r.booleanOr("quiet", true)
	return upload(w, r, func(ctx context.Context, body io.Reader) error {
		out := newProgressStream(w)
		return out.end(s.backend.LoadImages(ctx, body, platform, func(m jsonstream.Message) {
			if quiet && (m.Progress != nil || m.Status != "") {
				return
			}
			out.send(m)
		}))
	})
}

func (s *Server) listImages(w http.ResponseWriter, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return err
	}
	if name := r.query.Get("filter"); name != "" && r.version.before("1.41") {
		filters["reference"] = map[string]bool{name: true}
	}
	if r.boolean("identity") { // API 1.53 and later
		return notServed("bothy does not list an image's identity yet")
	}
	images, err := s.backend.ListImages(r.Context(), r.boolean("all"), filters)
	if err != nil {
		return err
	}
	if !r.boolean("manifests") || r.version.before("1.47") {
		for i := range images {
			images[i].Manifests = nil
		}
	}
	return writeJSON(w, http.StatusOK, legacyImages(images, r.version))
}

func (s *Server) inspectImage(w http.ResponseWriter, r *request) error {
	if r.boolean("manifests") || r.query.Get("platform") != "" {
		return notServed("bothy does not inspect an image's manifests or other platforms yet")
	}
	img, err := s.backend.InspectImage(r.Context(), r.name())
	if err != nil {
		return err
	}
	out, err := legacyImage(img, r.version)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) tagImage(w http.ResponseWriter, r *request) error {
	repo, tag, err := tagReference(r.query.Get("repo"), r.query.Get("tag"))
	if err != nil {
		return err
	}
	if err := s.backend.TagImage(r.Context(), r.name(), repo, tag); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// tagReference checks a new name of an image. A tag in repo counts where there
// is none beside it.
func tagReference(repo, tag string) (string, string, error) {
	ref, err := importReference(repo, tag)
	if err != nil {
		return "", "", err
	}
	if ref == "" {
		return "", "", invalid("name the repository that the image is to be tagged as")
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", "", invalid("invalid reference %q: %v", ref, err)
	}
	tagged, ok := named.(reference.Tagged)
	if !ok {
		return "", "", invalid("invalid reference %q: it has no tag", ref)
	}
	return reference.FamiliarName(named), tagged.Tag(), nil
}

func (s *Server) removeImage(w http.ResponseWriter, r *request) error {
	if len(r.query["platforms"]) > 0 {
		return notServed("bothy does not remove single platforms of an image yet: leave platforms out to remove all of it")
	}
	deleted, err := s.backend.RemoveImage(r.Context(), r.name(), r.boolean("force"), r.boolean("noprune"))
	if err != nil {
		return err
	}
	if deleted == nil {
		deleted = []image.DeleteResponse{}
	}
	return writeJSON(w, http.StatusOK, deleted)
}

// rawJSON gives v's fields by name, for the answers whose shape depends on the
// client's version.
func rawJSON(v any) (map[string]json.RawMessage, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	return fields, json.Unmarshal(data, &fields)
}
