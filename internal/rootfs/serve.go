package rootfs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// Source opens a container's files, each call anew: what it returns is the
// caller's to close. They are directories, or O_PATH handles of them.
type Source interface {
	// View is the root that the container sees, with all that is mounted in it.
	View() (*os.File, error)
	// Root is its root file system and nothing else.
	Root() (*os.File, error)
	// Layers are the container's own files, and what the image had, merged.
	Layers() (upper, lower *os.File, err error)
	// Flush returns when all that was written is where a machine that is
	// switched off keeps it.
	Flush() error
}

// goodbyeTimeout bounds how long input that is of no use any more is read, so
// that its sender gets to read the answer.
const goodbyeTimeout = 10 * time.Second

// Conn is one connection. A server closes nothing.
type Conn interface {
	io.ReadWriter
	SetReadDeadline(time.Time) error
}

// Serve answers the one request that comes over a connection and returns when
// the answer is written, or the client has gone. in is what is read of conn.
func Serve(ctx context.Context, conn Conn, in io.Reader, files Source) error {
	s := &server{conn: conn, in: bufio.NewReaderSize(in, copySize), files: files}
	var req Request
	if err := readLine(s.in, &req); err != nil {
		return writeLine(conn, replyOf(fmt.Errorf("reading a request: %w", err)))
	}
	if req.Version != Version {
		err := fmt.Errorf("the request has version %d, this side knows %d: %w", req.Version, Version, errdefs.ErrInvalidArgument)
		return writeLine(conn, replyOf(err))
	}
	if req.Op == OpUnpack {
		return s.unpack(ctx, req)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	gone := make(chan struct{})
	go func() { // nothing more comes but the client's end
		defer close(gone)
		_, _ = s.in.ReadByte()
		cancel()
	}()
	defer func() {
		_ = conn.SetReadDeadline(time.Unix(1, 0))
		<-gone
		_ = conn.SetReadDeadline(time.Time{})
	}()
	return s.read(ctx, req)
}

// Refuse answers a request that cannot be served.
func Refuse(conn io.Writer, err error) { _ = writeLine(conn, replyOf(kindOf(err))) }

type server struct {
	conn  Conn
	in    *bufio.Reader
	files Source
}

// read serves the operations that change nothing.
func (s *server) read(ctx context.Context, req Request) error {
	switch req.Op {
	case OpStat:
		return s.onView(func(t tree) error {
			st, err := t.stat(req.Path)
			if err != nil {
				return s.refuse(err)
			}
			return writeLine(s.conn, reply{Stat: st})
		})
	case OpPack:
		return s.onView(func(t tree) error { return s.pack(ctx, t, req) })
	case OpExport:
		root, err := s.files.Root()
		if err != nil {
			return s.refuse(err)
		}
		defer root.Close()
		return s.stream(reply{}, func(w io.Writer) error { return export(ctx, w, root) })
	case OpChanges, OpLayer:
		return s.compare(ctx, req)
	}
	return s.refuse(fmt.Errorf("there is no operation %q: %w", req.Op, errdefs.ErrInvalidArgument))
}

// onView calls f with what the container sees.
func (s *server) onView(f func(tree) error) error {
	view, err := s.files.View()
	if err != nil {
		return s.refuse(err)
	}
	defer view.Close()
	return f(tree{view})
}

func (s *server) pack(ctx context.Context, t tree, req Request) error {
	abs := absolute(req.Path)
	handle, st, err := t.lookup(abs)
	if err != nil {
		return s.refuse(err)
	}
	defer handle.Close()
	told, err := t.describe(abs, &st)
	if err == nil && isReg(&st) && kernelMade(handle) {
		err = fmt.Errorf("%s is no file but made by the kernel: %w", abs, errdefs.ErrNotFound)
	}
	if err != nil {
		return s.refuse(err)
	}
	return s.stream(reply{Stat: told}, func(w io.Writer) error { return t.pack(ctx, w, abs, handle, st) })
}

func (s *server) compare(ctx context.Context, req Request) error {
	l := &layers{ignore: map[string]bool{}}
	for _, name := range req.Ignore {
		l.ignore[name] = true
	}
	var err error
	if l.upper, l.lower, err = s.files.Layers(); err != nil {
		return s.refuse(err)
	}
	defer l.upper.Close()
	defer l.lower.Close()
	if req.Op == OpLayer {
		return s.stream(reply{}, func(w io.Writer) error { return l.layer(ctx, w) })
	}
	return s.stream(reply{}, func(w io.Writer) error {
		lines := bufio.NewWriter(w)
		out := json.NewEncoder(lines)
		if err := l.changes(ctx, func(c Change) error { return out.Encode(c) }); err != nil {
			return err
		}
		return lines.Flush()
	})
}

// stream answers with bytes and whether they are all.
func (s *server) stream(first reply, write func(io.Writer) error) error {
	if err := writeLine(s.conn, first); err != nil {
		return err
	}
	w := newFrameWriter(s.conn)
	failed := write(w)
	if err := w.end(); err != nil {
		return err // the client has gone
	}
	return writeLine(s.conn, replyOf(kindOf(failed)))
}

func (s *server) refuse(err error) error {
	return writeLine(s.conn, replyOf(kindOf(err)))
}

// unpack serves OpUnpack.
func (s *server) unpack(ctx context.Context, req Request) error {
	stream := &frameReader{r: s.in}
	failed := s.unpackInto(ctx, req, stream)
	if err := writeLine(s.conn, replyOf(kindOf(failed))); err != nil {
		return err
	}
	if failed != nil {
		_ = s.conn.SetReadDeadline(time.Now().Add(goodbyeTimeout))
		_, _ = io.Copy(io.Discard, s.in)
	}
	return nil
}

func (s *server) unpackInto(ctx context.Context, req Request, stream io.Reader) error {
	view, err := s.files.View()
	if err != nil {
		return err
	}
	defer view.Close()
	t := tree{view}
	dest, err := t.writable(req.Path)
	if err != nil {
		return err
	}
	who, err := t.owner(req.Owner)
	if err != nil {
		return err
	}
	if err := t.unpack(ctx, stream, dest, req.NoOverwriteDirNonDir, who); err != nil {
		return err
	}
	return s.files.Flush()
}

// owner finds a user in the container's own files; nil for "".
func (t tree) owner(name string) (*owner, error) {
	if name == "" {
		return nil, nil
	}
	passwd, group := t.read("/etc/passwd"), t.read("/etc/group")
	defer passwd.Close()
	defer group.Close()
	u, err := user.GetExecUser(name, nil, passwd, group)
	if err != nil {
		return nil, fmt.Errorf("finding the container's user: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return &owner{u.Uid, u.Gid}, nil
}

// maxUserFile bounds in bytes a file of users or groups, of which the parser
// keeps some.
const maxUserFile = 4 << 20

// read opens a file of users or groups; what is no regular file is empty.
func (t tree) read(name string) io.ReadCloser {
	none := io.NopCloser(errReader{io.EOF})
	handle, err := t.open(name, unix.O_PATH)
	if err != nil {
		return none
	}
	defer handle.Close()
	st, err := fstat(handle)
	if err != nil || !isReg(&st) {
		return none
	}
	if st.Size > maxUserFile {
		return io.NopCloser(errReader{fmt.Errorf("%s has more than %d bytes", name, maxUserFile)})
	}
	file, err := reopen(handle, unix.O_RDONLY)
	if err != nil {
		return none
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(file, maxUserFile), file}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// kindOf gives errors of the kernel the kinds that they travel as.
func kindOf(err error) error {
	switch {
	case err == nil, errdefs.IsNotFound(err), errdefs.IsInvalidArgument(err):
		return err
	case errors.Is(err, os.ErrNotExist):
		return &plainError{err.Error(), errdefs.ErrNotFound}
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.ELOOP):
		return &plainError{err.Error(), errdefs.ErrInvalidArgument}
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return &plainError{err.Error() + ": free some space there and try again", errdefs.ErrResourceExhausted}
	}
	return err
}
