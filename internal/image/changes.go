package image

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// applyChange applies one Dockerfile line of those that change an image's
// config and nothing else.
func applyChange(c *dockerspec.DockerOCIImageConfig, line string) error {
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	word, rest = strings.ToUpper(word), strings.TrimSpace(rest)
	apply, ok := changes()[word]
	if !ok {
		return errorf(errdefs.ErrInvalidArgument, "change %q: %s is not a valid change command", line, word)
	}
	if rest == "" {
		return errorf(errdefs.ErrInvalidArgument, "change %q: %s requires at least one argument", line, word)
	}
	if err := apply(c, rest); err != nil {
		return errorf(errdefs.ErrInvalidArgument, "change %q: %v", line, err)
	}
	return nil
}

type change func(c *dockerspec.DockerOCIImageConfig, rest string) error

func changes() map[string]change {
	return map[string]change{
		"CMD": func(c *dockerspec.DockerOCIImageConfig, rest string) error {
			c.Cmd = command(c, rest)
			return nil
		},
		"ENTRYPOINT": func(c *dockerspec.DockerOCIImageConfig, rest string) error {
			c.Entrypoint = command(c, rest)
			return nil
		},
		"SHELL": func(c *dockerspec.DockerOCIImageConfig, rest string) error {
			list, ok := jsonList(rest)
			if !ok || len(list) == 0 {
				return fmt.Errorf("SHELL requires the arguments to be in JSON form")
			}
			c.Shell = list
			return nil
		},
		"ENV":         changeEnv,
		"EXPOSE":      changeExpose,
		"HEALTHCHECK": changeHealthcheck,
		"LABEL":       changeLabel,
		"ONBUILD":     changeOnbuild,
		"STOPSIGNAL": func(c *dockerspec.DockerOCIImageConfig, rest string) error {
			return oneWord(c, &c.StopSignal, rest)
		},
		"USER": func(c *dockerspec.DockerOCIImageConfig, rest string) error { return oneWord(c, &c.User, rest) },
		"WORKDIR": func(c *dockerspec.DockerOCIImageConfig, rest string) error {
			return changeWorkdir(c, rest)
		},
		"VOLUME": changeVolume,
	}
}

func oneWord(c *dockerspec.DockerOCIImageConfig, to *string, rest string) error {
	words, err := split(rest, variablesOf(c))
	if err != nil {
		return err
	}
	if len(words) != 1 {
		return fmt.Errorf("it requires exactly one argument")
	}
	*to = words[0]
	return nil
}

// command reads the JSON form as it is, and gives the other to the shell.
func command(c *dockerspec.DockerOCIImageConfig, rest string) []string {
	if list, ok := jsonList(rest); ok {
		return list
	}
	shell := c.Shell
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	return append(slices.Clone(shell), rest)
}

func jsonList(s string) ([]string, bool) {
	var list []string
	if !strings.HasPrefix(s, "[") || json.Unmarshal([]byte(s), &list) != nil {
		return nil, false
	}
	return list, true
}

// pairs reads "k=v k2="a b"" or, with no "=" in the first word, "k the rest".
func pairs(rest string, get variables) ([][2]string, error) {
	first, tail, _ := strings.Cut(rest, " ")
	if !strings.Contains(first, "=") {
		if tail = strings.TrimSpace(tail); tail == "" {
			return nil, fmt.Errorf("%q needs a value", first)
		}
		value, err := get.expand(tail)
		return [][2]string{{first, value}}, err
	}
	words, err := split(rest, get)
	if err != nil {
		return nil, err
	}
	var out [][2]string
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("%q is not of the form name=value", w)
		}
		out = append(out, [2]string{k, v})
	}
	return out, nil
}

func changeEnv(c *dockerspec.DockerOCIImageConfig, rest string) error {
	ps, err := pairs(rest, variablesOf(c))
	if err != nil {
		return err
	}
	for _, p := range ps {
		c.Env = slices.DeleteFunc(c.Env, func(e string) bool { return strings.HasPrefix(e, p[0]+"=") })
		c.Env = append(c.Env, p[0]+"="+p[1])
	}
	return nil
}

func changeLabel(c *dockerspec.DockerOCIImageConfig, rest string) error {
	ps, err := pairs(rest, variablesOf(c))
	if err != nil {
		return err
	}
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	for _, p := range ps {
		c.Labels[p[0]] = p[1]
	}
	return nil
}

