// Package event carries what happens in the engine to whoever listens, in
// docker's words: a short memory of the past for `--since`, live delivery
// without ever holding up the one who publishes.
//
// It knows nothing of containers or images: a message is a type, an action and
// an actor with attributes.
package event

import (
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
)

const (
	// pastLimit is how many messages are remembered, as docker has it.
	pastLimit = 256
	// queueLimit is how far a subscriber may fall behind before it is dropped.
	queueLimit = 1024
)

// Bus delivers messages to subscribers and remembers the last of them. Its
// zero value is ready for use.
type Bus struct {
	mu   sync.Mutex
	past []events.Message // oldest first, at most pastLimit
	subs map[*subscriber]struct{}
	last int64 // TimeNano of the newest message
}

type subscriber struct {
	filter Filter
	ch     chan events.Message
}

// Publish sends one message, stamped with the present time. It never blocks: a
// subscriber whose queue is full has its channel closed.
func (b *Bus) Publish(kind events.Type, action events.Action, id string, attributes map[string]string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	// Strictly rising, so that `since` never shows a message twice.
	now := max(time.Now().UnixNano(), b.last+1)
	b.last = now
	m := events.Message{
		Type:     kind,
		Action:   action,
		Actor:    events.Actor{ID: id, Attributes: attributes},
		Scope:    "local",
		Time:     now / int64(time.Second),
		TimeNano: now,
	}
	if len(b.past) == pastLimit {
		b.past = append(b.past[:0:0], b.past[1:]...)
	}
	b.past = append(b.past, m)
	for s := range b.subs {
		if !s.filter.Match(m) {
			continue
		}
		select {
		case s.ch <- m:
		default:
			b.drop(s)
		}
	}
}

// Subscribe gives the remembered messages that match, from since on (zero:
// none), and a channel with those to come. The channel is closed by cancel, or
// when the subscriber falls too far behind. Nothing is lost or doubled between
// the two.
func (b *Bus) Subscribe(since, until time.Time, filter Filter) (past []events.Message, live <-chan events.Message, cancel func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !since.IsZero() {
		past = b.between(since, until, filter)
	}
	s := &subscriber{filter: filter, ch: make(chan events.Message, queueLimit)}
	if b.subs == nil {
		b.subs = map[*subscriber]struct{}{}
	}
	b.subs[s] = struct{}{}
	return past, s.ch, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.drop(s)
	}
}

// Listeners counts the subscribers.
func (b *Bus) Listeners() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.subs)
}

// between needs b.mu held.
func (b *Bus) between(since, until time.Time, filter Filter) []events.Message {
	var out []events.Message
	for _, m := range b.past {
		if m.TimeNano < since.UnixNano() || !until.IsZero() && m.TimeNano > until.UnixNano() {
			continue
		}
		if filter.Match(m) {
			out = append(out, m)
		}
	}
	return out
}

// drop needs b.mu held; dropping twice is fine.
func (b *Bus) drop(s *subscriber) {
	if _, ok := b.subs[s]; ok {
		delete(b.subs, s)
		close(s.ch)
	}
}
