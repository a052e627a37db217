// Package vm runs one virtual machine with QEMU and makes it look like an
// executor: Boot starts it and waits for its guest, Machine.Task is the task
// service of that guest, and the standard streams of the guest's processes end
// in the caller's Streams.
//
// It knows QEMU's command line, QMP, and the link to the guest. It must not
// know images, networks, the engine or HTTP: disks arrive as rootfs mounts,
// interfaces as open tap files. The guest is not trusted: nothing that it says
// makes this package keep more than a fixed amount of memory or disk.
package vm
