// Package executor turns OCI bundles into running processes with libcontainer
// and serves them as containerd's task service (v3).
//
// It runs in two homes: in a container's shim on the host, and in PID 1 of a
// virtual machine. It is the same code in both, so a container behaves the same
// in both. It knows nothing of images, networks, machines or HTTP: a bundle
// holds the runtime spec, a Create request brings the mounts of its root file
// system, and a Streams value opens its stdio by name.
//
// # Lifecycle
//
// A container is created, running, paused or stopped, and gone once deleted.
// Create makes the process and holds it in front of its exec; Start lets it go.
// Which operation is allowed in which state is one table (lifecycle.go); a move
// that isn't in it is an ErrFailedPrecondition, for a container that is gone an
// ErrNotFound. Further processes (Exec) have the same states without paused.
//
// State and Wait may be called at any time and as often as wanted. An exit is
// reported only when all output up to it was written to the process's streams;
// if a stray descendant keeps the output open, two seconds later.
//
// # Errors
//
// Every error has a kind of github.com/containerd/errdefs and carries the
// matching gRPC status, so that it survives ttrpc.
package executor
