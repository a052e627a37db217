// Package shim is the host half of a container: the program that lives as
// long as the container does, and does not need the engine to. It owns the
// container's standard streams and its log, serves containerd's task service
// and the attach protocol, and keeps the exit record.
//
// What runs the container is behind the same task service: the executor on
// this host, or a virtual machine. The package knows neither the engine nor
// HTTP.
package shim
