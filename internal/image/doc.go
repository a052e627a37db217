// Package image keeps container images: it pulls, loads and imports them, and
// has each of their layers ready as one EROFS file.
//
// Everything lies below one directory, which one process at a time may open:
//
//	content/   containerd's local content store: manifests, configs, layer blobs
//	meta.db    containerd's metadata (bbolt): names, labels, leases
//	layers/    <algorithm>/<chain ID>.erofs, one file a layer
//	tmp/       what is being made; emptied by Open
//
// An image is a record in containerd's image store whose name is the image's
// ID (the digest of its config); it lives until the image is removed. Each tag
// ("docker.io/library/busybox:latest") and repository digest
// ("docker.io/library/busybox@sha256:...") is a further record that carries
// the ID in a label. So an image whose last tag has moved on stays, without a
// name, as docker's users expect.
//
// Layers are not containerd snapshots: nothing is ever written on top of one
// here, so all that a snapshotter would add is a second database to keep in
// step. A layer file is made in tmp/, synced, and renamed to its final name,
// so what has the name is whole. Layers are a resource of containerd's garbage
// collector: an image's config refers to its chain IDs by label, a running
// operation pins those that it needs, and what is neither goes in the same
// collection as the content. After a crash there are no pins and no leases any
// more: Open empties tmp/ and drops half-written blobs, and the first
// collection takes the rest.
//
// A layer blob is kept as it came, for it is what a push must send; a layer is
// unpacked from it once. An operation that fails leaves no image and its blobs
// and layers are collected before it returns.
//
// The package must not know of containers (whoever uses images names them
// through SetUsers and Hold), of networks, and of HTTP toward clients.
package image
