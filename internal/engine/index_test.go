package engine

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestIndexFindsByIDNameAndPrefix(t *testing.T) {
	t.Parallel()
	x := newIndex()
	one, two := "aa11"+strings.Repeat("0", 60), "aa22"+strings.Repeat("0", 60)
	for id, name := range map[string]string{one: "web", two: "aa1"} {
		must(t, x.reserve(name, id))
		x.add(&ctr{id: id})
	}
	for ref, want := range map[string]string{one: one, "web": one, "/web": one, "aa11": one, "aa2": two, "aa1": two} {
		c, err := x.find(ref)
		if err != nil || c.id != want {
			t.Errorf("%s: %v, %v", ref, c, err)
		}
	}
	if _, err := x.find("aa"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("an ambiguous prefix: %v", err)
	}
	for _, ref := range []string{"nobody", "", "/", "b"} {
		if _, err := x.find(ref); !errdefs.IsNotFound(err) || err.Error() != "No such container: "+ref {
			t.Errorf("%q: %v", ref, err)
		}
	}
	x.remove(one)
	if _, err := x.find("web"); !errdefs.IsNotFound(err) {
		t.Errorf("after removal: %v", err)
	}
	if err := x.reserve("web", two); err != nil {
		t.Errorf("the name was not given back: %v", err)
	}
}

func TestReservedNameIsNoContainer(t *testing.T) {
	t.Parallel()
	x := newIndex()
	must(t, x.reserve("web", "a"))
	if _, err := x.find("web"); !errdefs.IsNotFound(err) {
		t.Errorf("found: %v", err)
	}
	x.release("web", "b") // not b's
	if err := x.reserve("web", "b"); !errdefs.IsConflict(err) {
		t.Errorf("another's name: %v", err)
	}
}
