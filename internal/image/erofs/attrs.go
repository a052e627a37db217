package erofs

import (
	"archive/tar"
	"io/fs"
	"math"
	"strings"
)

const (
	opaqueXattr   = "trusted.overlay.opaque"
	overlayPrefix = "trusted.overlay."
	paxXattr      = "SCHILY.xattr."

	maxXattrValue = math.MaxUint16
	// An inode counts its attributes' area in units of four bytes, in 16 bits.
	maxXattrArea = 4 * (math.MaxUint16 - 1)
)

// describe takes mode, owner, times and extended attributes from a header.
func (n *node) describe(h *tar.Header) error {
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) > math.MaxUint32 || int64(h.Gid) > math.MaxUint32 {
		return refuse("the layer's entry %q has the impossible owner %d:%d", h.Name, h.Uid, h.Gid)
	}
	n.uid, n.gid, n.mtime = uint32(h.Uid), uint32(h.Gid), h.ModTime
	n.mode = n.mode.Type() | permissions(h.Mode)
	return n.takeXattrs(h)
}

// permissions turns the mode of a tar header into Go's bits.
func permissions(mode int64) fs.FileMode {
	m := fs.FileMode(mode) & fs.ModePerm
	if mode&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if mode&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if mode&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	return m
}

func (n *node) takeXattrs(h *tar.Header) error {
	n.xattrs = nil
	if n.opaque {
		n.setXattr(opaqueXattr, "y")
	}
	area := 12
	for k, v := range h.PAXRecords {
		name, ok := strings.CutPrefix(k, paxXattr)
		if !ok || strings.HasPrefix(name, overlayPrefix) {
			continue
		}
		if name == "" || len(name) > maxName || len(v) > maxXattrValue {
			return refuse("the layer's entry %q has an extended attribute that no file system can hold", h.Name)
		}
		if area += len(name) + len(v) + 8; area > maxXattrArea {
			return refuse("the layer's entry %q has more than %d bytes of extended attributes", h.Name, maxXattrArea)
		}
		n.setXattr(onDisk(name), v)
	}
	return nil
}

// onDisk gives the name under which go-erofs stores an attribute as the kernel
// looks for it: the two of POSIX ACLs are kinds of their own with no name left,
// which go-erofs spells with a dot at the end.
func onDisk(name string) string {
	if name == "system.posix_acl_access" || name == "system.posix_acl_default" {
		return name + "."
	}
	return name
}
