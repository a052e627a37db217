package shim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"

	"bothy/internal/shimapi"
)

// Delete removes what a shim that died left of its container; see
// shimclient.Cleanup.
func Delete(ctx context.Context, id, bundle, state string) error {
	if id == "" || !filepath.IsAbs(bundle) || !filepath.IsAbs(state) {
		return fmt.Errorf("cleaning up needs an id and the absolute paths of bundle and state: %w", errdefs.ErrInvalidArgument)
	}
	err := mustBeDead(bundle)
	if err == nil {
		err = errors.Join(
			deleteMachine(bundle, id),
			deleteContainer(ctx, filepath.Join(bundle, stateDir), id),
			deleteGroup(bundle, id),
			recordLoss(state),
		)
	}
	if err != nil {
		return fmt.Errorf("cleaning up after container %s: %w", id, err)
	}
	_ = os.Remove(filepath.Join(bundle, shimapi.PidFile))
	return nil
}

// recordLoss writes an exit record if there is none. A container that has no
// state directory any more is removed, and nobody asks for its end.
func recordLoss(state string) error {
	if _, err := os.Stat(state); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	_, err := os.Stat(filepath.Join(state, shimapi.ExitFile))
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return writeExit(state, shimapi.Exit{
		Version:  shimapi.Version,
		Status:   statusKilled,
		ExitedAt: time.Now().UTC(),
		Error:    "the shim was killed",
	}, true)
}

// mustBeDead refuses to clean up under a shim that serves.
func mustBeDead(bundle string) error {
	dir, err := os.Open(bundle)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	// Beneath the open directory, for the path may be too long for an address.
	conn, err := net.Dial("unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), shimapi.TaskSocket))
	if err != nil {
		return nil
	}
	_ = conn.Close()
	return fmt.Errorf("its shim serves still; delete the container by it: %w", errdefs.ErrFailedPrecondition)
}
