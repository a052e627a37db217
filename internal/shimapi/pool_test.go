package shimapi

import (
	"reflect"
	"strings"
	"testing"
)

func poolMessages() map[string]PoolMessage {
	return map[string]PoolMessage{
		"prepare": {Prepare: &PoolPrepare{
			Machine: Machine{QEMU: "/q", Memory: 1 << 20, CPUs: 2, Template: &Template{Digest: "abc"}},
			Disk:    "/d/disk.img", Cgroup: "/bothy/pool", Filters: "/f", Practice: Practice{Image: "/i", Bundle: "/b"},
		}},
		"ready":    {Ready: &PoolReady{Pid: 7}},
		"assign":   {Assign: &PoolAssignment{ID: "id", Bundle: "/b"}},
		"assigned": {Assigned: &struct{}{}},
		"failed":   {Failed: "no luck"},
	}
}

func TestPoolMessages(t *testing.T) {
	t.Parallel()
	for name, m := range poolMessages() {
		data, err := EncodePoolMessage(m)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := ParsePoolMessage(data)
		m.Version = Version
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestBadPoolMessages(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing":          ``,
		"no object":        `7`,
		"no version":       `{"ready":{"pid":1}}`,
		"newer":            `{"version":2,"ready":{"pid":1}}`,
		"says nothing":     `{"version":1}`,
		"says two things":  `{"version":1,"ready":{"pid":1},"failed":"x"}`,
		"no template":      `{"version":1,"prepare":{"disk":"/d","cgroup":"/c","practice":{"image":"/i","bundle":"/b"}}}`,
		"relative disk":    `{"version":1,"prepare":{"machine":{"template":{"digest":"x"}},"disk":"d","cgroup":"/c","practice":{"image":"/i","bundle":"/b"}}}`,
		"no id":            `{"version":1,"assign":{"bundle":"/b"}}`,
		"relative bundle":  `{"version":1,"assign":{"id":"x","bundle":"b"}}`,
		"two in one":       `{"version":1,"ready":{"pid":1}}{"version":1,"ready":{"pid":1}}`,
		"a number as text": `{"version":1,"ready":{"pid":"1"}}`,
	} {
		if m, err := ParsePoolMessage([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if _, err := EncodePoolMessage(PoolMessage{Failed: strings.Repeat("x", MaxPoolMessage)}); err == nil {
		t.Error("a message that is too long was encoded")
	}
}

// FuzzPoolMessage reads anything; what can be read can be written and read
// again.
func FuzzPoolMessage(f *testing.F) {
	for _, m := range poolMessages() {
		data, err := EncodePoolMessage(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParsePoolMessage(data)
		if err != nil {
			return
		}
		again, err := EncodePoolMessage(m)
		if err != nil {
			return // it grew past the limit, by escapes
		}
		if back, err := ParsePoolMessage(again); err != nil || !reflect.DeepEqual(back, m) {
			t.Errorf("%+v became %+v, %v", m, back, err)
		}
	})
}
