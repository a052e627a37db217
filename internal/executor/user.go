package executor

import (
	"errors"
	"io"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// GroupAddAnnotation in a runtime spec lists further groups of the container's
// processes, names or numbers, separated by commas: docker's --group-add.
const GroupAddAnnotation = "bothy.group-add"

// resolveUser fills in UID, GID and AdditionalGids of u from its Username, which
// is what a user typed: "name", "uid", "name:group" and so on. Names are looked
// up in the passwd and group files of the root file system, as docker does.
//
// A user without Username that has any of the other fields is left as it is;
// one without any field at all is root, with root's groups.
func resolveUser(rootfs string, u *specs.User, groupAdd string) error {
	if u.Username == "" && (u.UID != 0 || u.GID != 0 || len(u.AdditionalGids) != 0) {
		return addGroups(rootfs, u, groupAdd)
	}
	passwd, err := openInRoot(rootfs, "/etc/passwd")
	if err != nil {
		return err
	}
	defer passwd.Close()
	group, err := openInRoot(rootfs, "/etc/group")
	if err != nil {
		return err
	}
	defer group.Close()
	found, err := user.GetExecUser(u.Username, nil, passwd, group)
	if err != nil {
		return errorf(errdefs.ErrInvalidArgument, "%w", err)
	}
	u.UID, u.GID = uint32(found.Uid), uint32(found.Gid)
	// The primary group is among the supplementary ones, else dropping it
	// would be a way around a file's "group: no access".
	gids := append([]int{found.Gid}, found.Sgids...)
	for _, gid := range gids {
		u.AdditionalGids = appendGid(u.AdditionalGids, uint32(gid))
	}
	return addGroups(rootfs, u, groupAdd)
}

// addGroups adds the groups of a GroupAddAnnotation.
func addGroups(rootfs string, u *specs.User, groupAdd string) error {
	if groupAdd == "" {
		return nil
	}
	group, err := openInRoot(rootfs, "/etc/group")
	if err != nil {
		return err
	}
	defer group.Close()
	gids, err := user.GetAdditionalGroups(strings.Split(groupAdd, ","), group)
	if err != nil {
		return errorf(errdefs.ErrInvalidArgument, "%w", err)
	}
	for _, gid := range gids {
		u.AdditionalGids = appendGid(u.AdditionalGids, uint32(gid))
	}
	return nil
}

func appendGid(gids []uint32, gid uint32) []uint32 {
	for _, have := range gids {
		if have == gid {
			return gids
		}
	}
	return append(gids, gid)
}

// maxUserFile bounds in bytes a file of users or groups, which the container can
// write: what reads it keeps some of it.
const maxUserFile = 4 << 20

// openInRoot opens a file of users or groups for reading, with symbolic links
// meaning what they mean inside root. A file that isn't there is an empty one.
func openInRoot(root, path string) (io.ReadCloser, error) {
	handle, err := pathrs.OpenInRoot(root, path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return io.NopCloser(strings.NewReader("")), nil
	}
	if err != nil {
		return nil, wrap(err, "opening %s of the image", path)
	}
	defer handle.Close()
	// Not a device, not a FIFO: an image says what lies at this path.
	info, err := handle.Stat()
	if err != nil {
		return nil, wrap(err, "opening %s of the image", path)
	}
	if !info.Mode().IsRegular() {
		return nil, errorf(errdefs.ErrInvalidArgument, "%s of the image is not a regular file", path)
	}
	if info.Size() > maxUserFile {
		return nil, errorf(errdefs.ErrInvalidArgument, "%s of the image has more than %d bytes", path, maxUserFile)
	}
	f, err := pathrs.Reopen(handle, os.O_RDONLY)
	if err != nil {
		return nil, wrap(err, "opening %s of the image", path)
	}
	return boundedFile{io.LimitReader(f, maxUserFile), f}, nil // it may grow meanwhile
}

type boundedFile struct {
	io.Reader
	io.Closer
}
