package guest

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/hashicorp/yamux"

	"bothy/internal/vm/link"
)

// streams opens standard streams as streams of the link.
type streams struct{ session *yamux.Session }

func (s streams) OpenInput(_ context.Context, name string) (io.ReadCloser, error) {
	return s.open(link.Header{Kind: link.Input, Name: name})
}

func (s streams) OpenOutput(_ context.Context, name string) (io.WriteCloser, error) {
	return s.open(link.Header{Kind: link.Output, Name: name})
}

func (s streams) open(h link.Header) (net.Conn, error) {
	stream, err := s.session.OpenStream()
	if err != nil {
		return nil, fmt.Errorf("opening a stream to the host: %w", err)
	}
	if err := link.WriteHeader(stream, h); err != nil {
		stream.Close()
		return nil, err
	}
	return stream, nil
}
