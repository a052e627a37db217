package rootfs

import (
	"io/fs"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// Stat is what is known of one file, in the words of docker's
// X-Docker-Container-Path-Stat.
type Stat struct {
	Name       string      `json:"name"`
	Size       int64       `json:"size"`
	Mode       fs.FileMode `json:"mode"`
	Mtime      time.Time   `json:"mtime"`
	LinkTarget string      `json:"linkTarget"` // of a symbolic link: the path in the container that it leads to in the end
}

// lookup finds a file by a path as absolute gives it. A symbolic link at its end
// is followed only if a slash comes after it.
func (t tree) lookup(abs string) (*os.File, unix.Stat_t, error) {
	handle, err := t.open(abs, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return nil, unix.Stat_t{}, err
	}
	st, err := fstat(handle)
	if err != nil {
		handle.Close()
		return nil, st, err
	}
	return handle, st, nil
}

// describe is what is told of a file that lookup has found at abs.
func (t tree) describe(abs string, st *unix.Stat_t) (*Stat, error) {
	s := &Stat{Name: path.Base(abs), Size: st.Size, Mode: fileMode(st.Mode), Mtime: time.Unix(st.Mtim.Unix())}
	if !isLink(st) {
		return s, nil
	}
	var err error
	s.LinkTarget, err = t.resolve(abs)
	return s, err
}

// stat is lookup and describe.
func (t tree) stat(name string) (*Stat, error) {
	abs := absolute(name)
	handle, st, err := t.lookup(abs)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	return t.describe(abs, &st)
}
