// Package rootfs reads and writes a container's root file system from where it
// is mounted: in a shim (process home) or in a guest (VM home). It packs and
// unpacks tar archives (docker cp, export), lists what a container has changed
// (diff), and packs that as an image layer (commit). Both ends of the protocol
// that carries these are here: Serve beside the files, Client in the engine.
//
// The files belong to a container that may run, and change them meanwhile, with
// ill intent. So no path of its is ever resolved but beneath its root: paths
// from outside go through openat2 with RESOLVE_IN_ROOT, and below that only
// single names are opened, never through a symbolic link. Devices and pipes are
// never opened at all. What is at the other end of the protocol may be a guest
// that lies: Client bounds all that it reads into memory, and Checked lets no
// archive pass that would lead who unpacks it astray.
//
// The package knows nothing of containers' lifecycle, engines, images or
// machines.
package rootfs
