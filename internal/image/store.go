package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	// namespace is the only one in the metadata.
	namespace = "bothy"

	// labelID on an image record holds the ID of the image.
	labelID = "bothy/image.id"

	// openTimeout bounds the wait for another process to let go of the store.
	openTimeout = 2 * time.Second
	// endTimeout bounds the cleaning up after an operation.
	endTimeout = time.Minute
)

// Options say where a store is and how it talks to registries.
type Options struct {
	// Root is the directory that holds everything; it is made if missing.
	Root string
	// RegistryConfigDirs are directories in containerd's certs.d layout,
	// <host>/hosts.toml; the first that knows a host counts.
	RegistryConfigDirs []string
	// InsecureRegistries are host, host:port or CIDR; for these TLS
	// certificates are not checked and plain HTTP is tried if there is no TLS.
	// Loopback addresses always are.
	InsecureRegistries []string
	// UserAgent is what registries are told; "" for "bothy".
	UserAgent string
}

// Store is the images of one engine. Its methods may be called at the same time.
type Store struct {
	root     string
	opts     Options
	insecure insecureRegistries

	bolt    *bolt.DB
	db      *metadata.DB
	quiet   *log.Entry // what containerd says at length, an error says in short
	content content.Store
	images  images.Store
	leases  leases.Manager
	layers  *layerStore

	// names is held while records of the image store are changed on the
	// grounds of what was read from it.
	names sync.Mutex

	gc        sync.Mutex // one collection at a time; guards the following
	collected bool       // there was a collection since Open

	mu      sync.Mutex // guards the following
	configs map[digest.Digest]*config
	users   func(context.Context) ([]digest.Digest, error)
	held    map[digest.Digest]int
}

// Open opens or makes the store at o.Root and sweeps the temporary files and
// half-written blobs that a crash left there. Whole blobs and layers that
// belong to no image go with the first collection, as before SetUsers it is not
// known what containers need. A root that another process has open gives errdefs.ErrFailedPrecondition.
func Open(ctx context.Context, o Options) (_ *Store, err error) {
	if o.UserAgent == "" {
		o.UserAgent = "bothy"
	}
	insecure, err := parseInsecure(o.InsecureRegistries)
	if err != nil {
		return nil, err
	}
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return nil, fmt.Errorf("opening the image store: %w", err)
	}
	logger := logrus.New()
	logger.SetLevel(logrus.ErrorLevel)
	s := &Store{
		root: root, opts: o, insecure: insecure, quiet: logrus.NewEntry(logger),
		configs: map[digest.Digest]*config{}, held: map[digest.Digest]int{},
	}
	if err := s.open(ctx); err != nil {
		if s.bolt != nil {
			err = errors.Join(err, s.bolt.Close())
		}
		return nil, s.explain("opening the image store at "+root, err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	// containerd's store makes its blobs' directory with the first blob, but
	// walks it before.
	for _, dir := range []string{s.root, filepath.Join(s.root, "content", "blobs")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	// The database's lock keeps a second process out: it comes first.
	s.bolt, err = bolt.Open(filepath.Join(s.root, "meta.db"), 0o600, &bolt.Options{
		Timeout: openTimeout, NoFreelistSync: true, FreelistType: bolt.FreelistMapType,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return errorf(errdefs.ErrFailedPrecondition, "another process has it open: stop that one, or choose another root")
	}
	if err != nil {
		return err
	}
	// Half-written blobs go as a whole: one that a crash left without some of
	// its files, containerd's store can neither list nor abort.
	if err := os.RemoveAll(filepath.Join(s.root, "content", "ingest")); err != nil {
		return err
	}
	backend, err := local.NewStore(filepath.Join(s.root, "content"))
	if err != nil {
		return err
	}
	if s.layers, err = openLayers(filepath.Join(s.root, "layers"), filepath.Join(s.root, "tmp")); err != nil {
		return err
	}
	s.db = metadata.NewDB(s.bolt, backend, nil)
	if err := s.db.Init(ctx); err != nil {
		return err
	}
	s.content = s.db.ContentStore()
	s.images = metadata.NewImageStore(s.db)
	s.leases = metadata.NewLeaseManager(s.db)
	s.db.RegisterCollectibleResource(resourceLayer, s.layers)
	return s.sweep(namespaces.WithNamespace(ctx, namespace), backend)
}

// Close lets go of the store. No operation may be under way.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("closing the image store: %w", err)
	}
	return nil
}

// SetUsers registers who knows which images containers use: their content and
// layers stay when the image is removed. It is asked before each collection;
// if it fails, nothing is collected.
func (s *Store) SetUsers(users func(ctx context.Context) ([]digest.Digest, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users = users
}

// Hold keeps an image's config and layers from being collected until the
// returned function is called: for the time between resolving an image and
// having a container on record that SetUsers' function will name.
func (s *Store) Hold(id digest.Digest) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[id]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.held[id]--; s.held[id] <= 0 {
			delete(s.held, id)
		}
	})
}

// operation is one pull, load or import: its lease keeps new content, its pins
// keep layers.
type operation struct {
	s     *Store
	lease leases.Lease
	pins  []digest.Digest
	mu    sync.Mutex // guards pins
}

// begin starts an operation; the context that it returns carries the lease.
func (s *Store) begin(ctx context.Context) (context.Context, *operation, error) {
	ctx = log.WithLogger(namespaces.WithNamespace(ctx, namespace), s.quiet)
	l, err := s.leases.Create(ctx, leases.WithRandomID())
	if err != nil {
		return nil, nil, err
	}
	return leases.WithLease(ctx, l.ID), &operation{s: s, lease: l}, nil
}

// end gives up lease and pins, and collects what a failed operation made, be it
// this one or one that a crash ended before Open. It works on a canceled
// context too.
func (o *operation) end(ctx context.Context, failed bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	o.mu.Lock()
	o.s.layers.unpin(o.pins)
	o.pins = nil
	o.mu.Unlock()
	if err := o.s.leases.Delete(ctx, o.lease); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("ending an image operation: %w", err)
	}
	o.s.gc.Lock()
	collected := o.s.collected
	o.s.gc.Unlock()
	if failed || !collected {
		return o.s.Collect(ctx)
	}
	return nil
}

// pin keeps a layer from being collected until the operation ends.
func (o *operation) pin(chainID digest.Digest) {
	o.s.layers.pin(chainID)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pins = append(o.pins, chainID)
}
