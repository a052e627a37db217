package image

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// Whoever reads on after the end gets to know of it.
func TestUncompressedIsClosedWhileItIsRead(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	rest, never := io.Pipe()
	r, err := Uncompressed(io.MultiReader(&packed, rest))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 512<<10)); err != nil {
		t.Fatal(err)
	}
	read, closed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, r)
		read <- err
	}()
	go func() { closed <- r.Close() }()
	if err := <-read; !errors.Is(err, os.ErrClosed) {
		t.Errorf("the reader: %v", err)
	}
	never.Close()
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
