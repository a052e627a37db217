// Command bench measures what bothy promises in SPECIFICATION.md, each figure
// beside a peer or a bare equivalent of the same run, with the rounds
// interleaved, and prints medians, ratios, and whether they are within what was
// promised. It starts the engines that it needs (bothy; docker, podman and runc
// where they are installed) on directories of their own, and takes all of it
// away again, also when it is interrupted.
//
//	scripts/bench [-run 'start|machines'] [-rounds 20] [-svg docs/bench.svg]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// settings say how much is measured.
type settings struct {
	sections *regexp.Regexp
	images   string // where the root file systems are
	bin      string // where bothy's programs are

	rounds     int // of what takes less than a second
	slow       int // of what takes seconds
	together   int // VMs that start at once
	siblings   int // VMs whose memory is measured
	machines   int // idle VMs beside which ps is measured
	containers int // idle containers likewise
	svg        string
}

func main() {
	s, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = bench(ctx, s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (settings, error) {
	var s settings
	var names []string
	for _, each := range sections() {
		names = append(names, each.name)
	}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	run := f.String("run", "", "measure the sections that this regular expression matches: "+strings.Join(names, ", "))
	f.StringVar(&s.images, "images", "/var/cache/bothy/images", "where make images put its root file systems")
	f.StringVar(&s.bin, "bin", "bin", "where bothy's programs are")
	f.IntVar(&s.rounds, "rounds", 20, "rounds of what takes less than a second")
	f.IntVar(&s.slow, "slow-rounds", 3, "rounds of what takes seconds")
	f.IntVar(&s.together, "together", 20, "machines that start at once")
	f.IntVar(&s.siblings, "siblings", 20, "machines whose memory is measured")
	f.IntVar(&s.machines, "machines", 100, "idle machines beside which ps is measured")
	f.IntVar(&s.containers, "containers", 300, "idle containers beside which ps is measured")
	f.StringVar(&s.svg, "svg", "", "draw the figures into this file")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	if min(s.rounds, s.slow, s.together, s.siblings) < 1 || min(s.machines, s.containers) < 0 {
		return s, errors.New("a number of rounds, or of machines, is too small")
	}
	var err error
	if s.sections, err = regexp.Compile("^(" + *run + ")"); err != nil {
		return s, fmt.Errorf("-run: %w", err)
	}
	s.bin, err = filepath.Abs(s.bin)
	return s, err
}

// warnOfLoad says so where others use the machine: ratios bear that, limits in
// milliseconds do not.
func warnOfLoad() {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return
	}
	var load float64
	if _, err := fmt.Sscan(string(text), &load); err == nil && load > 1 {
		fmt.Fprintf(os.Stderr, "bench: this machine is busy (load %.1f): times will be too long\n", load)
	}
}

// bench runs the sections and prints what they found. Where it is interrupted,
// it prints what was found by then.
func bench(ctx context.Context, s settings) error {
	l, err := newLab(s)
	if err != nil {
		return err
	}
	defer l.close()
	warnOfLoad()
	report := report{}
	for _, each := range sections() {
		if !s.sections.MatchString(each.name) || ctx.Err() != nil {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s\n", each.name)
		limited, cancel := context.WithTimeout(ctx, each.limit)
		found := each.run(limited, l)
		cancel()
		if ctx.Err() != nil {
			break // its figures are of rounds that were cut off
		}
		report.add(each, found)
		report.printSection(os.Stdout, each.name)
	}
	report.printPromises(os.Stdout)
	if s.svg != "" && ctx.Err() == nil {
		if err := os.WriteFile(s.svg, []byte(report.svg()), 0o644); err != nil {
			return fmt.Errorf("drawing the figures: %w", err)
		}
	}
	return context.Cause(ctx)
}
