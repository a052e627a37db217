package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// templateFlags start an engine whose machines are small and go on from
// templates: no machine waits.
var templateFlags = []string{"--vm-memory", "64MiB", "--vm-pool", "0"}

// machine is what inspect says of a container's machine.
type machine struct{ Start, Reason, Template string }

func inspectMachine(t *testing.T, e *engine, name string) machine {
	t.Helper()
	var m machine
	if err := json.Unmarshal([]byte(e.bothy(t, "inspect", "-f", "{{json .Machine}}", name)), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// startMachine starts a container in a machine.
func startMachine(t *testing.T, e *engine, name string, flags ...string) machine {
	t.Helper()
	e.removeLater(t, name)
	args := append([]string{"run", "-d", "--name", name, "--isolation", "vm"}, flags...)
	e.bothy(t, append(args, "busybox", "sleep", "1000")...)
	return inspectMachine(t, e, name)
}

// templates lists those that df knows, by their whole IDs.
func templates(t *testing.T, e *engine) []string {
	t.Helper()
	return strings.Fields(e.bothy(t, "system", "df", "-v", "--format", `{{range .BuildCache}}{{if eq .CacheType "vm.template"}}{{.ID}} {{end}}{{end}}`))
}

// awaitTemplate waits until there is a template.
func awaitTemplate(t *testing.T, e *engine) string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if all := templates(t, e); len(all) > 0 {
			return strings.TrimSuffix(all[0], "*")
		}
		if time.Now().After(deadline) {
			t.Fatalf("no template is made; bothyd: %s", e.tail())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestTemplates has the first machine of a size boot, and later ones go on from
// a template that is made meanwhile; those have nothing in common that names
// them.
func TestTemplates(t *testing.T) {
	t.Parallel()
	theEngine(t)
	e := ownEngine(t, templateFlags...)
	e.bothy(t, "import", sampleImage("busybox"), "busybox")
	if m := startMachine(t, e, "first"); m.Start != "booted" || !strings.Contains(m.Reason, "no template") {
		t.Errorf("the first machine: %+v", m)
	}
	e.bothy(t, "rm", "-f", "first")
	id := awaitTemplate(t, e)
	t.Run("siblings", func(t *testing.T) { siblings(t, e, id) })
	t.Run("networks", func(t *testing.T) { templateNetworks(t, e) })
	t.Run("disks", func(t *testing.T) { templateDisks(t, e) })
	t.Run("prune", func(t *testing.T) { pruneTemplate(t, e, id) })
}

// draw prints what no two machines may have in common, one word a line, and the
// time.
const draw = `cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid; head -c 16 /dev/urandom | od -An -tx1 | tr -d ' '
hostname; cat /sys/class/net/eth0/address; hostname -i; date +%s`

func siblings(t *testing.T, e *engine, id string) {
	var each sync.WaitGroup
	drawn := make([][]string, 2)
	for i := range drawn {
		each.Go(func() {
			name := fmt.Sprint("sibling", i)
			if m := startMachine(t, e, name); m.Start != "restored" || m.Reason != "" || m.Template != "sha256:"+id {
				t.Errorf("machine %d: %+v", i, m)
			}
			drawn[i] = strings.Fields(e.bothy(t, "exec", name, "sh", "-c", draw))
		})
	}
	each.Wait()
	seen := map[string]bool{}
	for i, words := range drawn {
		if len(words) != 7 {
			t.Fatalf("machine %d drew %q", i, words)
		}
		for _, word := range words[:6] {
			if seen[word] {
				t.Errorf("%q was seen before: %q", word, drawn)
			}
			seen[word] = true
		}
		if clock, err := strconv.ParseInt(words[6], 10, 64); err != nil || time.Since(time.Unix(clock, 0)).Abs() > 30*time.Second {
			t.Errorf("machine %d has the time %s", i, words[6])
		}
	}
	if started := e.bothy(t, "events", "--since", "10m", "--until=-1s", "--filter", "event=start", "--format", "{{.Actor.Attributes.machine}}"); !strings.Contains(started, "restored") {
		t.Errorf("the events say %q", started)
	}
	if got := templates(t, e); len(got) != 1 || got[0] != id+"*" && got[0] != id {
		t.Errorf("templates %q, want %q", got, id)
	}
	if usage := e.bothy(t, "system", "df", "--format", "{{.Type}} {{.Active}}"); !strings.Contains(usage, "Build Cache 1") {
		t.Errorf("two machines use it, but df says %q", usage)
	}
}

func templateNetworks(t *testing.T, e *engine) {
	if m := startMachine(t, e, "alone", "--network", "none"); m.Start != "restored" {
		t.Errorf("without a network: %+v", m)
	}
	if links := e.bothy(t, "exec", "alone", "ls", "/sys/class/net"); links != "lo" {
		t.Errorf("without a network it has the links %q", links)
	}
	gateway := e.bothy(t, "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge")
	startMachine(t, e, "joined")
	e.bothy(t, "exec", "joined", "ping", "-c", "1", "-W", "20", gateway)
}

// templateDisks has one machine write, and a second one of the same container go
// on with what is written; a container with a disk of its own size has that.
func templateDisks(t *testing.T, e *engine) {
	startMachine(t, e, "writer")
	e.bothy(t, "exec", "writer", "sh", "-c", "echo kept >/kept && sync")
	e.bothy(t, "kill", "writer")
	e.bothy(t, "start", "writer")
	if m := inspectMachine(t, e, "writer"); m.Start != "restored" {
		t.Errorf("the second time: %+v", m)
	}
	if got := e.bothy(t, "exec", "writer", "cat", "/kept"); got != "kept" {
		t.Errorf("it reads %q", got)
	}
	e.bothy(t, "kill", "writer") // then its files are read by a machine of their own
	to := filepath.Join(t.TempDir(), "kept")
	e.bothy(t, "cp", "writer:/kept", to)
	if data, err := os.ReadFile(to); err != nil || string(data) != "kept\n" {
		t.Errorf("copied %q, %v", data, err)
	}
	if m := startMachine(t, e, "small", "--storage-opt", "size=100m"); m.Start != "restored" {
		t.Errorf("with a disk of its own size: %+v", m)
	}
	if got := e.bothy(t, "exec", "small", "sh", "-c", "df -m / | tail -n 1 | awk '{print $2 < 110}'"); got != "1" {
		t.Errorf("its disk is as large as others': %q", e.bothy(t, "exec", "small", "df", "-m", "/"))
	}
}

func pruneTemplate(t *testing.T, e *engine, id string) {
	startMachine(t, e, "user")
	if out := e.bothy(t, "builder", "prune", "-f"); strings.Contains(out, id) {
		t.Errorf("one in use was pruned: %s", out)
	}
	if out := e.bothy(t, "builder", "prune", "-af"); !strings.Contains(out, id) {
		t.Errorf("pruning all says %q", out)
	}
	if got := templates(t, e); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
	if m := startMachine(t, e, "booted"); m.Start != "booted" {
		t.Errorf("without a template: %+v", m)
	}
	awaitTemplate(t, e) // it is made again
}

// TestTemplateThatIsDamaged alters and cuts a template behind the engine's back:
// machines boot, say why, and the template is made anew.
func TestTemplateThatIsDamaged(t *testing.T) {
	t.Parallel()
	theEngine(t)
	e := ownEngine(t, templateFlags...)
	e.bothy(t, "import", sampleImage("busybox"), "busybox")
	startMachine(t, e, "first")
	for name, damage := range map[string]struct {
		do     func(dir string) error
		reason string
	}{
		"memory altered": {func(dir string) error { return flip(filepath.Join(dir, "memory"), 0x1000000) }, "memory was altered"},
		"state cut":      {func(dir string) error { return os.Truncate(filepath.Join(dir, "state"), 1000) }, "state has 1000 bytes"},
	} {
		id := awaitTemplate(t, e)
		if err := e.signal(syscall.SIGTERM); err != nil { // it has them in memory
			t.Fatal(err)
		}
		if err := damage.do(filepath.Join(e.dir, "data", "vm", "templates", id)); err != nil {
			t.Fatal(err)
		}
		if err := e.start(); err != nil {
			t.Fatal(err)
		}
		container := strings.ReplaceAll(name, " ", "-")
		if m := startMachine(t, e, container); m.Start != "booted" || !strings.Contains(m.Reason, damage.reason) {
			t.Errorf("%s: %+v", name, m)
		}
		if reason := e.bothy(t, "events", "--since", "10m", "--until=-1s", "--filter", "container="+container, "--filter", "event=start", "--format", "{{.Actor.Attributes.reason}}"); !strings.Contains(reason, damage.reason) {
			t.Errorf("%s: the event says %q", name, reason)
		}
	}
	awaitTemplate(t, e)
	if m := startMachine(t, e, "last"); m.Start != "restored" {
		t.Errorf("after that: %+v", m)
	}
}

// flip changes one byte of a file.
func flip(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= 0xff
	_, err = f.WriteAt(b, at)
	return err
}

// TestEngineKilledWhileATemplateIsMade leaves no machine and no half template.
func TestEngineKilledWhileATemplateIsMade(t *testing.T) {
	t.Parallel()
	theEngine(t)
	e := ownEngine(t, templateFlags...)
	e.bothy(t, "import", sampleImage("busybox"), "busybox")
	e.bothy(t, "run", "--rm", "--isolation", "vm", "busybox", "true")
	pid := filepath.Join(e.dir, "run", "template", "qemu.pid")
	var qemu int
	for deadline := time.Now().Add(patience); qemu == 0; {
		data, _ := os.ReadFile(pid) // not there yet
		qemu, _ = strconv.Atoi(string(data))
		if time.Now().After(deadline) {
			t.Fatalf("no template is being made; bothyd: %s", e.tail())
		}
	}
	if err := e.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); syscall.Kill(qemu, 0) == nil; {
		if time.Now().After(deadline) {
			t.Fatal("its QEMU lives on")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	e.bothy(t, "info") // then it is up
	if left, err := os.ReadDir(filepath.Join(e.dir, "data", "vm", "templates")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	e.bothy(t, "run", "--rm", "--isolation", "vm", "busybox", "true")
	awaitTemplate(t, e)
}
