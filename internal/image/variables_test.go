package image

import (
	"slices"
	"testing"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

func TestVariables(t *testing.T) {
	t.Parallel()
	c := &dockerspec.DockerOCIImageConfig{}
	c.Env = []string{"PATH=/bin", "EMPTY=", "ä=no name", "two=a b"}
	for in, want := range map[string]string{
		"/usr/bin:$PATH": "/usr/bin:/bin", "${PATH}x": "/binx", "$PATHx": "", `\$PATH`: "$PATH", "$": "$", "$1": "$1", "a$-": "a$-",
		"${none:-d}": "d", "${EMPTY:-d}": "d", "${EMPTY-d}": "", "${PATH:+p}": "p", "${EMPTY:+p}": "", "${EMPTY+p}": "p", "${none+p}": "",
		"é${PATH}é$EMPTY": "é/biné", "$two": "a b",
	} {
		if got, err := variablesOf(c).expand(in); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"${", "${}", "${PATH", "${PATH:}", "${PATH:?x}", "${PATH!}", "${-x}"} {
		if got, err := variablesOf(c).expand(in); err == nil {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestChangesKnowVariables(t *testing.T) {
	t.Parallel()
	c := &dockerspec.DockerOCIImageConfig{}
	c.Env = []string{"PATH=/bin", "two=a b"}
	lines := []string{
		`ENV PATH=/usr/bin:$PATH A="$two" B='$two' C=\$two D=$two`, "ENV E has $two", "WORKDIR /w/${two}", "USER ${none:-me}", `LABEL x="\$two"`, "EXPOSE ${none:-80}",
		`CMD echo $two`,
	}
	if err := ApplyChanges(c, lines); err != nil {
		t.Fatal(err)
	}
	want := []string{"two=a b", "PATH=/usr/bin:/bin", "A=a b", "B=$two", "C=$two", "D=a b", "E=has a b"}
	if _, port := c.ExposedPorts["80/tcp"]; !slices.Equal(c.Env, want) || c.WorkingDir != "/w/a b" || c.User != "me" || c.Labels["x"] != "$two" || !port || c.Cmd[2] != "echo $two" {
		t.Errorf("%+v", c)
	}
	if err := ApplyChanges(c, []string{"ENV A=${"}); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}
