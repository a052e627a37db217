// Command containerd-shim-bothy-v2 runs one container: it is started by the
// engine for each, and, as PID 1, it is what runs inside a virtual machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime"

	"bothy/internal/executor"
	"bothy/internal/guest"
	"bothy/internal/shim"
	"bothy/internal/shimapi"
	"bothy/internal/version"
)

const usage = `usage: containerd-shim-bothy-v2 serve -id ID -bundle DIR
       containerd-shim-bothy-v2 pool -bundle DIR
       containerd-shim-bothy-v2 delete -id ID -bundle DIR -state DIR
       containerd-shim-bothy-v2 filter -bundle DIR -filters DIR
       containerd-shim-bothy-v2 practice
       containerd-shim-bothy-v2 version

serve and pool are started by bothyd, with the sockets open; delete cleans up after a
shim that was killed; filter writes the compiled seccomp filter of a bundle; practice
is what a virtual machine runs before its container.
`

// errUsage ends the program with the usage text.
var errUsage = errors.New("bad usage")

func main() {
	// Goroutines that enter a container's namespaces have their thread end with
	// them, which the process's first one cannot do: it would stay there, and keep
	// the container's mounts. So it is this goroutine's, for good.
	runtime.LockOSThread()
	if executor.IsInit() {
		executor.Init()
	}
	if executor.IsCompiler() {
		if err := executor.Compile(); err != nil {
			log.Fatal(err)
		}
		return
	}
	if os.Getpid() == 1 && os.Args[0] == "/init" {
		guest.Main()
	}
	log.SetFlags(log.LstdFlags | log.LUTC)
	err := run(context.Background(), os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	case err != nil:
		log.Print(err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	id := flags.String("id", "", "")
	bundle := flags.String("bundle", "", "")
	state := flags.String("state", "", "")
	filters := flags.String("filters", "", "")
	if err := flags.Parse(args[1:]); err != nil || flags.NArg() > 0 {
		return errUsage
	}
	switch args[0] {
	case "serve":
		return shim.Serve(ctx, shim.Options{ID: *id, Bundle: *bundle, Version: version.Version})
	case "pool":
		return shim.ServePool(ctx, *bundle, version.Version)
	case "delete":
		return shim.Delete(ctx, *id, *bundle, *state)
	case "filter":
		return writeFilter(ctx, *bundle, *filters, out)
	case "practice":
		_, err := fmt.Fprintln(out, "ready")
		return err
	case "version":
		_, err := fmt.Fprintln(out, version.Version)
		return err
	case "start":
		return errors.New("serving containerd itself isn't there yet: bothyd starts this program")
	}
	return errUsage
}

// writeFilter writes the compiled filter of a bundle's spec, which the directory
// filters keeps: the engine has no compiler of its own.
func writeFilter(ctx context.Context, bundle, filters string, out io.Writer) error {
	if !filepath.IsAbs(bundle) || !filepath.IsAbs(filters) {
		return errUsage
	}
	spec, err := os.ReadFile(filepath.Join(bundle, shimapi.SpecFile))
	if err != nil {
		return err
	}
	filter, err := executor.Filter(ctx, filters, spec)
	if err != nil {
		return err
	}
	_, err = out.Write(filter)
	return err
}
