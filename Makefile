# Targets: deps build images run test bench lint install clean, and the slow suites by name.
SHELL := /bin/bash
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
PREFIX ?= /usr/local
BIN := bin

# The engine and the CLI are pure Go. The shim is static C and Go: libcontainer
# needs cgo; the no_* tags keep gRPC and CRIU out of a program that is paid for
# once a container.
GO_TAGS := netgo osusergo
SHIM_TAGS := seccomp netgo osusergo no_grpc runc_nocriu grpcnotrace
COMMIT ?= $(shell git rev-parse --short HEAD 2>/dev/null)
COMMIT_TIME ?= $(shell git log -1 --format=%cI 2>/dev/null)
LDFLAGS := -s -w -X bothy/internal/version.Version=$(VERSION) -X bothy/internal/version.Commit=$(COMMIT) -X bothy/internal/version.Time=$(COMMIT_TIME)
SHIM := containerd-shim-bothy-v2

.PHONY: deps build images run test unit e2e race conformance crash fuzz bench lint install uninstall clean

deps: ## the Debian packages and the guest kernel
	scripts/deps

build: ## the three programs into bin/
	@mkdir -p $(BIN)
	CGO_ENABLED=0 go build -trimpath -tags "$(GO_TAGS)" -ldflags "$(LDFLAGS)" -o $(BIN)/ ./cmd/bothy ./cmd/bothyd
	CGO_ENABLED=1 go build -trimpath -tags "$(SHIM_TAGS)" -ldflags "$(LDFLAGS) -extldflags -static" -o $(BIN)/$(SHIM) ./cmd/$(SHIM)

images: deps ## the sample images busybox and debian:bookworm, made once and kept
	scripts/images

run: deps build images ## the Debian image in both homes, side by side
	scripts/run

test: deps build images ## all tests, both homes
	scripts/test

unit: ## the unit tests alone
	scripts/test unit

e2e: build images ## the end-to-end tests alone
	scripts/test e2e

race: ## the unit tests with the race detector
	scripts/test race

conformance: ## the executor's suite, on the host and in a guest
	CGO_ENABLED=1 go test -count=1 -tags "$(SHIM_TAGS)" -run Conformance ./internal/executor ./internal/vm

crash: build images ## kill -9 of engine, shim and machine, full disk, end to end
	go test -count=1 -v -tags "$(GO_TAGS)" -run 'Killed|Ends|Panic|Full|Crash' ./test/e2e ./internal/engine ./internal/image

fuzz: ## every fuzz test for ten seconds
	scripts/fuzz 10s

bench: deps build images ## every promise of SPECIFICATION.md; BENCH=-h lists the options
	scripts/bench $(BENCH)

lint: ## gofmt, go vet, staticcheck
	scripts/lint

install: build ## into PREFIX (default /usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 0755 $(BIN)/bothy $(BIN)/bothyd $(BIN)/$(SHIM) $(DESTDIR)$(PREFIX)/bin/

uninstall: ## the installed programs
	rm -f $(DESTDIR)$(PREFIX)/bin/{bothy,bothyd,$(SHIM)}

clean: ## what was built; the sample images stay
	rm -rf $(BIN) build
