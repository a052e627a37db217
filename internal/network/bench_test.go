package network

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkAttach shows what a container's start pays for its endpoint.
func BenchmarkAttach(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("needs root: makes network namespaces")
	}
	for _, home := range []string{HomeProcess, HomeVM} {
		b.Run(home, func(b *testing.B) {
			runtime.LockOSThread() // not unlocked: the namespace ends with the goroutine
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				b.Fatal(err)
			}
			ctx := context.Background()
			m, err := Open(ctx, testOptions())
			if err != nil {
				b.Fatal(err)
			}
			defer m.release()
			for i := 0; b.Loop(); i++ {
				id := strconv.Itoa(i)
				ep, err := m.Attach(ctx, Request{ContainerID: id, Home: home})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := ep.File.Close(); err != nil {
					b.Fatal(err)
				}
				if err := m.Detach(ctx, id); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkDetach shows what a container's end pays.
func BenchmarkDetach(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("needs root: makes network namespaces")
	}
	runtime.LockOSThread() // not unlocked: the namespace ends with the goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	m, err := Open(ctx, testOptions())
	if err != nil {
		b.Fatal(err)
	}
	defer m.release()
	for b.Loop() {
		b.StopTimer()
		ep, err := m.Attach(ctx, Request{ContainerID: "c", Home: HomeProcess})
		if err != nil {
			b.Fatal(err)
		}
		if err := ep.File.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := m.Detach(ctx, "c"); err != nil {
			b.Fatal(err)
		}
	}
}
