// Command bench times `run --rm busybox echo hi` under bothy in both homes, and
// the import of a Debian root file system, and the same under docker and podman
// where they are installed, in one run with the rounds interleaved, and prints
// medians and ratios. It starts the engines it needs on roots of their own and
// stops them again.
//
//	go run ./test/bench [-rounds 15] [-vm-rounds 5] [-import-rounds 3]
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// kind is what contenders have in common that are compared.
type kind int

const (
	containers kind = iota
	machines
	imports
)

// contender is one way to run the container, or to import the image.
type contender struct {
	name    string
	kind    kind
	rounds  int
	command []string
	env     []string
	// after, if set, undoes what command did; it is not timed.
	after []string
	// until, if set, ends the measurement at the first output that holds it,
	// rather than at the command's end.
	until   string
	times   []time.Duration
	problem error
}

func (c *contender) once() error {
	cmd := exec.Command(c.command[0], c.command[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	start := time.Now()
	if c.until != "" {
		if err := runUntil(cmd, c.until); err != nil {
			return err
		}
	} else if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	c.times = append(c.times, time.Since(start))
	if c.after != nil {
		return do(c.env, c.after[0], c.after[1:]...)
	}
	return nil
}

func (c *contender) median() time.Duration {
	slices.Sort(c.times)
	return c.times[len(c.times)/2]
}

// plan is what every engine is asked to do.
type plan struct {
	dir                       string // where the engines keep everything
	busybox, debian           string // root file systems, tar
	rounds, vmRounds, imports int
}

func main() {
	var p plan
	flag.IntVar(&p.rounds, "rounds", 15, "rounds for containers")
	flag.IntVar(&p.vmRounds, "vm-rounds", 5, "rounds for virtual machines")
	flag.IntVar(&p.imports, "import-rounds", 3, "rounds for the import of an image")
	images := flag.String("images", "/var/cache/bothy/images", "where make images put its root file systems")
	flag.Parse()
	p.busybox, p.debian = filepath.Join(*images, "busybox.tar"), filepath.Join(*images, "debian.tar")
	if err := bench(p); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(p plan) (err error) {
	if p.dir, err = os.MkdirTemp("", "bothy-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(p.dir)
	var contenders []*contender
	for _, start := range []func(plan) ([]*contender, func(), error){startBothy, startDocker, startPodman} {
		more, stop, err := start(p)
		if err != nil {
			return err
		}
		defer stop()
		contenders = append(contenders, more...)
	}
	measure(contenders)
	print(contenders)
	return nil
}

// measure runs what is to be compared in turn, kind by kind: a processor that
// has just been busy is faster than one that wakes up, so that a machine's boot
// among containers is slower than one after another machine's.
func measure(contenders []*contender) {
	kinds := map[kind][]*contender{}
	for _, c := range contenders {
		kinds[c.kind] = append(kinds[c.kind], c)
	}
	for _, k := range []kind{containers, machines, imports} {
		measureInTurn(kinds[k])
	}
}

// measureInTurn runs each contender once a round, after one that does not count.
func measureInTurn(contenders []*contender) {
	most := 0
	for _, c := range contenders {
		most = max(most, c.rounds)
	}
	for round := -1; round < most; round++ {
		for _, c := range contenders {
			if c.problem != nil || round >= c.rounds || c.rounds == 0 {
				continue
			}
			c.problem = c.once()
			if round < 0 {
				c.times = nil
			}
		}
	}
}

func print(contenders []*contender) {
	medians := map[string]time.Duration{}
	for _, c := range contenders {
		if c.problem == nil && len(c.times) > 0 {
			medians[c.name] = c.median()
		}
	}
	fmt.Printf("%-34s %9s %9s %9s %7s\n", "run --rm busybox echo hi; import", "median", "fastest", "slowest", "rounds")
	for _, c := range contenders {
		if c.problem == nil && len(c.times) == 0 {
			continue // not asked for
		}
		if c.problem != nil {
			fmt.Printf("%-34s not measured: %v\n", c.name, c.problem)
			continue
		}
		fmt.Printf("%-34s %6d ms %6d ms %6d ms %7d\n", c.name, c.median().Milliseconds(), c.times[0].Milliseconds(), c.times[len(c.times)-1].Milliseconds(), len(c.times))
	}
	fmt.Println()
	for _, r := range [][2]string{
		{"bothy process", "docker"}, {"bothy process", "podman"}, {"bothy process, no network", "docker, no network"}, {"bothy process, no network", "podman, no network"},
		{"bothy vm", bareName}, {"bothy vm", stockName}, {"bothy vm", "docker"}, {"bothy import", "docker import"}, {"bothy import", "podman import"},
	} {
		a, b := medians[r[0]], medians[r[1]]
		if a > 0 && b > 0 {
			fmt.Printf("%s / %s: %.2f\n", r[0], r[1], float64(a)/float64(b))
		}
	}
}
