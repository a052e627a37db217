package dockerapi

import (
	"bufio"
	"compress/flate"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/moby/moby/api/types/container"
)

// archivePath is the request's path in a container.
func (r *request) archivePath() (string, error) {
	path := r.query.Get("path")
	if path == "" {
		return "", invalid("bad parameter: path cannot be empty")
	}
	if strings.ContainsRune(path, 0) {
		return "", invalid("bad parameter: the path %q has a zero byte", path)
	}
	return path, nil
}

// setPathStat puts what is known of a file where docker's clients look for it.
func setPathStat(h http.Header, st *container.PathStat) error {
	data, err := json.Marshal(st)
	if err != nil {
		return err
	}
	h.Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString(data))
	return nil
}

func (s *Server) headArchive(w http.ResponseWriter, r *request) error {
	path, err := r.archivePath()
	if err != nil {
		return err
	}
	st, err := s.backend.StatPath(r.Context(), r.name(), path)
	if err != nil {
		return err
	}
	if err := setPathStat(w.Header(), st); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) getArchive(w http.ResponseWriter, r *request) error {
	path, err := r.archivePath()
	if err != nil {
		return err
	}
	archive, st, err := s.backend.ArchivePath(r.Context(), r.name(), path)
	if err != nil {
		return err
	}
	defer archive.Close()
	if err := setPathStat(w.Header(), st); err != nil {
		return err
	}
	return sendArchive(w, r, "application/x-tar", archive)
}

func (s *Server) putArchive(w http.ResponseWriter, r *request) error {
	path, err := r.archivePath()
	if err != nil {
		return err
	}
	req := ExtractRequest{NoOverwriteDirNonDir: r.boolean("noOverwriteDirNonDir"), CopyUIDGID: r.boolean("copyUIDGID")}
	return upload(w, r, func(ctx context.Context, body io.Reader) error {
		if err := s.backend.ExtractArchive(ctx, r.name(), path, req, body); err != nil {
			return err
		}
		w.WriteHeader(http.StatusOK)
		return nil
	})
}

func (s *Server) exportContainer(w http.ResponseWriter, r *request) error {
	archive, err := s.backend.ExportContainer(r.Context(), r.name())
	if err != nil {
		return err
	}
	defer archive.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	return copyArchive(w, w, archive)
}

// sendArchive answers with an archive, compressed if the client asks for it.
func sendArchive(w http.ResponseWriter, r *request, contentType string, archive io.Reader) error {
	w.Header().Set("Content-Type", contentType)
	var packed io.WriteCloser
	switch encoding := acceptedEncoding(r.Header.Values("Accept-Encoding")); encoding {
	case "gzip":
		w.Header().Set("Content-Encoding", encoding)
		packed = gzip.NewWriter(w)
	case "deflate":
		w.Header().Set("Content-Encoding", encoding)
		packed, _ = flate.NewWriter(w, flate.DefaultCompression) // the level is valid
	default:
		return copyArchive(w, w, archive)
	}
	if err := copyArchive(w, packed, archive); err != nil {
		return err
	}
	return packed.Close()
}

// acceptedEncoding gives the first of gzip and deflate that a client takes, ""
// for neither.
func acceptedEncoding(headers []string) string {
	accepted := map[string]bool{}
	for _, header := range headers {
		for item := range strings.SplitSeq(header, ",") {
			name, q, _ := strings.Cut(strings.ReplaceAll(strings.ToLower(item), " ", ""), ";")
			accepted[name] = strings.Trim(strings.TrimPrefix(q, "q="), "0.") != "" || q == ""
		}
	}
	for _, name := range []string{"gzip", "deflate"} {
		if accepted[name] {
			return name
		}
	}
	return ""
}

// copyArchive sends an archive. Where that breaks off, the connection does, so
// that a client does not take a part for the whole.
func copyArchive(w http.ResponseWriter, to io.Writer, archive io.Reader) error {
	begin := bufio.NewReaderSize(archive, 32<<10)
	if _, err := begin.Peek(1); err != nil && !errors.Is(err, io.EOF) { // nothing is sent yet: it becomes the answer
		w.Header().Del("Content-Encoding")
		return err
	}
	if _, err := io.Copy(to, begin); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (s *Server) containerChanges(w http.ResponseWriter, r *request) error {
	changes, err := s.backend.ContainerChanges(r.Context(), r.name())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, changes)
}
