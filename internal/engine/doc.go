// Package engine holds containers and their lifecycle in both homes, and the
// images, networks and machines that they are made of. It is the only place
// that sees all of these; it must not know HTTP.
//
// The engine is several small types that share a store: [Containers] answers
// for containers, [Images] for images, [System] for the whole, and [Engine] is
// the three in one. A container's life is a table of transitions (state.go);
// what is on disk about it is written by one type (store.go); starting it is one
// sequence with one rollback (start.go); its end is handled in one place
// (exit.go), whether bothyd was there to see it or comes back later.
package engine
