package logfile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// readAll reads the log to its end.
func readAll(t *testing.T, path string, opts ReadOptions) []Line {
	t.Helper()
	r, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var lines []Line
	for {
		line, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
}

func all() ReadOptions { return ReadOptions{Stdout: true, Stderr: true, Tail: -1} }

// join gives a stream's bytes.
func join(lines []Line, stream string) string {
	var b strings.Builder
	for _, l := range lines {
		if l.Stream == stream {
			b.Write(l.Data)
		}
	}
	return b.String()
}

func create(t *testing.T, path string, opts WriteOptions) *Writer {
	t.Helper()
	w, err := Create(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func write(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.log")
	w := create(t, path, WriteOptions{})
	at := time.Date(2026, 11, 20, 17, 25, 0, 120, time.FixedZone("", 3600))
	w.now = func() time.Time { return at }
	out, errs := w.Stream("stdout"), w.Stream("stderr")
	write(t, out, "a\"\\\r<>&\t\x00\x7fé\u2028\xff\n\nprom")
	write(t, errs, "oops\n")
	write(t, out, "pt\nrest")
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		`{"log":"a\"\\\r\u003c\u003e\u0026\u0009\u0000` + "\x7f" + `é\u2028\ufffd\n","stream":"stdout","time":"T"}`,
		`{"log":"\n","stream":"stdout","time":"T"}`,
		`{"log":"oops\n","stream":"stderr","time":"T"}`,
		`{"log":"prompt\n","stream":"stdout","time":"T"}`,
		`{"log":"rest","stream":"stdout","time":"T"}`,
		"",
	}, "\n")
	if want = strings.ReplaceAll(want, `"T"`, `"2026-11-20T16:25:00.00000012Z"`); string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestLongLinesAreSplit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.log")
	w := create(t, path, WriteOptions{})
	s := w.Stream("stdout")
	for _, n := range []int{maxText - 1, maxText, maxText + 1} {
		write(t, s, strings.Repeat("x", n)+"\n")
	}
	var sizes []int
	for _, l := range readAll(t, path, all()) {
		sizes = append(sizes, len(l.Data))
	}
	// A full buffer is written before its newline is seen, as docker does.
	if want := []int{maxText, maxText, 1, maxText, 2}; fmt.Sprint(sizes) != fmt.Sprint(want) {
		t.Errorf("entries of %v bytes, want %v", sizes, want)
	}
}

// TestRoundTrip writes random bytes in random pieces.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 1))
		path := filepath.Join(t.TempDir(), "x.log")
		w := create(t, path, WriteOptions{MaxSize: []int64{0, 20_000, 100_000}[seed%3], MaxFiles: 1000})
		want := map[string]*bytes.Buffer{"stdout": {}, "stderr": {}}
		streams := map[string]*Stream{"stdout": w.Stream("stdout"), "stderr": w.Stream("stderr")}
		for range 100 {
			name := []string{"stdout", "stderr"}[r.IntN(2)]
			piece := randomText(r)
			want[name].WriteString(piece)
			write(t, streams[name], piece)
		}
		for _, s := range streams {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		lines := readAll(t, path, all())
		for name, buf := range want {
			if got := join(lines, name); got != buf.String() {
				t.Errorf("seed %d: %s has %d bytes, want %d", seed, name, len(got), buf.Len())
			}
		}
		checkTails(t, path, lines)
	}
}

// randomText is valid UTF-8: ASCII only where a long line may be split within
// a character.
func randomText(r *rand.Rand) string {
	var b strings.Builder
	n := r.IntN(200)
	if r.IntN(10) == 0 {
		return strings.Repeat("y", r.IntN(3*maxText)) + "\n"
	}
	for range n {
		switch r.IntN(8) {
		case 0:
			b.WriteByte('\n')
		case 1:
			b.WriteByte(byte(r.IntN(32)))
		default:
			b.WriteByte(byte(32 + r.IntN(96)))
		}
	}
	return b.String()
}

