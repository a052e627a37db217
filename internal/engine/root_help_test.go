package engine

import (
	"io"
	"testing"

	"bothy/internal/shimapi"
	"bothy/internal/shimclient"
)

// endByItself gives a container that reads its input the end of it, past any
// engine, and waits until its output has ended.
func endByItself(t *testing.T, bundle string) {
	t.Helper()
	client, err := shimclient.Dial(t.Context(), bundle)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, _, err := client.Attach(t.Context(), shimapi.AttachRequest{Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatal(err)
	}
}
