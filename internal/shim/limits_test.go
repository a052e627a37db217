package shim_test

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"bothy/internal/shimapi"
	"bothy/internal/shimclient"
)

// What a container costs beside itself; users are promised these numbers.
const (
	maxResident     = 6_000_000  // bytes of the shim of a sleeping container
	maxAfterClients = 8_000_000  // the same, when many clients have gone
	maxOfMachine    = 8_000_000  // the same, with a machine
	maxProgram      = 12_000_000 // bytes on disk
)

func TestSizes(t *testing.T) {
	b := newBox(t)
	b.create(script("echo ready; exec sleep 1000"))
	b.start()
	info, err := os.Stat(b.opts.Binary)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > maxProgram {
		t.Errorf("the program has %d bytes, at most %d are allowed", info.Size(), maxProgram)
	}
	rss := settled(t, b.client.Pid, maxResident)
	if rss > maxResident {
		t.Errorf("the shim of a sleeping container has %d bytes resident, at most %d are allowed", rss, maxResident)
	}
	t.Logf("program %d bytes, resident %d bytes", info.Size(), rss)
}

// Clients that have gone leave nothing behind.
func TestSizeAfterClients(t *testing.T) {
	b := newBox(t)
	b.create(script("exec sleep 1000"))
	b.start()
	settled(t, b.client.Pid, maxResident)
	var conns []shimclient.Conn
	for range 500 {
		conns = append(conns, b.attach(shimapi.AttachRequest{Stdout: true}))
	}
	if rss := resident(t, b.client.Pid); rss <= maxAfterClients {
		t.Logf("with clients only %d bytes are resident", rss)
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	if rss := settled(t, b.client.Pid, maxAfterClients); rss > maxAfterClients {
		t.Errorf("after its clients, the shim has %d bytes resident, at most %d are allowed", rss, maxAfterClients)
	}
}

// settled is what a process has resident once it is below the limit, or for
// long.
func settled(t *testing.T, pid int, limit int64) (rss int64) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if rss = resident(t, pid); rss <= limit {
			break
		}
	}
	return rss
}

// resident is VmRSS in bytes.
func resident(t *testing.T, pid int) int64 {
	t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("process %d has no VmRSS", pid)
	return 0
}
