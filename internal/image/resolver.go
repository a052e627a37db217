package image

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	hostconfig "github.com/containerd/containerd/v2/core/remotes/docker/config"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
)

// Auth is what a client has to show a registry: a name and password, or one of
// the tokens.
type Auth struct {
	Username, Password string
	// IdentityToken is exchanged for access at the registry's token server.
	IdentityToken string
	// RegistryToken is sent to the registry as it is.
	RegistryToken string
}

// resolver makes a client for the registry of a reference.
func (s *Store) resolver(ctx context.Context, ref reference.Named, auth *Auth) remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{Hosts: s.registryHosts(ctx, reference.Domain(ref), auth), Headers: s.agent()})
}

func (s *Store) agent() http.Header { return http.Header{"User-Agent": []string{s.opts.UserAgent}} }

// registryHosts says how to reach a registry and its mirrors. Only the registry
// is shown the auth, a mirror is not.
func (s *Store) registryHosts(ctx context.Context, domain string, auth *Auth) docker.RegistryHosts {
	agent := s.agent()
	mine := func(host string) bool {
		return host == domain || domain == "docker.io" && host == "registry-1.docker.io"
	}
	return func(host string) ([]docker.RegistryHost, error) {
		o := hostconfig.HostOptions{
			HostDir:        s.hostDir,
			AuthorizerOpts: []docker.AuthorizerOpt{docker.WithAuthHeader(agent)},
			Credentials: func(host string) (string, string, error) {
				switch {
				case auth == nil || !mine(host):
					return "", "", nil
				case auth.IdentityToken != "":
					return "", auth.IdentityToken, nil
				default:
					return auth.Username, auth.Password, nil
				}
			},
		}
		if s.insecure.match(host) {
			o.DefaultScheme = "http"
			o.DefaultTLS = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the user listed it, or it is this machine
		}
		hs, err := hostconfig.ConfigureHosts(ctx, o)(host)
		if err != nil {
			return nil, err
		}
		for i := range hs {
			if auth != nil && auth.RegistryToken != "" && mine(hs[i].Host) {
				hs[i].Authorizer = bearer(auth.RegistryToken)
			}
		}
		return hs, nil
	}
}

// hostDir finds the directory that configures a registry.
func (s *Store) hostDir(host string) (string, error) {
	for _, root := range s.opts.RegistryConfigDirs {
		dir, err := hostconfig.HostDirFromRoot(root)(host)
		if err == nil || !errdefs.IsNotFound(err) {
			return dir, err
		}
	}
	return "", errdefs.ErrNotFound
}

// bearer shows a registry a token that the client already has.
type bearer string

func (b bearer) Authorize(_ context.Context, req *http.Request) error {
	req.Header.Set("Authorization", "Bearer "+string(b))
	return nil
}

func (b bearer) AddResponses(context.Context, []*http.Response) error {
	return errdefs.ErrNotImplemented
}

// pullError gives what can go wrong with a registry a sentence. Errors that
// have one are left as they are.
func pullError(ref reference.Named, err error) error {
	var done *sentence
	if errors.As(err, &done) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errdefs.IsInvalidArgument(err) {
		return err
	}
	host := reference.Domain(ref)
	name, repo := reference.FamiliarString(ref), reference.FamiliarName(ref)
	var dns *net.DNSError
	var dial *net.OpError
	var status remoteerrors.ErrUnexpectedStatus
	text := err.Error()
	switch {
	case errors.As(err, &status):
		return statusError(name, repo, host, status)
	case errors.Is(err, docker.ErrInvalidAuthorization):
		return denied(repo)
	case errors.As(err, &dns):
		return errorf(errdefs.ErrUnavailable, "no such host: the registry %s cannot be found (%w)", host, dns)
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return errorf(errdefs.ErrUnavailable, "http: server gave HTTP response to HTTPS client: if the registry %s is to be used without TLS, list it as insecure registry (--insecure-registry %s)", host, host)
	case strings.Contains(text, "x509:"), strings.Contains(text, "tls:"):
		return errorf(errdefs.ErrUnavailable, "the registry %s cannot be trusted (%w): put its CA certificate into certs.d/%s, or list it as insecure registry", host, rootCause(err), host)
	case errors.As(err, &dial):
		return errorf(errdefs.ErrUnavailable, "the registry %s cannot be reached (%w)", host, dial)
	case errdefs.IsNotFound(err):
		return errorf(errdefs.ErrNotFound, "manifest for %s not found: manifest unknown", name)
	default:
		return err
	}
}

func statusError(name, repo, host string, e remoteerrors.ErrUnexpectedStatus) error {
	switch e.StatusCode {
	case http.StatusNotFound:
		return errorf(errdefs.ErrNotFound, "manifest for %s not found: manifest unknown", name)
	case http.StatusUnauthorized, http.StatusForbidden:
		return denied(repo)
	case http.StatusTooManyRequests:
		return errorf(errdefs.ErrResourceExhausted, "the registry %s has had too many requests: wait, or log in", host)
	default:
		return errorf(errdefs.ErrUnavailable, "the registry %s answered %s", host, e.Status)
	}
}

func denied(repo string) error {
	return errorf(errdefs.ErrPermissionDenied, "pull access denied for %s, repository does not exist or may require 'docker login': denied: requested access to the resource is denied", repo)
}

// rootCause unwraps to the innermost of a chain of errors.
func rootCause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
