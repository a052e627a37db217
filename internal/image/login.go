package image

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
)

// loginTimeout bounds the wait for a registry that is asked to check a login.
const loginTimeout = 30 * time.Second

// Login checks a name and password, or a token, with a registry: its host, or a
// URL as docker's configuration has it; "" is Docker Hub. What the registry
// does not accept is errdefs.ErrUnauthenticated, a registry that cannot be
// reached errdefs.ErrUnavailable.
func (s *Store) Login(ctx context.Context, server string, auth *Auth) error {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	ref, err := reference.ParseNormalizedNamed(registryDomain(server) + "/login")
	if err != nil {
		return errorf(errdefs.ErrInvalidArgument, "%q is no registry: give its host, or host:port", server)
	}
	domain := reference.Domain(ref)
	hosts, err := s.registryHosts(ctx, domain, auth)(domain)
	if err != nil {
		return s.explain("logging in to "+domain, err)
	}
	// The registry itself is the last, after mirrors; where hosts.toml says how
	// to reach it, it stands among those as well.
	itself := hosts[len(hosts)-1]
	if i := slices.IndexFunc(hosts, func(h docker.RegistryHost) bool { return h.Host == itself.Host }); i >= 0 {
		itself = hosts[i]
	}
	if err := s.showAuth(ctx, itself); err != nil {
		return s.explain("logging in to "+domain, loginError(ref, err))
	}
	return nil
}

func loginError(ref reference.Named, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errorf(errdefs.ErrUnavailable, "the registry did not answer within %s", loginTimeout)
	}
	err = pullError(ref, err)
	if errdefs.IsPermissionDenied(err) {
		return errorf(errdefs.ErrUnauthenticated, "unauthorized: incorrect username or password")
	}
	return err
}

// registryDomain takes the host out of what docker calls a server's address.
func registryDomain(server string) string {
	const hub = "index.docker.io"
	if u, err := url.Parse(server); err == nil && u.Host != "" {
		server = u.Host
	}
	server, _, _ = strings.Cut(server, "/")
	if server == "" || server == hub {
		return "docker.io"
	}
	return server
}

// showAuth asks a registry for its API's base, as it says there who may use it,
// and once more with what it wants to see.
func (s *Store) showAuth(ctx context.Context, host docker.RegistryHost) error {
	var answers []*http.Response
	for range 3 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, host.Scheme+"://"+host.Host+host.Path+"/", nil)
		if err != nil {
			return err
		}
		req.Header = s.agent()
		if err := host.Authorizer.Authorize(ctx, req); err != nil {
			return err
		}
		answer, err := host.Client.Do(req)
		if err != nil {
			return err
		}
		answer.Body.Close()
		switch answer.StatusCode {
		case http.StatusOK:
			return nil
		case http.StatusUnauthorized:
			answers = append(answers, answer)
		default:
			return errorf(errdefs.ErrUnavailable, "the registry answered %s", answer.Status)
		}
		if len(answers) > 1 && answers[0].Header.Get("WWW-Authenticate") == answer.Header.Get("WWW-Authenticate") {
			return docker.ErrInvalidAuthorization
		}
		if err := host.Authorizer.AddResponses(ctx, answers); err != nil {
			return err
		}
	}
	return docker.ErrInvalidAuthorization
}
