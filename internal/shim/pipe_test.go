package shim

import (
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// A client that has ended its writing side and reads on is there still, also
// for a shim that is interrupted: by its own garbage collector, for one.
func TestWaitHangUpInterrupted(t *testing.T) {
	t.Parallel()
	server, client := socketPair(t)
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		waitHangUp(server)
	}()
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() { // what the client reads wakes those who wait for the socket
		for !stop.Load() {
			_, _ = server.Write(make([]byte, 4096))
		}
	})
	wg.Go(func() { // every thread, for one of them asks
		for !stop.Load() {
			threads, _ := os.ReadDir("/proc/self/task")
			for _, thread := range threads {
				if id, err := strconv.Atoi(thread.Name()); err == nil {
					_ = unix.Tgkill(os.Getpid(), id, unix.SIGURG)
				}
			}
		}
	})
	_, _ = io.CopyN(io.Discard, client, 16<<20)
	select {
	case <-gone:
		t.Error("a client that reads was taken for one that has gone")
	default:
	}
	stop.Store(true)
	_ = client.Close()
	wg.Wait()
	<-gone
}

func socketPair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "socket")
		conn, err := net.FileConn(file)
		_ = file.Close()
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = conn.(*net.UnixConn)
		t.Cleanup(func() { _ = conn.Close() })
	}
	return conns[0], conns[1]
}
