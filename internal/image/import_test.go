package image

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
)

func TestImport(t *testing.T) {
	t.Parallel()
	rootfs := tarOf(t, dir("etc/"), file("etc/os-release", "ID=test"))
	for _, c := range []compression{plain, gzipped, zstdPacked, xzPacked} {
		t.Run("compression "+string(c), func(t *testing.T) {
			t.Parallel()
			s := openStore(t)
			img, err := s.Import(t.Context(), bytes.NewReader(pack(t, c, rootfs)), ImportOptions{
				Ref: "my/rootfs", Message: "hello", Changes: []string{`CMD ["sh"]`, "ENV A=1"},
			})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(img.Names, []string{"my/rootfs:latest"}) || img.Config.History[0].Comment != "hello" ||
				!slices.Equal(img.Config.Config.Cmd, []string{"sh"}) || !slices.Equal(img.Config.Config.Env, []string{"A=1"}) ||
				img.Layers[0].DiffID != digest.FromBytes(rootfs) || img.Config.OS != "linux" {
				t.Errorf("imported %+v", img)
			}
		})
	}
}

func TestImportRefused(t *testing.T) {
	t.Parallel()
	rootfs := tarOf(t, file("x", strings.Repeat("x", 5000)))
	for title, c := range map[string]struct {
		in   []byte
		opts ImportOptions
		want string
	}{
		"text":       {[]byte(strings.Repeat("text\n", 500)), ImportOptions{}, "not a tar archive"},
		"nothing":    {nil, ImportOptions{}, "is empty"},
		"cut off":    {rootfs[:3000], ImportOptions{}, "ends inside"},
		"bad gzip":   {[]byte("\x1f\x8b\x08 and so on, not gzip at all"), ImportOptions{}, "gzip data is"},
		"bad name":   {rootfs, ImportOptions{Ref: "A"}, "no image reference"},
		"bad change": {rootfs, ImportOptions{Changes: []string{"RUN x"}}, "RUN is not a valid change command"},
		"climbing":   {tarOf(t, file("../x", "")), ImportOptions{}, "climbs out"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			s := openStore(t)
			_, err := s.Import(t.Context(), bytes.NewReader(c.in), c.opts)
			if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got: %v\nwant: %s", err, c.want)
			}
			isEmpty(t, s)
		})
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	var c dockerspec.DockerOCIImageConfig
	for _, line := range []string{
		`CMD ["sh", "-c", "x y"]`, `entrypoint  run me`, `ENV A=1 B="two words" C=a\ b`, `ENV A again and again`,
		`EXPOSE 80 53/udp 8000-8002`, `LABEL a=b "c d"="e f"`, `ONBUILD RUN make`, `STOPSIGNAL SIGQUIT`, `USER 1000:1000`,
		`VOLUME /data /more`, `VOLUME ["/json"]`, `WORKDIR /a`, `WORKDIR b/../c`, `SHELL ["/bin/bash", "-c"]`,
		`HEALTHCHECK --interval=5s --retries=3 CMD curl -f localhost`,
	} {
		if err := applyChange(&c, line); err != nil {
			t.Error(err)
		}
	}
	check := func(what string, ok bool) {
		t.Helper()
		if !ok {
			t.Errorf("%s: %+v", what, c)
		}
	}
	check("CMD", slices.Equal(c.Cmd, []string{"sh", "-c", "x y"}))
	check("ENTRYPOINT", slices.Equal(c.Entrypoint, []string{"/bin/sh", "-c", "run me"}))
	check("ENV", slices.Equal(c.Env, []string{"B=two words", "C=a b", "A=again and again"}))
	check("EXPOSE", slices.Equal(slices.Sorted(maps.Keys(c.ExposedPorts)), []string{"53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"}))
	check("LABEL", maps.Equal(c.Labels, map[string]string{"a": "b", "c d": "e f"}))
	check("ONBUILD", slices.Equal(c.OnBuild, []string{"RUN make"}))
	check("words", c.StopSignal == "SIGQUIT" && c.User == "1000:1000" && c.WorkingDir == "/a/c")
	check("VOLUME", slices.Equal(slices.Sorted(maps.Keys(c.Volumes)), []string{"/data", "/json", "/more"}))
	check("SHELL", slices.Equal(c.Shell, []string{"/bin/bash", "-c"}))
	check("HEALTHCHECK", slices.Equal(c.Healthcheck.Test, []string{"CMD-SHELL", "curl -f localhost"}) && c.Healthcheck.Interval == 5*time.Second && c.Healthcheck.Retries == 3)

	for _, line := range []string{
		"", "CMD", "FROM x", "RUN x", "COPY a b", "ENV A", `ENV A="x`, "ENV A=1 B", "EXPOSE x", "EXPOSE 0", "EXPOSE 9-1", "EXPOSE 99999", "EXPOSE 1/icmp",
		"USER a b", "ONBUILD ONBUILD x", "ONBUILD FROM x", "SHELL sh", "HEALTHCHECK x", "HEALTHCHECK NONE x", "HEALTHCHECK CMD", "HEALTHCHECK --interval=x CMD y", `VOLUME [""]`,
	} {
		if err := applyChange(&c, line); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func FuzzChanges(f *testing.F) {
	for _, l := range []string{`CMD ["a"]`, `ENV a="b c" d=e\ f`, "LABEL x y", "EXPOSE 1-9/udp", "HEALTHCHECK --retries=1 CMD x", "VOLUME [\"/a\"]", "WORKDIR x"} {
		f.Add(l)
	}
	f.Fuzz(func(t *testing.T, line string) {
		var c dockerspec.DockerOCIImageConfig
		if err := applyChange(&c, line); err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("kind of %v", err)
			}
			return
		}
		if _, err := json.Marshal(c); err != nil {
			t.Error(err)
		}
	})
}
