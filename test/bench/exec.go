package main

import "context"

// runCommands times a command that does nothing, in a container that does
// nothing else.
func runCommands(ctx context.Context, l *lab) []figure {
	bothy, bothyErr := l.plain(ctx)
	docker, dockerErr := l.docker(ctx)
	command := func(name, container string, e *engine, err error, flags ...string) *contender {
		if err == nil {
			_, err = e.do(ctx, append(append([]string{"run", "-d", "--name", container}, flags...), "busybox", "sleep", "100000")...)
		}
		return of(name, e, err, l.rounds, "exec", container, "true")
	}
	figures := inTurn(
		ctx,
		command("bothy exec, process", "exec-process", bothy, bothyErr),
		command("bothy exec, vm", "exec-vm", bothy, bothyErr, "--isolation", "vm"),
		command("docker exec", "exec", docker, dockerErr).theirs(),
	)
	for container, e := range map[string]*engine{"exec-process": bothy, "exec-vm": bothy, "exec": docker} {
		if e != nil {
			_, _ = e.do(ctx, "rm", "-f", container) // else the end of its engine takes it
		}
	}
	return figures
}
