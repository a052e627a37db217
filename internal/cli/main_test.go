package cli

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain makes this program bothy, or an engine of any behaviour, when it is
// started through a link whose name says so. Such an engine listens at
// engine.sock beside the link.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "bothy" {
		os.Exit(Main(context.Background()))
	}
	if behaviour, ok := strings.CutPrefix(filepath.Base(os.Args[0]), "bothyd-"); ok {
		fakeEngine(behaviour)
		return
	}
	os.Exit(m.Run())
}

func fakeEngine(behaviour string) {
	dir := filepath.Dir(os.Args[0])
	if starts, err := os.OpenFile(filepath.Join(dir, "starts"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
		fmt.Fprintln(starts, os.Getpid())
		_ = starts.Close()
	}
	fmt.Fprintln(os.Stderr, "an engine that", behaviour)
	switch behaviour {
	case "fails":
		fmt.Fprintln(os.Stderr, "the disk is full")
		os.Exit(1)
	case "hangs":
		time.Sleep(time.Minute)
	case "serves":
		l, err := net.Listen("unix", filepath.Join(dir, "engine.sock"))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		// Its life is bounded, should nobody end it.
		time.AfterFunc(time.Minute, func() { os.Exit(1) })
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Api-Version", "1.51")
			w.Header().Set("Ostype", "linux")
			switch {
			case strings.HasSuffix(r.URL.Path, "/containers/json"):
				fmt.Fprintln(w, `[{"Id":"0123456789abcdef","Image":"busybox","Names":["/web"],"Command":"sleep"}]`)
			case r.URL.Path == "/_ping":
				fmt.Fprint(w, "OK")
			default:
				w.WriteHeader(http.StatusNotImplemented)
				fmt.Fprintln(w, `{"message":"not here"}`)
			}
		}))
	}
}
