package event

import (
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
)

func TestPastAndLiveJoinWithoutGapOrDouble(t *testing.T) {
	t.Parallel()
	var b Bus
	start := time.Now().Add(-time.Second)
	for range 10 {
		b.Publish(events.ContainerEventType, events.ActionStart, "a", nil)
	}
	past, live, cancel := b.Subscribe(start, time.Time{}, Filter{})
	if len(past) != 10 {
		t.Fatalf("got %d past messages, want 10", len(past))
	}
	b.Publish(events.ContainerEventType, events.ActionDie, "a", nil)
	m := <-live
	if m.Action != events.ActionDie || m.TimeNano <= past[9].TimeNano {
		t.Fatalf("got %+v after %+v", m, past[9])
	}
	cancel()
	cancel()
	if _, ok := <-live; ok {
		t.Fatal("the channel is open after cancel")
	}
	if b.Listeners() != 0 {
		t.Fatal("a cancelled subscriber is still counted")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	var b Bus
	for range pastLimit + 50 {
		b.Publish(events.ImageEventType, events.ActionTag, "a", nil)
	}
	past, _, cancel := b.Subscribe(time.Unix(1, 0), time.Time{}, Filter{})
	defer cancel()
	if len(past) != pastLimit {
		t.Fatalf("got %d, want %d", len(past), pastLimit)
	}
	if none, _, cancel := b.Subscribe(time.Time{}, time.Time{}, Filter{}); len(none) != 0 {
		t.Fatal("past messages without since")
	} else {
		cancel()
	}
}

func TestSlowSubscriberIsDropped(t *testing.T) {
	t.Parallel()
	var b Bus
	_, live, cancel := b.Subscribe(time.Time{}, time.Time{}, Filter{})
	defer cancel()
	for range queueLimit + 1 {
		b.Publish(events.ImageEventType, events.ActionTag, "a", nil)
	}
	n := 0
	for range live {
		n++
	}
	if n != queueLimit {
		t.Fatalf("got %d messages before the end, want %d", n, queueLimit)
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	die := events.Message{Type: events.ContainerEventType, Action: events.ActionDie, Scope: "local",
		Actor: events.Actor{ID: "abcdef", Attributes: map[string]string{"name": "web", "image": "localhost:5000/app:1", "tier": "front"}}}
	pull := events.Message{Type: events.ImageEventType, Action: events.ActionPull, Scope: "local",
		Actor: events.Actor{ID: "busybox:latest", Attributes: map[string]string{"name": "busybox"}}}
	for _, tc := range []struct {
		key, value string
		die, pull  bool
	}{
		{"type", "container", true, false},
		{"event", "die", true, false},
		{"event", "pull", false, true},
		{"container", "web", true, false},
		{"container", "abc", true, false},
		{"container", "xyz", false, false},
		{"label", "tier", true, false},
		{"label", "tier=front", true, false},
		{"label", "tier=back", false, false},
		{"image", "localhost:5000/app", true, false},
		{"image", "localhost:5000/app:1", true, false},
		{"image", "busybox", false, true},
		{"image", "busybox:latest", false, true},
		{"scope", "local", true, true},
		{"scope", "swarm", false, false},
	} {
		f, err := NewFilter(map[string]map[string]bool{tc.key: {tc.value: true}})
		if err != nil {
			t.Fatal(err)
		}
		if f.Match(die) != tc.die || f.Match(pull) != tc.pull {
			t.Errorf("%s=%s: die %v, pull %v", tc.key, tc.value, f.Match(die), f.Match(pull))
		}
	}
	if _, err := NewFilter(map[string]map[string]bool{"nonsense": {"a": true}}); err == nil {
		t.Error("an unknown key was accepted")
	}
}
