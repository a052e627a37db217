package engine

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"bothy/internal/engineapi"
	"bothy/internal/image"
	files "bothy/internal/rootfs"
	"bothy/internal/shimapi"
	"bothy/internal/shimclient"
	"bothy/internal/spec"
)

// filesTries is how often the files of a container are looked for where they
// are: it may start or end meanwhile.
const filesTries = 4

// connectFiles connects to who has the container's files mounted. done is to be
// called after the connection is closed.
func (s *Containers) connectFiles(ctx context.Context, c *ctr) (client *files.Client, done func(), err error) {
	for range filesTries {
		if err := c.settle(ctx); err != nil {
			return nil, nil, err
		}
		conn, done, err := s.tryFiles(ctx, c)
		if err == nil {
			return files.NewClient(conn), done, nil
		}
		if !errors.Is(err, errRuns) {
			return nil, nil, err
		}
	}
	return nil, nil, failure(errdefs.ErrUnavailable, "container %s starts and ends too quickly to get at its files: stop it", c.id)
}

// tryFiles is connectFiles once. Its error is errRuns if the container has
// started, or is ending, just now.
func (s *Containers) tryFiles(ctx context.Context, c *ctr) (shimclient.Conn, func(), error) {
	c.mu.Lock()
	t, ended := c.task, c.ended
	c.mu.Unlock()
	if t == nil {
		return s.stillFiles(ctx, c)
	}
	conn, _, err := t.Attach(ctx, shimapi.AttachRequest{Files: true})
	if err == nil {
		return conn, func() {}, nil
	}
	if ctx.Err() != nil || !hasEnded(err) || ended == nil {
		return nil, nil, err
	}
	select {
	case <-ended: // its shim has gone already
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	return nil, nil, errRuns
}

// StatPath describes a file of a container.
func (s *Containers) StatPath(ctx context.Context, ref, path string) (*container.PathStat, error) {
	c, err := s.index.find(ref)
	if err != nil {
		return nil, err
	}
	client, done, err := s.connectFiles(ctx, c)
	if err != nil {
		return nil, err
	}
	defer done()
	st, err := client.Stat(ctx, path)
	if err != nil {
		return nil, pathError(err, path, ref)
	}
	return pathStat(st), nil
}

func pathStat(st *files.Stat) *container.PathStat {
	return &container.PathStat{Name: st.Name, Size: st.Size, Mode: st.Mode, Mtime: st.Mtime, LinkTarget: st.LinkTarget}
}

// pathError gives a file that is not there docker's words.
func pathError(err error, path, ref string) error {
	if errdefs.IsNotFound(err) {
		return failure(errdefs.ErrNotFound, "Could not find the file %s in container %s", path, ref)
	}
	return err
}

// archiveReader is an archive that is being made; done follows its closing.
type archiveReader struct {
	io.ReadCloser
	done func()
}

func (r archiveReader) Close() error {
	err := r.ReadCloser.Close()
	r.done()
	return err
}

// read makes a request that is answered by bytes. Closing the reader ends it.
func (s *Containers) read(ctx context.Context, c *ctr, req files.Request) (io.ReadCloser, *files.Stat, error) {
	client, done, err := s.connectFiles(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	r, st, err := client.Read(ctx, req)
	if err != nil {
		done()
		return nil, nil, err
	}
	rec, _ := c.snapshot()
	if rec.Home == spec.VM && req.Op != files.OpLayer { // the image store checks layers
		r = files.Checked(r, req)
	}
	return archiveReader{r, done}, st, nil
}

// ArchivePath packs a file or directory of a container as a tar.
func (s *Containers) ArchivePath(ctx context.Context, ref, path string) (io.ReadCloser, *container.PathStat, error) {
	c, err := s.index.find(ref)
	if err != nil {
		return nil, nil, err
	}
	r, st, err := s.read(ctx, c, files.Request{Op: files.OpPack, Path: path})
	if err != nil {
		return nil, nil, pathError(err, path, ref)
	}
	rec, _ := c.snapshot()
	s.emit(events.ActionArchivePath, rec)
	return r, pathStat(st), nil
}

// ExtractArchive unpacks a tar, compressed or not, in a directory of a container.
func (s *Containers) ExtractArchive(ctx context.Context, ref, path string, o engineapi.ExtractRequest, archive io.Reader) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	tar, err := image.Uncompressed(archive)
	if err != nil {
		return err
	}
	defer func() { go tar.Close() }() // which waits for the client to send, or to go
	client, done, err := s.connectFiles(ctx, c)
	if err != nil {
		return err
	}
	defer done()
	rec, _ := c.snapshot()
	req := files.Request{Path: path, NoOverwriteDirNonDir: o.NoOverwriteDirNonDir}
	if o.CopyUIDGID {
		req.Owner = rec.Config.User
	}
	if err := client.Unpack(ctx, req, tar); err != nil {
		return pathError(err, path, ref)
	}
	s.emit(events.ActionExtractToDir, rec)
	return nil
}

// ExportContainer packs a container's whole root file system, without what is
// mounted in it.
func (s *Containers) ExportContainer(ctx context.Context, ref string) (io.ReadCloser, error) {
	c, err := s.index.find(ref)
	if err != nil {
		return nil, err
	}
	r, _, err := s.read(ctx, c, files.Request{Op: files.OpExport})
	if err != nil {
		return nil, fmt.Errorf("exporting container %s: %w", ref, err)
	}
	rec, _ := c.snapshot()
	s.emit(events.ActionExport, rec)
	return r, nil
}
