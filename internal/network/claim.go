package network

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// claimName is an abstract socket, of which each network namespace has its own.
	claimName = "@bothy/subnets"
	// claimPatience bounds the wait for it: whoever holds it longer is no engine,
	// and must not keep one from starting.
	claimPatience = 3 * time.Second
)

// claimSubnets keeps other engines of this network namespace from choosing a
// subnet until release is called: they would find the same one free.
func claimSubnets() (release func(), err error) {
	for late := time.Now().Add(claimPatience); ; {
		l, err := net.Listen("unix", claimName)
		if err == nil {
			return func() { l.Close() }, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("waiting for other engines to choose their subnets: %w", err)
		}
		if time.Now().After(late) {
			return func() {}, nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}
