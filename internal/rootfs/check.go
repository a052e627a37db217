package rootfs

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"path"
	"strings"

	"github.com/containerd/errdefs"
)

const (
	// maxLinkable is how many files of an archive that is checked can be named
	// by hard links.
	maxLinkable = 1 << 20
	// maxName bounds in bytes one part of a name in an archive that is checked;
	// the kernel's file systems have none of more than 255 characters.
	maxName = 1 << 10
)

// Checked passes on the archive that answers req (OpPack or OpExport) if a guest
// made it, which may lie: clients unpack it with what rights they have, and an
// old one is led out of its directory by an archive that has a symbolic link and
// then a file beneath it. So each file has to lie in the directory that was told
// of last, or in one above it, and in the order of the names; hard links name
// what was told of; and nothing is passed on but what a packer writes.
//
// Closing it closes the archive.
func Checked(archive io.ReadCloser, req Request) io.ReadCloser {
	out, in := io.Pipe()
	c := &checked{PipeReader: out, archive: archive, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		w := bufio.NewWriterSize(in, copySize)
		err := newChecker(req).copy(w, archive)
		if err == nil {
			err = w.Flush()
		}
		in.CloseWithError(err)
	}()
	return c
}

type checked struct {
	*io.PipeReader
	archive io.ReadCloser
	done    chan struct{}
}

func (c *checked) Close() error {
	_ = c.PipeReader.Close()
	err := c.archive.Close()
	<-c.done
	return err
}

// checker follows an archive's names.
type checker struct {
	first    string          // the name of the first entry, without a slash after it; none has to be there if there is no prefix
	prefix   string          // that all others begin with
	begun    bool            // the first entry has been seen, or there is none
	at       []string        // the latest entry's name below prefix, in parts
	dir      bool            // it is a directory
	seed     maphash.Seed    // of linkable
	linkable map[uint64]bool // the names of what is no directory, hashed
}

func newChecker(req Request) *checker {
	c := &checker{begun: true, dir: true, seed: maphash.MakeSeed(), linkable: map[uint64]bool{}}
	if req.Op != OpPack {
		return c
	}
	if c.first = path.Base(absolute(req.Path)); c.first == "/" {
		c.first = ""
	}
	c.prefix, c.begun = c.first+"/", false
	return c
}

// copy passes an archive on, and gives the error that its reader ends with.
func (c *checker) copy(w io.Writer, r io.Reader) error {
	in, out := tar.NewReader(r), tar.NewWriter(w)
	buf := make([]byte, copySize)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return archiveProblem(err)
		}
		plain, err := c.entry(h)
		if err != nil {
			return err
		}
		if err := out.WriteHeader(plain); err != nil {
			return fmt.Errorf("passing on %.200q: %w", h.Name, err)
		}
		if plain.Size == 0 {
			continue
		}
		if _, err := io.CopyBuffer(out, in, buf); err != nil {
			return archiveProblem(err)
		}
	}
	if !c.begun {
		return lie("it is empty")
	}
	switch n, err := io.ReadFull(r, buf[:1]); { // the reply that ends it is an error of its reader
	case n > 0:
		return lie("it goes on after its end")
	case !errors.Is(err, io.EOF):
		return err
	}
	return out.Close()
}

// archiveProblem is the reader's error, or says what is wrong with the archive.
func archiveProblem(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) {
		return lie("%v", err)
	}
	return err
}

func lie(format string, args ...any) error {
	return fmt.Errorf("the virtual machine's archive is not what it should be: %s: %w", fmt.Sprintf(format, args...), errdefs.ErrUnknown)
}

// entry checks an entry and gives what is passed on of it.
func (c *checker) entry(h *tar.Header) (*tar.Header, error) {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
	default:
		return nil, lie("%.200q is of the kind %q", h.Name, h.Typeflag)
	}
	if err := c.place(h); err != nil {
		return nil, err
	}
	if h.Typeflag == tar.TypeLink && !c.linkable[c.hash(h.Linkname)] {
		return nil, lie("%.200q is a link to %.200q, which is not in it, or after more than %d files", h.Name, h.Linkname, maxLinkable)
	}
	if h.Typeflag != tar.TypeDir && len(c.linkable) < maxLinkable {
		c.linkable[c.hash(h.Name)] = true
	}
	plain := &tar.Header{
		Typeflag: h.Typeflag, Name: h.Name, Linkname: h.Linkname, Mode: h.Mode & 0o7777, Uid: h.Uid, Gid: h.Gid,
		ModTime: h.ModTime, Devmajor: h.Devmajor, Devminor: h.Devminor, Format: tar.FormatPAX,
	}
	if h.Typeflag == tar.TypeReg {
		plain.Size = h.Size
	}
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, paxXattr); !ok || !travels(name) {
			continue
		}
		if plain.PAXRecords == nil {
			plain.PAXRecords = map[string]string{}
		}
		plain.PAXRecords[key] = value
	}
	return plain, nil
}

func (c *checker) hash(name string) uint64 { return maphash.String(c.seed, name) }

// place checks where an entry lies.
func (c *checker) place(h *tar.Header) error {
	name, dir := h.Name, h.Typeflag == tar.TypeDir
	if dir {
		name = strings.TrimSuffix(name, "/")
	}
	if !c.begun {
		if name != c.first {
			return lie("it begins with %.200q instead of %.200q", h.Name, c.first)
		}
		c.begun, c.dir = true, dir
		return nil
	}
	rest, ok := strings.CutPrefix(name, c.prefix)
	if !ok {
		return lie("%.200q does not lie in %.200q", h.Name, c.prefix)
	}
	parts := strings.Split(rest, "/")
	n := len(parts) - 1
	if n > len(c.at) || n == len(c.at) && !c.dir || n > maxDepth {
		return lie("%.200q lies in no directory of it", h.Name)
	}
	for i, part := range parts {
		switch {
		case part == "", part == ".", part == "..", len(part) > maxName:
			return lie("%.200q is no file's name", h.Name)
		case i < n && part != c.at[i]:
			return lie("%.200q lies in no directory of it", h.Name)
		case i == n && n < len(c.at) && part <= c.at[n]:
			return lie("%.200q is not where its name belongs", h.Name)
		}
	}
	c.at, c.dir = append(c.at[:n], parts[n]), dir
	return nil
}
