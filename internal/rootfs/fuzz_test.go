package rootfs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Whatever a guest answers, the client ends, and keeps no more of it than a line.
func FuzzClient(f *testing.F) {
	f.Add([]byte("{\"stat\":{\"name\":\"x\"}}\n\x00\x00\x00\x03abc\x80\x00\x00\x10\x00\x00\x00\x00{}\n"))
	f.Add([]byte("{\"error\":\"no\",\"code\":5}\n"))
	f.Add([]byte("{}\n\xff\xff\xff\xff"))
	f.Add([]byte("{}\n\x00\x00\x00\x1c{\"path\":\"/a\",\"kind\":1}\n{}\n\x00\x00\x00\x00{\"error\":\"late\"}\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		for _, use := range []func(*Client){
			func(c *Client) { _, _ = c.Stat(context.Background(), "/x") },
			func(c *Client) { _ = c.Changes(context.Background(), nil, 1<<16, func(Change) {}) },
			func(c *Client) {
				if r, _, err := c.Read(context.Background(), Request{Op: OpPack}); err == nil {
					_, _ = io.CopyN(io.Discard, r, 1<<20)
					r.Close()
				}
			},
			func(c *Client) { _ = c.Unpack(context.Background(), Request{}, bytes.NewReader(answer)) },
		} {
			ours, theirs := net.Pipe()
			go func() {
				go func() { _, _ = io.Copy(io.Discard, theirs) }()
				_, _ = theirs.Write(answer)
				theirs.Close()
			}()
			use(NewClient(ours))
			ours.Close()
		}
	})
}

// A stream that is cut up by its writer is put together by its reader.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("abc"), 5000, 1)
	f.Add([]byte{}, 1<<17, 3)
	f.Fuzz(func(t *testing.T, data []byte, zeros, times int) {
		if zeros < 0 || zeros > 1<<20 || times < 0 || times > 8 {
			return
		}
		var wire, want bytes.Buffer
		w := newFrameWriter(&wire)
		for range times {
			for _, piece := range [][]byte{data, make([]byte, zeros)} {
				if _, err := w.Write(piece); err != nil {
					t.Fatal(err)
				}
				want.Write(piece)
			}
		}
		if err := w.end(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(&frameReader{r: bufio.NewReader(&wire)})
		if err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("%d bytes became %d, %v", want.Len(), len(got), err)
		}
	})
}

// Whatever is in a stream, reading it ends in its end or an error.
func FuzzFrameReader(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x03abc\x80\x00\x00\x10\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, err := io.CopyN(io.Discard, &frameReader{r: bufio.NewReader(bytes.NewReader(in))}, 1<<24)
		if errors.Is(err, io.ErrNoProgress) {
			t.Fatal(err)
		}
	})
}

// Whatever an archive says, nothing is made or changed outside the root.
func FuzzUnpack(f *testing.F) {
	t := &testing.T{}
	f.Add(archive(t, "a/", "a/b=1", "l -> /etc", "l/x=1", "h => a/b").Bytes())
	f.Add(archive(t, "../x=1").Bytes())
	f.Add(archive(t, "l -> ../../..", "l/x=1", "l/y -> z", "y => l/x", "l=now a file").Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 64<<10 {
			return
		}
		outer := inMemory(t)
		root := filepath.Join(outer, "in", "side")
		if err := os.MkdirAll(filepath.Join(root, "dest"), 0o755); err != nil {
			t.Fatal(err)
		}
		dir, err := openPath(root)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = tree{dir}.unpack(ctx, bytes.NewReader(in), "/dest", false, &owner{os.Getuid(), os.Getgid()})
		for _, name := range []string{outer, filepath.Join(outer, "in")} {
			if entries, err := os.ReadDir(name); err != nil || len(entries) != 1 {
				t.Fatalf("%s has %v, %v", name, entries, err)
			}
		}
		noLeftovers(t, root)
	})
}

// inMemory makes a directory where removing files costs little.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "rootfs-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
