package main

import (
	"context"
	"os"
	"path/filepath"
	"time"
)

// section is what is measured together.
type section struct {
	name  string // for -run
	title string
	limit time.Duration // what it may take
	run   func(context.Context, *lab) []figure
}

func sections() []section {
	return []section{
		{"start", "run --rm busybox echo hi", 15 * time.Minute, startContainers},
		{"exec", "exec of true in a container that runs", 5 * time.Minute, runCommands},
		{"machines", "the same in a virtual machine", 30 * time.Minute, startMachines},
		{"together", "machines started at once", 20 * time.Minute, startTogether},
		{"memory", "host memory", 15 * time.Minute, measureMemory},
		{"density", "ps beside many idle machines and containers", 40 * time.Minute, measureDensity},
		{"images", "import of a Debian root file system", 15 * time.Minute, importImages},
		{"sizes", "programs on disk", time.Minute, measurePrograms},
	}
}

// echo are the arguments of what is timed most.
func echo(flags ...string) []string {
	return append(append([]string{"run", "--rm"}, flags...), "busybox", "echo", "hi")
}

func startContainers(ctx context.Context, l *lab) []figure {
	bothy, bothyErr := l.plain(ctx)
	docker, dockerErr := l.docker(ctx)
	podman, podmanErr := l.podman(ctx)
	runc, runcErr := l.runc(ctx)
	return inTurn(
		ctx,
		of(processName, bothy, bothyErr, l.rounds, echo()...),
		of("bothy, process, no network", bothy, bothyErr, l.rounds, echo("--network", "none")...),
		of(dockerName, docker, dockerErr, l.rounds, echo()...).theirs(),
		of("docker, no network", docker, dockerErr, l.rounds, echo("--network", "none")...).theirs(),
		of("podman", podman, podmanErr, l.rounds, podmanRun()...).theirs(),
		of("podman, no network", podman, podmanErr, l.rounds, podmanRun("--network", "none")...).theirs(),
		(&contender{name: runcName, rounds: l.rounds, argv: runc, problem: runcErr}).theirs(),
		of("bothy --version", bothy, bothyErr, l.rounds, "--version"),
		of("docker --version", docker, dockerErr, l.rounds, "--version").theirs(),
	)
}

func startMachines(ctx context.Context, l *lab) []figure {
	plain, plainErr := l.plain(ctx)
	template, templateErr := l.bothy(ctx, "templ", templateSettings)
	pool, poolErr := l.bothy(ctx, "pool", poolSettings)
	docker, dockerErr := l.docker(ctx)
	vm := echo("--isolation", "vm")
	restored := of(templateName, template, templateErr, l.rounds, vm...)
	restored.ready = func(ctx context.Context) error { return template.settle(ctx, 0) }
	pooled := of(pooledName, pool, poolErr, l.rounds, vm...)
	pooled.ready = func(ctx context.Context) error { return pool.settle(ctx, 1) }
	contenders := []*contender{
		of(coldName, plain, plainErr, l.rounds, vm...), restored, pooled,
		of(besideName, docker, dockerErr, l.rounds, echo()...).theirs(),
	}
	if plainErr == nil {
		contenders = append(contenders, bareMachines(ctx, plain, l.rounds)...)
	}
	if templateErr == nil {
		restored.problem = template.warm(ctx, "--isolation", "vm")
	}
	if poolErr == nil {
		pooled.problem = pool.fill(ctx, "--isolation", "vm")
	}
	return inTurn(ctx, contenders...)
}

func importImages(ctx context.Context, l *lab) []figure {
	var contenders []*contender
	for _, each := range []struct {
		name  string
		start func(context.Context) (*engine, error)
	}{{"bothy", l.plain}, {"docker", l.docker}, {"podman", l.podman}} {
		e, err := each.start(ctx)
		c := of(each.name+" import", e, err, l.slow, "import", l.debian(), "localhost/imported")
		c.peer = each.name != "bothy"
		c.after = func(ctx context.Context) error {
			_, err := e.do(ctx, "rmi", "localhost/imported")
			return err
		}
		contenders = append(contenders, c)
	}
	return inTurn(ctx, contenders...)
}

func measurePrograms(_ context.Context, l *lab) []figure {
	var found []figure
	for _, name := range []string{programName, "bothyd", "bothy"} {
		info, err := os.Stat(filepath.Join(l.bin, name))
		if err != nil {
			found = append(found, broken(name, err))
			continue
		}
		found = append(found, one(name, "MB", megabytes(info.Size())))
	}
	return found
}

func megabytes(bytes int64) float64 { return float64(bytes) / 1e6 }
