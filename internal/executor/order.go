package executor

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"

	"bothy/internal/executor/waiter"
)

// order tells the zygote's waiting process what to execute.
func (c *container) order(z *zygote, st *stdio) error {
	p := c.spec.Process
	env, err := environment(c.spec)
	if err == nil {
		err = give(z.waiter, p, env, st)
	}
	if err != nil {
		return startError(err, "starting %s", c.init.what)
	}
	return nil
}

func give(w *waiter.Waiter, p *specs.Process, env []string, st *stdio) error {
	name := p.Args[0]
	paths := programPaths(name, env)
	if len(paths) == 0 {
		return notFound(name)
	}
	o := waiter.Order{
		UID: p.User.UID, GID: p.User.GID, Groups: p.User.AdditionalGids, Cwd: p.Cwd, Paths: paths, Args: p.Args, Env: env,
	}
	found, err := w.Give(o, st.child)
	if failure, ok := errors.AsType[*waiter.Failure](err); ok {
		return orderError(failure, p, paths)
	}
	if err != nil {
		return err
	}
	if !strings.Contains(name, "/") && !filepath.IsAbs(paths[found]) {
		return errors.New((&exec.Error{Name: name, Err: exec.ErrDot}).Error())
	}
	return nil
}

// programPaths are the paths that a command's name stands for, as os/exec's
// LookPath has them. None: nothing has that name.
func programPaths(name string, env []string) []string {
	switch {
	case name == "" || name == "." || name == "..":
		return nil
	case strings.Contains(name, "/"):
		return []string{name}
	}
	var paths []string
	for _, dir := range filepath.SplitList(lookup(env, "PATH")) {
		paths = append(paths, filepath.Join(dir, name)) // an empty one is the working directory
	}
	return paths
}

func notFound(name string) error {
	return errors.New((&exec.Error{Name: name, Err: exec.ErrNotFound}).Error())
}

// orderError puts a failure in libcontainer's words.
func orderError(f *waiter.Failure, p *specs.Process, paths []string) error {
	name := p.Args[0]
	switch f.Stage {
	case waiter.StageCwd:
		return fmt.Errorf("chdir to cwd (%q) set in config.json failed: %s", p.Cwd, f.Err)
	case waiter.StageCwdOutside:
		return errors.New("current working directory is outside of container mount namespace root -- possible container breakout detected")
	case waiter.StageStdio, waiter.StageGroups, waiter.StageGID, waiter.StageUID:
		return fmt.Errorf("unable to setup user: %s", f.Err)
	case waiter.StageCapabilities:
		return fmt.Errorf("unable to apply caps: %s", f.Err)
	case waiter.StageStat, waiter.StageAccess:
		if !strings.Contains(name, "/") {
			return notFound(name)
		}
		why := f.Err.Error()
		if f.Stage == waiter.StageStat {
			why = "stat " + paths[f.Path] + ": " + why
		}
		return errors.New((&exec.Error{Name: name, Err: errors.New(why)}).Error())
	}
	return f
}

// environment is the environment of the container's process, as libcontainer's
// prepareEnv makes it: the last one of each name, and a home.
func environment(spec *specs.Spec) ([]string, error) {
	saw := map[string]bool{}
	var env []string
	for _, kv := range slices.Backward(spec.Process.Env) {
		name, value, ok := strings.Cut(kv, "=")
		switch {
		case !ok:
			return nil, errors.New("invalid environment variable: missing '='")
		case name == "":
			return nil, errors.New("invalid environment variable: name cannot be empty")
		case saw[name]:
			continue
		case strings.Contains(kv, "\x00"):
			return nil, fmt.Errorf("invalid environment variable %q: contains nul byte (\\x00)", name)
		}
		saw[name] = true
		if name != "HOME" || value != "" {
			env = append(env, kv)
		}
	}
	slices.Reverse(env)
	if lookup(env, "HOME") == "" {
		env = append(env, "HOME="+home(spec.Root.Path, int(spec.Process.User.UID)))
	}
	return env, nil
}

// lookup returns a variable's value, "" if there is none.
func lookup(env []string, name string) string {
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

// home is the home directory that the image's passwd file gives a user.
func home(rootfs string, uid int) string {
	passwd, err := openInRoot(rootfs, "/etc/passwd")
	if err != nil {
		return "/"
	}
	defer passwd.Close()
	users, err := user.ParsePasswdFilter(passwd, func(u user.User) bool { return u.Uid == uid })
	if err != nil || len(users) == 0 {
		return "/"
	}
	return users[0].Home
}
