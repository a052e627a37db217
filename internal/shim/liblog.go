package shim

import (
	"io"
	"sync"

	"github.com/sirupsen/logrus"
)

// libraryLogLimit bounds in bytes what libraries write to the shim's log: they
// have a line for each message of a guest that they do not understand.
const libraryLogLimit = 64 << 10

// boundLibraryLog lets libraries write to w until the limit is reached.
func boundLibraryLog(w io.Writer) {
	logrus.SetOutput(&bounded{w: w, left: libraryLogLimit})
}

// bounded drops what is beyond a limit.
type bounded struct {
	w io.Writer

	mu   sync.Mutex
	left int // bytes
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(p) > b.left {
		b.left = 0
		return len(p), nil
	}
	b.left -= len(p)
	return b.w.Write(p)
}
