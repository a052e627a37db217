package dockerapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/moby/moby/api/types/jsonstream"
)

// progressStream writes an operation's messages as docker does: one JSON
// object a line, each flushed.
type progressStream struct {
	w       http.ResponseWriter
	enc     *json.Encoder
	rc      *http.ResponseController
	started bool
}

func newProgressStream(w http.ResponseWriter) *progressStream {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &progressStream{w: w, enc: enc, rc: http.NewResponseController(w)}
}

// streamMessage is a message as API versions up to 1.51 have it: the error's
// text and the progress bar's stand beside their details.
type streamMessage struct {
	jsonstream.Message
	ErrorText string `json:"error,omitempty"`
}

// send writes one message. That the client has gone is not the sender's
// concern: its context ends.
func (p *progressStream) send(m jsonstream.Message) {
	if !p.started {
		p.started = true
		p.w.Header().Set("Content-Type", "application/json")
		p.w.WriteHeader(http.StatusOK)
	}
	out := streamMessage{Message: m}
	if m.Error != nil {
		out.ErrorText = m.Error.Message
	}
	if p.enc.Encode(out) == nil {
		_ = p.rc.Flush()
	}
}

// end finishes the stream. An error goes in-band if messages were sent, else
// it is returned to become the answer's status.
func (p *progressStream) end(err error) error {
	if err == nil {
		if !p.started {
			p.w.Header().Set("Content-Type", "application/json")
			p.w.WriteHeader(http.StatusOK)
		}
		return nil
	}
	if !p.started {
		return err
	}
	p.send(jsonstream.Message{Error: &jsonstream.Error{Code: statusOf(err), Message: err.Error()}})
	return nil
}

// drainTime bounds how long an upload that was refused is read on, so that its
// sender gets to read the answer instead of a broken pipe.
const drainTime = 5 * time.Second

// drain reads what is left of an upload after the answer was written.
func drain(w http.ResponseWriter, body io.Reader) {
	rc := http.NewResponseController(w)
	_ = rc.Flush()
	if rc.SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, body)
	_ = rc.SetReadDeadline(time.Time{})
}

// upload runs an operation that reads the request's body while it answers. What
// it returns was already answered with.
func upload(w http.ResponseWriter, r *request, run func(ctx context.Context, body io.Reader) error) error {
	// Without this net/http reads the rest of the body before the first byte of the answer.
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
		return err
	}
	err := run(r.Context(), r.Body)
	if err != nil {
		writeError(w, statusOf(err), err)
	}
	drain(w, r.Body)
	return err
}
