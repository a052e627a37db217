// Package kernel finds the Linux kernel that virtual machines boot, and the
// modules that they need from it.
//
// A kernel is a file boot/vmlinuz-<version> and a directory
// lib/modules/<version> below a root: the machine's own "/", or a directory in
// which a distribution's kernel package was unpacked. No depmod is needed:
// dependencies come from the modules themselves.
//
// It knows nothing of QEMU, of the initramfs that carries the modules, or of
// containers.
package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/containerd/errdefs"
)

// PackageRoot is where set-up unpacks a distribution's kernel package.
const PackageRoot = "/usr/lib/bothy/kernel"

// install is what a user without a kernel should do.
const install = "install a kernel package (Debian: linux-image-cloud-amd64) or name a kernel image with its modules beside it"

// Kernel is a kernel and its modules.
type Kernel struct {
	Version    string // "6.1.0-56-cloud-amd64"
	Image      string // absolute path of the bzImage
	ModulesDir string // absolute path of lib/modules/<Version>
}

// Options say where to look.
type Options struct {
	// Image is the path of a kernel image that the user named: it or nothing.
	// Its modules are looked for at ../lib/modules beside its directory and then
	// below Roots.
	Image string
	// Roots are searched in order, and the first that holds a usable kernel
	// gives its newest one. Empty: "/" and PackageRoot.
	Roots []string
}

// Find returns the kernel that opts ask for. A kernel that lacks a module which
// machines need is passed over; if none is left, the error (of the kind
// errdefs.ErrUnavailable, or ErrInvalidArgument if the image was named) says
// why each was not taken and what to install.
func Find(opts Options) (Kernel, error) {
	roots := opts.Roots
	if len(roots) == 0 {
		roots = []string{"/", PackageRoot}
	}
	if opts.Image != "" {
		k, err := named(opts.Image, roots)
		if err != nil {
			return Kernel{}, fmt.Errorf("using the kernel %s: %w", opts.Image, err)
		}
		return k, nil
	}

	var passed []error
	for _, root := range roots {
		for _, k := range candidates(root) {
			err := k.check()
			if err == nil {
				return k, nil
			}
			passed = append(passed, fmt.Errorf("%s: %w", k.Image, err))
		}
	}
	if len(passed) > 0 {
		return Kernel{}, fmt.Errorf("no usable kernel for virtual machines: %w; %s: %w", join(passed), install, errdefs.ErrUnavailable)
	}
	return Kernel{}, fmt.Errorf("no kernel for virtual machines in %s: %s: %w", strings.Join(bootDirs(roots), ", "), install, errdefs.ErrUnavailable)
}

// candidates lists the kernels below root, the newest first.
func candidates(root string) []Kernel {
	const prefix = "vmlinuz-"
	images, err := filepath.Glob(filepath.Join(root, "boot", prefix+"*"))
	if err != nil { // a root with glob characters: none of ours
		return nil
	}
	var ks []Kernel
	for _, image := range images {
		version := strings.TrimPrefix(filepath.Base(image), prefix)
		ks = append(ks, Kernel{Version: version, Image: image, ModulesDir: modulesDir(version, root)})
	}
	sort.SliceStable(ks, func(i, j int) bool { return compareVersions(ks[i].Version, ks[j].Version) > 0 })
	return ks
}

// named makes a Kernel of an image that the user named.
func named(image string, roots []string) (Kernel, error) {
	image, err := filepath.Abs(image)
	if err != nil {
		return Kernel{}, err
	}
	version, err := imageVersion(image)
	if err != nil {
		return Kernel{}, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	beside := filepath.Dir(filepath.Dir(image))
	k := Kernel{Version: version, Image: image, ModulesDir: modulesDir(version, append([]string{beside}, roots...)...)}
	if err := k.check(); err != nil {
		return Kernel{}, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return k, nil
}

// modulesDir returns the modules directory of version below the first root
// that has one, or "".
func modulesDir(version string, roots ...string) string {
	for _, root := range roots {
		for _, lib := range []string{"lib/modules", "usr/lib/modules"} {
			dir := filepath.Join(root, lib, version)
			if st, err := os.Stat(dir); err == nil && st.IsDir() {
				return dir
			}
		}
	}
	return ""
}

// check returns why the kernel cannot be used, or nil.
func (k Kernel) check() error {
	f, err := os.Open(k.Image)
	if err != nil {
		return err
	}
	defer f.Close()
	if k.ModulesDir == "" {
		return fmt.Errorf("lib/modules/%s is missing", k.Version)
	}
	idx, err := readIndex(k.ModulesDir)
	if err != nil {
		return err
	}
	if lacks := idx.lacking(); len(lacks) > 0 {
		return fmt.Errorf("it has no %s, built in or as a module", strings.Join(lacks, ", "))
	}
	return nil
}

// imageVersion returns the version of the kernel image at path: from its
// header, else from a name of the form vmlinuz-<version>.
func imageVersion(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	header := make([]byte, 64<<10)
	n, err := f.ReadAt(header, 0)
	if n == 0 {
		return "", fmt.Errorf("reading its header: %w", err)
	}
	if v, ok := headerVersion(header[:n]); ok {
		return v, nil
	}
	if _, v, ok := strings.Cut(filepath.Base(path), "-"); ok && v != "" {
		return v, nil
	}
	return "", errors.New("it is not an x86 Linux kernel image (bzImage), and its name is not of the form vmlinuz-<version>")
}

// headerVersion reads the version out of the first 64 KiB of a bzImage
// (Documentation/arch/x86/boot.rst in Linux, field kernel_version).
func headerVersion(b []byte) (string, bool) {
	const magicAt, pointerAt, stringsAt = 0x202, 0x20e, 0x200
	if len(b) < pointerAt+2 || !bytes.Equal(b[magicAt:magicAt+4], []byte("HdrS")) {
		return "", false
	}
	at := (int(b[pointerAt]) | int(b[pointerAt+1])<<8) + stringsAt
	if at == stringsAt || at >= len(b) {
		return "", false
	}
	text, _, ok := bytes.Cut(b[at:], []byte{0})
	if !ok {
		return "", false
	}
	version, _, _ := strings.Cut(string(text), " ")
	if version == "" || version == "." || version == ".." || strings.ContainsFunc(version, notInVersion) {
		return "", false
	}
	return version, true
}

// notInVersion reports whether r has no place in a kernel's version, which
// becomes a directory's name.
func notInVersion(r rune) bool {
	return r <= ' ' || r > '~' || r == '/'
}

func bootDirs(roots []string) []string {
	dirs := make([]string, len(roots))
	for i, root := range roots {
		dirs[i] = filepath.Join(root, "boot")
	}
	return dirs
}

// join is errors.Join on one line.
func join(errs []error) error {
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	return errors.New(strings.Join(texts, "; "))
}
