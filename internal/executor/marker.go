package executor

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// MarkerAnnotation in a runtime spec names an empty file that the root
// directory gets: programs know by docker's that they are in a container.
const MarkerAnnotation = "bothy.marker"

// makeMarker makes the file unless something has its name already. A root that
// cannot be written to has none.
func makeMarker(root, name string) error {
	if name == "" {
		return nil
	}
	if name == "." || name != filepath.Base(name) || !filepath.IsLocal(name) {
		return errorf(errdefs.ErrInvalidArgument, "the annotation %s is no file name: %q", MarkerAnnotation, name)
	}
	fd, err := unix.Open(filepath.Join(root, name), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o755)
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EROFS) {
		return nil
	}
	if err != nil {
		return wrap(&os.PathError{Op: "open", Path: name, Err: err}, "marking the root file system")
	}
	return wrap(unix.Close(fd), "marking the root file system")
}
