package vm

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"bothy/internal/shimapi"
)

// Bounds, in bytes, of what is copied into a guest. ttrpc's messages end at 4 MiB.
const (
	maxSpec = 2 << 20
	maxFile = 1 << 20
)

// entropySize is the number of random bytes that a guest gets.
const entropySize = 32

// guestCreate turns the engine's Create into the guest's: the spec and the small
// files it binds travel along, disks are named by their serials.
func (m *Machine) guestCreate(req *taskAPI.CreateTaskRequest) (*taskAPI.CreateTaskRequest, error) {
	options, err := m.guestOptions(req.Bundle)
	if err != nil {
		return nil, fmt.Errorf("preparing what the virtual machine of %s needs: %w", req.ID, err)
	}
	value, err := json.Marshal(options)
	if err != nil {
		return nil, fmt.Errorf("preparing what the virtual machine of %s needs: %w", req.ID, err)
	}
	inner := proto.CloneOf(req)
	inner.Options = &anypb.Any{TypeUrl: shimapi.GuestOptionsURL, Value: value}
	if inner.Rootfs, err = guestMounts(req.Rootfs, m.serials); err != nil {
		return nil, fmt.Errorf("preparing what the virtual machine of %s needs: %w", req.ID, err)
	}
	return inner, nil
}

func (m *Machine) guestOptions(bundle string) (*shimapi.GuestOptions, error) {
	spec, _, err := readBounded(filepath.Join(bundle, shimapi.SpecFile), maxSpec)
	if err != nil {
		return nil, err
	}
	o := &shimapi.GuestOptions{
		Version:    shimapi.Version,
		Spec:       spec,
		Interfaces: m.guestInterfaces(),
		NewNetNS:   hasNetworkNamespace(spec),
		Entropy:    make([]byte, entropySize),
		Trace:      m.config.Trace != nil,
	}
	if m.config.Filter != nil {
		o.Filter = m.config.Filter()
	}
	for _, path := range m.config.Machine.Files {
		data, mode, err := readBounded(path, maxFile)
		if err != nil {
			return nil, err
		}
		o.Files = append(o.Files, shimapi.File{HostPath: path, Mode: uint32(mode.Perm()), Data: data})
	}
	_, _ = rand.Read(o.Entropy) // never fails, says its documentation
	o.Time = time.Now()
	return o, nil
}

// guestInterfaces are the container's interfaces as the guest finds them: the
// first has the slot, if there is one.
func (m *Machine) guestInterfaces() []shimapi.Interface {
	interfaces := slices.Clone(m.config.Machine.Interfaces)
	if m.report.Restored && len(interfaces) > 0 {
		interfaces[0].DeviceMAC = SlotMAC
	}
	return interfaces
}

// hasNetworkNamespace says whether a spec asks for a network namespace. A spec
// that cannot be read is the guest's to refuse.
func hasNetworkNamespace(spec []byte) bool {
	var s struct {
		Linux struct {
			Namespaces []struct {
				Type string `json:"type"`
			} `json:"namespaces"`
		} `json:"linux"`
	}
	if json.Unmarshal(spec, &s) != nil {
		return false
	}
	for _, n := range s.Linux.Namespaces {
		if n.Type == "network" {
			return true
		}
	}
	return false
}

// readBounded reads a regular file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, os.FileMode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a regular file: %w", path, errdefs.ErrInvalidArgument)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, 0, err
	}
	if int64(len(data)) > limit {
		return nil, 0, fmt.Errorf("%s has more than %d bytes: %w", path, limit, errdefs.ErrInvalidArgument)
	}
	return data, info.Mode(), nil
}