func checkTails(t *testing.T, path string, lines []Line) {
	t.Helper()
	for _, n := range []int{0, 1, 2, 7, len(lines) - 1, len(lines), len(lines) + 5} {
		opts := all()
		opts.Tail = max(n, 0)
		got := readAll(t, path, opts)
		want := lines[max(0, len(lines)-opts.Tail):]
		if join(got, "stdout") != join(want, "stdout") || join(got, "stderr") != join(want, "stderr") || len(got) != len(want) {
			t.Errorf("tail %d: %d entries, want %d", opts.Tail, len(got), len(want))
		}
	}
}

func TestSelection(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.log")
	w := create(t, path, WriteOptions{})
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	next := base
	w.now = func() time.Time { next = next.Add(time.Second); return next }
	out, errs := w.Stream("stdout"), w.Stream("stderr")
	for i := range 10 {
		write(t, out, fmt.Sprintf("o%d\n", i))
		write(t, errs, fmt.Sprintf("e%d\n", i))
	}
	for _, c := range []struct {
		opts ReadOptions
		want string
	}{
		{ReadOptions{Stdout: true, Tail: 2}, "o8\no9\n"},
		{ReadOptions{Stderr: true, Tail: 1}, "e9\n"},
		{ReadOptions{Stdout: true, Stderr: true, Tail: 3}, "e8\no9\ne9\n"},
		{ReadOptions{Stdout: true, Stderr: true, Tail: -1, Since: base.Add(19 * time.Second)}, "o9\ne9\n"},
		{ReadOptions{Stdout: true, Stderr: true, Tail: -1, Until: base.Add(2 * time.Second)}, "o0\ne0\n"},
		{ReadOptions{Stdout: true, Stderr: true, Tail: 1, Until: base.Add(3 * time.Second)}, "o1\n"},
		{ReadOptions{Tail: -1}, ""},
	} {
		var got strings.Builder
		for _, l := range readAll(t, path, c.opts) {
			got.Write(l.Data)
		}
		if got.String() != c.want {
			t.Errorf("%+v: %q, want %q", c.opts, got.String(), c.want)
		}
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	for _, files := range []int{1, 2, 3} {
		dir := t.TempDir()
		path := filepath.Join(dir, "x.log")
		w := create(t, path, WriteOptions{MaxSize: 500, MaxFiles: files})
		s := w.Stream("stdout")
		for i := range 100 {
			write(t, s, fmt.Sprintf("%04d\n", i))
		}
		names, err := filepath.Glob(path + "*")
		if err != nil || len(names) != files {
			t.Errorf("%d files: %v, %v", files, names, err)
		}
		for _, name := range names {
			if info, err := os.Stat(name); err != nil || info.Size() > 600 {
				t.Errorf("%s: %v, %v", name, info, err)
			}
		}
		got := join(readAll(t, path, all()), "stdout")
		if !strings.HasSuffix(got, "0098\n0099\n") || strings.Count(got, "\n") != len(got)/5 {
			t.Errorf("%d files: log is %q", files, got)
		}
	}
}

func TestTornEndIsEnded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.log")
	whole := string(appendEntry(nil, "stdout", time.Now(), []byte("whole"), true))
	if err := os.WriteFile(path, []byte(whole+whole[:20]), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := join(readAll(t, path, all()), "stdout"); got != "whole\n" {
		t.Errorf("before: %q", got)
	}
	w := create(t, path, WriteOptions{})
	write(t, w.Stream("stdout"), "next\n")
	if got := join(readAll(t, path, all()), "stdout"); got != "whole\nnext\n" {
		t.Errorf("after: %q", got)
	}
}

func TestFullDiskDropsAndCounts(t *testing.T) {
	t.Parallel()
	var warned []error
	w := create(t, "/dev/full", WriteOptions{Warn: func(err error) { warned = append(warned, err) }})
	s := w.Stream("stdout")
	for range 5 {
		write(t, s, "a\nb\n")
	}
	if w.Dropped() != 10 || len(warned) != 1 {
		t.Errorf("dropped %d, warned %v", w.Dropped(), warned)
	}
}

func TestNoLog(t *testing.T) {
	t.Parallel()
	var w *Writer
	s := w.Stream("stdout")
	write(t, s, "a\n")
	if err := errors.Join(s.Close(), w.Close()); err != nil || w.Dropped() != 0 {
		t.Error(err)
	}
}

// TestFollow reads while a writer writes and rotates.
func TestFollow(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.log")
	done := make(chan struct{})
	opts := all()
	opts.Follow, opts.Done = true, done
	r, err := Open(path, opts) // before there is a file
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	const count = 3000
	go func() {
		defer close(done)
		w, err := Create(path, WriteOptions{MaxSize: 2000, MaxFiles: 200})
		if err != nil {
			t.Error(err)
			return
		}
		s := w.Stream("stdout")
		for i := range count {
			fmt.Fprintf(s, "%d\n", i)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for i := range count {
		line, err := r.Next(ctx)
		if err != nil || string(line.Data) != fmt.Sprintf("%d\n", i) {
			t.Fatalf("entry %d: %q, %v", i, line.Data, err)
		}
	}
	if _, err := r.Next(ctx); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestFollowEndsWithContext(t *testing.T) {
	t.Parallel()
	opts := all()
	opts.Follow = true
	r, err := Open(filepath.Join(t.TempDir(), "x.log"), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"log":"a\n","stream":"stdout","time":"2026-11-20T16:25:00.1Z"}`))
	f.Add([]byte(`{"time":"2026-11-20T16:25:00.1Z","stream":"stderr","log":"\ud83d\ude00\u0041","attrs":{"a":"b"}}`))
	f.Add([]byte("{\"log\":\"\xff\",\"stream\":\"stdout\",\"time\":\"2026-11-20T16:25:00Z\"}"))
	f.Fuzz(func(t *testing.T, entry []byte) {
		plain, ok := decodePlain(entry)
		if !ok || !json.Valid(entry) {
			return
		}
		full, ok := decodeJSON(entry)
		if !ok || full.Stream != plain.Stream || !full.Time.Equal(plain.Time) || !bytes.Equal(full.Data, plain.Data) {
			t.Errorf("quickly %+v, thoroughly %+v", plain, full)
		}
	})
}

func FuzzEncode(f *testing.F) {
	f.Add([]byte("a\n\x00\xff\u2028<é"))
	f.Fuzz(func(t *testing.T, data []byte) {
		entry := appendEntry(nil, "stderr", time.Unix(1, 1), data, true)
		line, ok := decode(bytes.TrimSuffix(entry, []byte{'\n'}))
		if !ok {
			t.Fatalf("unreadable: %q", entry)
		}
		want := strings.ToValidUTF8(string(data), "\ufffd") + "\n"
		if utf8.Valid(data) && string(line.Data) != want {
			t.Errorf("got %q, want %q", line.Data, want)
		}
		if bytes.IndexByte(entry, '\n') != len(entry)-1 {
			t.Errorf("more than one line: %q", entry)
		}
	})
}

// FuzzReader reads files of any content, forwards and by their tails.
func FuzzReader(f *testing.F) {
	entry := string(appendEntry(nil, "stdout", time.Unix(1, 1), []byte("text"), true))
	f.Add([]byte(entry+entry+entry[:9]), 1)
	f.Add([]byte("\n\n"+entry+"\x00\x00\n"+entry), 2)
	f.Fuzz(func(t *testing.T, data []byte, tail int) {
		path := filepath.Join(t.TempDir(), "x.log")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		lines := readAll(t, path, all())
		opts := all()
		opts.Tail = max(0, tail%10)
		if got := readAll(t, path, opts); len(got) != min(opts.Tail, len(lines)) {
			t.Errorf("tail %d of %d has %d", opts.Tail, len(lines), len(got))
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	w, err := Create(filepath.Join(b.TempDir(), "log"), WriteOptions{MaxSize: 64 << 20, MaxFiles: 1})
	if err != nil {
		b.Fatal(err)
	}
	s := w.Stream("stdout")
	piece := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 327))
	b.SetBytes(int64(len(piece)))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = s.Write(piece)
	}
}
