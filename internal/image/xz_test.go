package image

import (
	"bufio"
	"bytes"
	"io"
	"math/rand"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

func packXZ(tb testing.TB, c xz.WriterConfig, raw []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := c.NewWriter(&b)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(raw); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// xzSamples are streams of one and several blocks, with each check sum, packed
// and as they are, one after the other and with padding.
func xzSamples(tb testing.TB) [][]byte {
	noise := make([]byte, 300000)
	if _, err := rand.New(rand.NewSource(1)).Read(noise); err != nil {
		tb.Fatal(err)
	}
	text := bytes.Repeat([]byte("hello, "), 50000)
	one := packXZ(tb, xz.WriterConfig{CheckSum: xz.CRC32}, text)
	blocks := packXZ(tb, xz.WriterConfig{BlockSize: 70001, CheckSum: xz.SHA256}, append(noise, text...))
	return [][]byte{
		one, blocks, packXZ(tb, xz.WriterConfig{CheckSum: xz.CRC64}, nil), packXZ(tb, xz.WriterConfig{NoCheckSum: true}, noise[:1]),
		append(append(append([]byte{}, one...), 0, 0, 0, 0, 0, 0, 0, 0), blocks...),
	}
}

func TestXZPassesTheGuard(t *testing.T) {
	t.Parallel()
	for i, s := range xzSamples(t) {
		got, err := io.ReadAll(newXZGuard(bufio.NewReader(bytes.NewReader(s))))
		if err != nil || !bytes.Equal(got, s) {
			t.Errorf("sample %d: %d of %d bytes, %v", i, len(got), len(s), err)
		}
		if _, err := io.ReadAll(newXZGuard(bufio.NewReader(bytes.NewReader(s[:len(s)-1])))); err != io.ErrUnexpectedEOF {
			t.Errorf("sample %d, cut off: %v", i, err)
		}
	}
}

func TestXZDictionaryIsBounded(t *testing.T) {
	t.Parallel()
	good := packXZ(t, xz.WriterConfig{DictCap: 64 << 20}, []byte("hello"))
	if _, err := io.ReadAll(newXZGuard(bufio.NewReader(bytes.NewReader(good)))); err != nil {
		t.Error(err)
	}
	bad := packXZ(t, xz.WriterConfig{DictCap: 1 << 20}, []byte("hello"))
	filter := bytes.Index(bad, []byte{0x21, 1}) // its number and the length of what follows
	bad[filter+2] = 40                          // 4 GiB
	r, _, err := unpacked(bytes.NewReader(append(good, bad...)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err = io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "more than the 128 that are allowed") {
		t.Errorf("%v", err)
	}
}

func FuzzXZGuard(f *testing.F) {
	for _, s := range xzSamples(f) {
		if len(s) < 4096 {
			f.Add(s)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := io.ReadAll(newXZGuard(bufio.NewReader(bytes.NewReader(raw))))
		if !bytes.HasPrefix(raw, got) {
			t.Errorf("%d bytes are not those of the stream", len(got))
		}
		if err == nil && len(got) != len(raw) {
			t.Errorf("%d of %d bytes", len(got), len(raw))
		}
	})
}
