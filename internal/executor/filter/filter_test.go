package filter

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
)

// exportMode is set in the environment of a process that plays a container's
// first steps: it compiles the filter of that many rules and writes it.
const exportMode = "BOTHY_TEST_FILTER_EXPORT"

func TestMain(m *testing.M) {
	if IsCompiler() {
		if err := Compile(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if rules := os.Getenv(exportMode); rules != "" {
		if err := export(rules, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func export(rules string, out *os.File) error {
	adopted := Adopt()
	fmt.Fprintf(os.Stderr, "adopted=%t", adopted)
	f, err := libseccomp.NewFilter(libseccomp.ActErrno.SetReturnCode(1))
	if err != nil {
		return err
	}
	for _, arch := range []libseccomp.ScmpArch{libseccomp.ArchX86, libseccomp.ArchX32} {
		if err := f.AddArch(arch); err != nil {
			return err
		}
	}
	if err := f.SetOptimize(2); err != nil {
		return err
	}
	for _, name := range strings.Split(rules, ",") {
		call, err := libseccomp.GetSyscallFromName(name)
		if err != nil {
			return err
		}
		if name != "personality" {
			if err := f.AddRule(call, libseccomp.ActAllow); err != nil {
				return err
			}
			continue
		}
		for _, value := range []uint64{0, 8, 0xffffffff} {
			cond, err := libseccomp.MakeCondition(0, libseccomp.CompareEqual, value)
			if err != nil {
				return err
			}
			if err := f.AddRuleConditional(call, libseccomp.ActAllow, []libseccomp.ScmpCondition{cond}); err != nil {
				return err
			}
		}
	}
	return f.ExportBPF(out)
}

// compile runs export in a process that has file as its descriptor 3.
func compile(t *testing.T, rules string, file *os.File) []byte {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), exportMode+"="+rules)
	want := "adopted=false"
	if file != nil {
		cmd.ExtraFiles, want = []*os.File{file}, "adopted=true"
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.String() != want {
		t.Fatalf("compiling %s: %v, %s", rules, err, stderr.String())
	}
	if len(out) == 0 || len(out)%8 != 0 {
		t.Fatalf("a program of %d bytes", len(out))
	}
	return out
}

func record(t *testing.T, c *Cache, name string) *Record {
	t.Helper()
	r, err := c.Record(&specs.LinuxSeccomp{Syscalls: []specs.LinuxSyscall{{Names: []string{name}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

const (
	manyRules = "read,write,openat,close,personality,socket,exit_group,clone3"
	fewRules  = "read,write,exit_group"
)

func TestSameProgramFromARecord(t *testing.T) {
	t.Parallel()
	c, err := New(filepath.Join(t.TempDir(), "filters"))
	if err != nil {
		t.Fatal(err)
	}
	plain := compile(t, manyRules, nil)
	first := record(t, c, "many")
	if got := compile(t, manyRules, first.File); !bytes.Equal(got, plain) {
		t.Error("the program that was kept is another one")
	}
	if err := first.Keep(); err != nil {
		t.Fatal(err)
	}
	second := record(t, c, "many")
	if second.path != "" {
		t.Fatal("the record was not kept")
	}
	data, err := io.ReadAll(second.File)
	if err != nil || !bytes.HasSuffix(data, plain) {
		t.Fatalf("the record does not end in the program: %v", err)
	}
	if got := compile(t, manyRules, second.File); !bytes.Equal(got, plain) {
		t.Error("the program from the record is another one")
	}
}

// A record that is compiled ahead, and added to the cache of another machine,
// is the one that is found there.
func TestCompiledElsewhere(t *testing.T) {
	t.Parallel()
	profile := &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno,
		Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86},
		Syscalls:      []specs.LinuxSyscall{{Names: []string{"read", "write", "exit_group", "futex"}, Action: specs.ActAllow}},
	}
	here, err := New(filepath.Join(t.TempDir(), "here"))
	if err != nil {
		t.Fatal(err)
	}
	there, err := New(filepath.Join(t.TempDir(), "there"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := here.Compiled(t.Context(), profile)
	if err != nil || len(data) <= headerSize {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	if again, err := here.Compiled(t.Context(), profile); err != nil || !bytes.Equal(again, data) {
		t.Errorf("another one the second time: %v", err)
	}
	if err := there.Add(profile, data); err != nil {
		t.Fatal(err)
	}
	r, err := there.Record(profile)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r.File); r.path != "" || err != nil || !bytes.Equal(got, data) {
		t.Errorf("it is not there: %v", err)
	}
}

// A record that was made by other calls than those that are made now is as
// good as none.
func TestRecordOfAnotherProfile(t *testing.T) {
	t.Parallel()
	c, err := New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := record(t, c, "many")
	compile(t, manyRules, r.File)
	if err := r.Keep(); err != nil {
		t.Fatal(err)
	}
	want := compile(t, fewRules, nil)
	if got := compile(t, fewRules, record(t, c, "many").File); !bytes.Equal(got, want) {
		t.Error("a profile got another one's program")
	}
}

// What the record says is used: else nothing would be gained.
func TestProgramComesFromTheRecord(t *testing.T) {
	t.Parallel()
	c, err := New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := record(t, c, "few")
	compile(t, fewRules, r.File)
	if err := r.Keep(); err != nil {
		t.Fatal(err)
	}
	path := record(t, c, "few").File.Name()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := compile(t, fewRules, record(t, c, "few").File); !bytes.HasSuffix(data, got) {
		t.Error("the program was compiled again")
	}
}

func TestNotARecord(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"empty": "", "short": "botfltr1", "text": strings.Repeat("x", 4096),
		"lengths": "botfltr1\xff\xff\xff\xff\xff\xff\xff\xff" + strings.Repeat("x", 64),
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), exportMode+"="+fewRules)
		cmd.ExtraFiles = []*os.File{file}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if out, err := cmd.Output(); err != nil || len(out) == 0 || stderr.String() != "adopted=false" {
			t.Errorf("%s: %v, %s", name, err, stderr.String())
		}
	}
}

func TestEmptyRecordsAreNotKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := record(t, c, "none").Keep(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Fatalf("kept: %v, %v", left, err)
	}
}
