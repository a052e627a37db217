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

	"bothy/internal/engineapi"
)

// Files is the engine's side of containers' files. It is asked for separately,
// as Networks is. What is read ends with io.EOF only if it is whole.
type Files interface {
	StatPath(ctx context.Context, ref, path string) (*container.PathStat, error)
	// ArchivePath gives a tar, of which the names begin with the path's last.
	ArchivePath(ctx context.Context, ref, path string) (io.ReadCloser, *container.PathStat, error)
	// ExtractArchive unpacks a tar, compressed or not, in an existing directory.
	ExtractArchive(ctx context.Context, ref, path string, req engineapi.ExtractRequest, archive io.Reader) error
	// ExportContainer gives a tar of the root file system alone.
	ExportContainer(ctx context.Context, ref string) (io.ReadCloser, error)
	ContainerChanges(ctx context.Context, ref string) ([]container.FilesystemChange, error)
	// CommitContainer returns the new image's ID.
	CommitContainer(ctx context.Context, req engineapi.CommitRequest) (string, error)
}

// onFiles serves a request by an engine that has Files.
func (s *Server) onFiles(handle func(w http.ResponseWriter, r *request, files Files) error) handler {
	return func(w http.ResponseWriter, r *request) error {
		files, ok := s.backend.(Files)
		if !ok {
			return notServed("bothy does not read containers' files yet")
		}
		return handle(w, r, files)
	}
}

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

func headArchive(w http.ResponseWriter, r *request, files Files) error {
	path, err := r.archivePath()
	if err != nil {
		return err
	}
	st, err := files.StatPath(r.Context(), r.name(), path)
	if err != nil {
		return err
	}
	if err := setPathStat(w.Header(), st); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func getArchive(w http.ResponseWriter, r *request, files Files) error {
	path, err := r.archivePath()
	if err != nil {
		return err
	}
	archive, st, err := files.ArchivePath(r.Context(), r.name(), path)
	if err != nil {
		return err
	}
	defer archive.Close()
	if err := setPathStat(w.Header(), st); err != nil {
		return err
	}
	return sendArchive(w, r, "application/x-tar", archive)
}

func putArchive(w http.ResponseWriter, r *request, files Files) error {
	path, err := r.archivePath()
	if err != nil {
		return err
	}
	req := engineapi.ExtractRequest{NoOverwriteDirNonDir: r.boolean("noOverwriteDirNonDir"), CopyUIDGID: r.boolean("copyUIDGID")}
	return upload(w, r, func(ctx context.Context, body io.Reader) error {
		if err := files.ExtractArchive(ctx, r.name(), path, req, body); err != nil {
			return err
		}
		w.WriteHeader(http.StatusOK)
		return nil
	})
}

func exportContainer(w http.ResponseWriter, r *request, files Files) error {
	archive, err := files.ExportContainer(r.Context(), r.name())
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

func containerChanges(w http.ResponseWriter, r *request, files Files) error {
	changes, err := files.ContainerChanges(r.Context(), r.name())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, changes)
}
