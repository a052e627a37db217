package shim

import (
	"os"
	"sync"
)

// input is a process's stdin: a pipe, so that what is typed early is kept.
type input struct {
	w *os.File

	mu sync.Mutex
	r  *os.File // until the process has it
}

func newInput() (*input, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &input{r: r, w: w}, nil
}

// Write blocks while the pipe is full; close and abandon end that.
func (i *input) Write(p []byte) (int, error) { return i.w.Write(p) }

// take gives the process's end, once.
func (i *input) take() (*os.File, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	r := i.r
	i.r = nil
	return r, r != nil
}

// close ends the process's stdin after what was written.
func (i *input) close() { _ = i.w.Close() }

// abandon closes both ends.
func (i *input) abandon() {
	i.close()
	if r, ok := i.take(); ok {
		_ = r.Close()
	}
}
