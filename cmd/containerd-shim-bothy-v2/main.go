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

	"bothy/internal/executor"
	"bothy/internal/guest"
	"bothy/internal/shim"
	"bothy/internal/version"
)

const usage = `usage: containerd-shim-bothy-v2 serve -id ID -bundle DIR
       containerd-shim-bothy-v2 pool
       containerd-shim-bothy-v2 delete -id ID -bundle DIR -state DIR
       containerd-shim-bothy-v2 version

serve and pool are started by bothyd, with the sockets open; delete cleans up after a
shim that was killed.
`

// errUsage ends the program with the usage text.
var errUsage = errors.New("bad usage")

func main() {
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
	if err := flags.Parse(args[1:]); err != nil || flags.NArg() > 0 {
		return errUsage
	}
	switch args[0] {
	case "serve":
		return shim.Serve(ctx, shim.Options{ID: *id, Bundle: *bundle, Version: version.Version})
	case "pool":
		return shim.ServePool(ctx, version.Version)
	case "delete":
		return shim.Delete(ctx, *id, *bundle, *state)
	case "version":
		_, err := fmt.Fprintln(out, version.Version)
		return err
	case "start":
		return errors.New("serving containerd itself isn't there yet: bothyd starts this program")
	}
	return errUsage
}
