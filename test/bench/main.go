// Command bench times `run --rm busybox echo hi` under bothy in both homes and,
// where they are installed, under docker and podman, in one run with the rounds
// interleaved, and prints medians and ratios. It starts the engines it needs on
// roots of their own and stops them again.
//
//	go run ./test/bench [-rounds 15] [-vm-rounds 5]
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

// contender is one way to run the container.
type contender struct {
	name    string
	rounds  int
	command []string
	env     []string
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
	return nil
}

func (c *contender) median() time.Duration {
	slices.Sort(c.times)
	return c.times[len(c.times)/2]
}

func main() {
	rounds := flag.Int("rounds", 15, "rounds for containers")
	vmRounds := flag.Int("vm-rounds", 5, "rounds for virtual machines")
	images := flag.String("images", "/var/cache/bothy/images", "where make images put busybox.tar")
	flag.Parse()
	if err := bench(*rounds, *vmRounds, filepath.Join(*images, "busybox.tar")); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(rounds, vmRounds int, rootfs string) error {
	dir, err := os.MkdirTemp("", "bothy-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var contenders []*contender
	for _, engine := range []func(dir, rootfs string, rounds, vmRounds int) ([]*contender, func(), error){startBothy, startDocker, startPodman} {
		more, stop, err := engine(dir, rootfs, rounds, vmRounds)
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

// measure runs the contenders in turn, after one round that does not count.
func measure(contenders []*contender) {
	most := 0
	for _, c := range contenders {
		most = max(most, c.rounds)
	}
	for round := -1; round < most; round++ {
		for _, c := range contenders {
			if c.problem != nil || round >= c.rounds {
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
		if c.problem == nil {
			medians[c.name] = c.median()
		}
	}
	fmt.Printf("%-34s %9s %9s %9s %7s\n", "run --rm busybox echo hi", "median", "fastest", "slowest", "rounds")
	for _, c := range contenders {
		if c.problem != nil {
			fmt.Printf("%-34s not measured: %v\n", c.name, c.problem)
			continue
		}
		fmt.Printf("%-34s %6d ms %6d ms %6d ms %7d\n", c.name, c.median().Milliseconds(), c.times[0].Milliseconds(), c.times[len(c.times)-1].Milliseconds(), len(c.times))
	}
	fmt.Println()
	for _, r := range [][2]string{
		{"bothy process", "docker"}, {"bothy process", "podman"}, {"bothy process, no network", "docker, no network"}, {"bothy process, no network", "podman, no network"},
		{"bothy vm", "bare QEMU to PID 1's first line"}, {"bothy vm", "docker"},
	} {
		a, b := medians[r[0]], medians[r[1]]
		if a > 0 && b > 0 {
			fmt.Printf("%s / %s: %.2f\n", r[0], r[1], float64(a)/float64(b))
		}
	}
}