func changeExpose(c *dockerspec.DockerOCIImageConfig, rest string) error {
	if c.ExposedPorts == nil {
		c.ExposedPorts = map[string]struct{}{}
	}
	rest, err := variablesOf(c).expand(rest)
	if err != nil {
		return err
	}
	for _, w := range strings.Fields(rest) {
		port, proto, found := strings.Cut(w, "/")
		if !found {
			proto = "tcp"
		}
		proto = strings.ToLower(proto)
		if proto != "tcp" && proto != "udp" && proto != "sctp" {
			return fmt.Errorf("%q has an unknown protocol", w)
		}
		from, to, ranged := strings.Cut(port, "-")
		if !ranged {
			to = from
		}
		lo, err1 := strconv.ParseUint(from, 10, 16)
		hi, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil || lo == 0 || hi < lo {
			return fmt.Errorf("%q is no port or range of ports", w)
		}
		for p := lo; p <= hi; p++ {
			c.ExposedPorts[fmt.Sprintf("%d/%s", p, proto)] = struct{}{}
		}
	}
	return nil
}

func changeVolume(c *dockerspec.DockerOCIImageConfig, rest string) error {
	rest, err := variablesOf(c).expand(rest)
	if err != nil {
		return err
	}
	list, ok := jsonList(rest)
	if !ok {
		list = strings.Fields(rest)
	}
	if c.Volumes == nil {
		c.Volumes = map[string]struct{}{}
	}
	for _, v := range list {
		if v = strings.TrimSpace(v); v == "" {
			return fmt.Errorf("VOLUME specified can not be an empty string")
		}
		c.Volumes[v] = struct{}{}
	}
	return nil
}

func changeOnbuild(c *dockerspec.DockerOCIImageConfig, rest string) error {
	word, _, _ := strings.Cut(rest, " ")
	switch strings.ToUpper(word) {
	case "ONBUILD":
		return fmt.Errorf("chaining ONBUILD via ONBUILD ONBUILD isn't allowed")
	case "MAINTAINER", "FROM":
		return fmt.Errorf("%s isn't allowed as an ONBUILD trigger", strings.ToUpper(word))
	}
	c.OnBuild = append(c.OnBuild, rest)
	return nil
}

func changeWorkdir(c *dockerspec.DockerOCIImageConfig, rest string) error {
	rest, err := variablesOf(c).expand(rest)
	if err != nil {
		return err
	}
	if strings.HasPrefix(rest, "/") {
		c.WorkingDir = path.Clean(rest)
	} else {
		c.WorkingDir = path.Clean("/" + c.WorkingDir + "/" + rest)
	}
	return nil
}

func changeHealthcheck(c *dockerspec.DockerOCIImageConfig, rest string) error {
	h := &dockerspec.HealthcheckConfig{}
	for strings.HasPrefix(rest, "--") {
		flag, tail, _ := strings.Cut(rest, " ")
		if err := healthFlag(h, flag); err != nil {
			return err
		}
		rest = strings.TrimSpace(tail)
	}
	kind, rest, _ := strings.Cut(rest, " ")
	rest = strings.TrimSpace(rest)
	switch strings.ToUpper(kind) {
	case "NONE":
		if rest != "" {
			return fmt.Errorf("HEALTHCHECK NONE takes no arguments")
		}
		h.Test = []string{"NONE"}
	case "CMD":
		if rest == "" {
			return fmt.Errorf("missing command after HEALTHCHECK CMD")
		}
		if list, ok := jsonList(rest); ok {
			h.Test = append([]string{"CMD"}, list...)
		} else {
			h.Test = []string{"CMD-SHELL", rest}
		}
	default:
		return fmt.Errorf("unknown type %q in HEALTHCHECK (try CMD)", kind)
	}
	c.Healthcheck = h
	return nil
}

func healthFlag(h *dockerspec.HealthcheckConfig, flag string) error {
	name, value, _ := strings.Cut(flag, "=")
	if name == "--retries" {
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return fmt.Errorf("--retries %q is no number of at least 0", value)
		}
		h.Retries = n
		return nil
	}
	var to *time.Duration
	switch name {
	case "--interval":
		to = &h.Interval
	case "--timeout":
		to = &h.Timeout
	case "--start-period":
		to = &h.StartPeriod
	case "--start-interval":
		to = &h.StartInterval
	default:
		return fmt.Errorf("unknown flag %s", name)
	}
	d, err := time.ParseDuration(value)
	if err != nil || d != 0 && d < time.Millisecond {
		return fmt.Errorf("%s %q is no duration of at least 1ms", name, value)
	}
	*to = d
	return nil
}
