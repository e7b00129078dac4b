# Fairlead. `make help` lists what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO        ?= go
FUZZTIME  ?= 10s
RUN       ?= .
PKG       ?= ./...
PREFIX    ?= /usr/local
CHURN     ?= 200000
RERUN     ?= 0

# What the tests of one package may take. The end-to-end tests take six minutes on two quiet cores; each bounds its own waits.
TIMEOUT   ?= 20m

# Everything is compiled as the shipped program is, so that its dependencies are compiled once, which takes minutes, and not once more for the tests.
export CGO_ENABLED ?= 0
export GOFLAGS := $(strip $(filter-out -trimpath,$(shell $(GO) env GOFLAGS)) -trimpath)

# $(call gotest,PACKAGES,FLAGS) is go test. With RERUN=n a test that fails is run up to n times more and reported as one that needed it (adr/0016);
# not after a data race, and not where more than three fail.
gotest = $(if $(filter-out 0,$(RERUN)),\
	$(GO) build -modfile=tools/go.mod -o bin/gotestsum gotest.tools/gotestsum && bin/gotestsum --hide-summary=skipped \
	--rerun-fails=$(RERUN) --rerun-fails-max-failures=3 --rerun-fails-run-root-test --rerun-fails-abort-on-data-race \
	--rerun-fails-report=bin/reruns.txt --post-run-command='scripts/reruns bin/reruns.txt' --packages='$(1)' -- -timeout $(TIMEOUT) $(2),\
	$(GO) test -timeout $(TIMEOUT) $(2) $(1))

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z0-9-]*:.*## / {printf "  %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install what building and testing need (Debian and Ubuntu, as root; elsewhere it says what is missing)
	@scripts/setup

.PHONY: build
build: ## build bin/fairlead
	$(GO) build -ldflags '-s -w' -o bin/fairlead ./cmd/fairlead

BINARY    ?= bin/fairlead
UNITS     := $(notdir $(wildcard packaging/*.service packaging/*.socket))

.PHONY: install
install: $(if $(filter bin/fairlead,$(BINARY)),build) ## install binary, man pages, completions and systemd units below PREFIX
	install -D -m 0755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/fairlead
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	$(BINARY) man --dir $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(addprefix $(DESTDIR)$(PREFIX)/share/,bash-completion/completions zsh/site-functions fish/vendor_completions.d)
	$(BINARY) completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/fairlead
	$(BINARY) completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_fairlead
	$(BINARY) completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/fairlead.fish
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	for unit in $(UNITS); do sed 's|/usr/bin/fairlead|$(PREFIX)/bin/fairlead|' packaging/$$unit >$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit; done

.PHONY: uninstall
uninstall: ## remove what install made; PURGE=1 removes the data of the system service too
	if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then sh packaging/preremove remove; fi
	rm -f $(DESTDIR)$(PREFIX)/bin/fairlead $(DESTDIR)$(PREFIX)/share/man/man1/fairlead.1 $(DESTDIR)$(PREFIX)/share/man/man1/fairlead-*.1
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/share/,bash-completion/completions/fairlead zsh/site-functions/_fairlead fish/vendor_completions.d/fairlead.fish)
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/lib/systemd/system/,$(UNITS))
	if [ -d "$(DESTDIR)$(PREFIX)" ]; then find $(DESTDIR)$(PREFIX) -mindepth 1 -type d -empty -delete; fi
	if [ -n "$(PURGE)" ]; then rm -rf $(DESTDIR)/var/lib/fairlead $(DESTDIR)/run/fairlead $(DESTDIR)/etc/default/fairlead; fi

GORELEASER ?= $(GO) tool -modfile=tools/release/go.mod goreleaser

.PHONY: dist
dist: ## make a release in dist/ and publish nothing: binaries, deb, rpm, checksums, SBOMs (compiles goreleaser: minutes)
	$(GO) build -o bin/fairlead-sbom ./packaging/sbom
	PATH=$(CURDIR)/bin:$$PATH $(GORELEASER) release --snapshot --clean --skip=publish

.PHONY: bin/extra
bin/extra: build
	rm -rf bin/extra && mkdir -p bin/extra/completion
	bin/fairlead man --dir bin/extra/man
	for shell in bash zsh fish; do bin/fairlead completion $$shell >bin/extra/completion/$$shell; done

.PHONY: dist-check
dist-check: dist ## check dist/: checksums, SBOMs, arm64 by qemu, the rpm in an own root, the deb in an own Debian booted by systemd (as root)
	scripts/dist-check

.PHONY: demo
demo: setup build ## run the examples and print the answer of each
	@scripts/demo

.PHONY: test
test: setup ## run every test
	$(call gotest,$(PKG),-shuffle=on -run '$(RUN)')

.PHONY: race
race: export CGO_ENABLED = 1
race: setup ## run the unit tests with the race detector
	$(call gotest,./internal/...,-race -short -shuffle=on -run '$(RUN)')

.PHONY: e2e
e2e: setup ## run only the end-to-end tests, through the real binary and the real kubectl
	$(GO) test -count=1 -timeout $(TIMEOUT) -run '$(RUN)' ./test/...

.PHONY: conformance-registry
conformance-registry: ## hold the registry to the conformance program of the OCI distribution specification, and to crane and podman
	GOBIN=$(CURDIR)/bin $(GO) install github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111
	GOBIN=$(CURDIR)/bin $(GO) install github.com/google/go-containerregistry/cmd/crane@$$($(GO) list -m -f '{{.Version}}' github.com/google/go-containerregistry)
	OCI_CONFORMANCE=$(CURDIR)/bin/conformance PATH=$(CURDIR)/bin:$$PATH \
		$(GO) test -count=1 -v -run '^(TestConformance|TestCraneProgram|TestPodman)$$' ./internal/oci

.PHONY: conformance-ko
conformance-ko: ## let ko, which takes two minutes to compile, build and push to the registry
	GOBIN=$(CURDIR)/bin $(GO) install github.com/google/ko@v0.18.1
	PATH=$(CURDIR)/bin:$$PATH $(GO) test -count=1 -v -run '^TestKo$$' ./internal/oci

# The specification's module, whose schema is used: the newest that this module knows, and the one that the validator compiles with.
SPEC_SCHEMA = $$($(GO) list -C $(1) -m -f '{{.Dir}}' github.com/opencontainers/runtime-spec)/schema

.PHONY: conformance-bundles
conformance-bundles: ## hold the bundles of instances of every kind to the OCI runtime specification, by oci-runtime-tool's code (as root)
	$(GO) test -C test/ocivalidate .
	$(GO) build -C test/ocivalidate -o $(CURDIR)/bin/ocivalidate .
	FAIRLEAD_OCIVALIDATE="$(CURDIR)/bin/ocivalidate -schema $(call SPEC_SCHEMA,test/ocivalidate) -newest $(call SPEC_SCHEMA,.)" \
		$(GO) test -count=1 -v -run '^TestBundlesAreValid$$' ./internal/sandbox

.PHONY: conformance-http2
conformance-http2: ## hold the gateway of a running fairlead to h2spec (as root)
	$(GO) build -modfile=tools/go.mod -o bin/h2spec github.com/summerwind/h2spec/cmd/h2spec
	FAIRLEAD_H2SPEC=$(CURDIR)/bin/h2spec $(GO) test -count=1 -v -run '^TestH2Spec$$' ./test/protocol

.PHONY: conformance-acme
conformance-acme: ## let the gateway get certificates from Pebble, the ACME server for tests
	GOBIN=$(CURDIR)/bin $(GO) install github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.0
	FAIRLEAD_PEBBLE=$(CURDIR)/bin/pebble $(GO) test -count=1 -v -run '^TestACME$$' ./internal/gateway

GVISOR_VERSION := $(shell sed -n 's/^const gvisorVersion = "\(.*\)"$$/\1/p' internal/sandbox/drivers.go)

# Tests of what gVisor does not have (users of the machine's for each instance, refused forks that leave the program alone), or of runtimes that are missing.
GVISOR_SKIP := ^(TestEscape|TestMissingRuntime|TestWithoutUserNamespace|TestPidsLimit)$$

.PHONY: conformance-gvisor
conformance-gvisor: ## hold gVisor to the tests of every driver, the attempts to escape, and a service from deploy to wake (as root; compiles runsc)
	GOBIN=$(CURDIR)/bin $(GO) install gvisor.dev/gvisor/runsc@$(GVISOR_VERSION)
	PATH=$(CURDIR)/bin:$$PATH $(GO) test -count=1 -v -run '^TestEscape$$' ./internal/sandbox
	SANDBOX_TEST_RUNTIME=runsc PATH=$(CURDIR)/bin:$$PATH $(GO) test -count=1 -v -skip '$(GVISOR_SKIP)' ./internal/sandbox | grep -E '^ *(---|ok|FAIL|panic)|_test.go'
	FAIRLEAD_GVISOR=1 PATH=$(CURDIR)/bin:$$PATH $(GO) test -count=1 -v -run '^TestGVisor$$' ./test/e2e

# Who sends: http, or over TLS: tls, https (net/http's client), http2.
CHURN_CLIENT ?= http
.PHONY: churn
churn: build ## send three times CHURN requests to a service while it is changed and the daemon is restarted, all the time (as root)
	$(GO) run ./test/churn -binary bin/fairlead -requests $(CHURN) -client $(CHURN_CLIENT)

.PHONY: churn-gateway
churn-gateway: ## the same for the gateway alone, which changes faster
	FAIRLEAD_CHURN=$(CHURN) $(GO) test -count=1 -v -run '^TestChurn$$' ./internal/gateway

HANG ?= 10m
.PHONY: stress-hang
stress-hang: build ## look for HANG for a request that is not answered, while services freeze, go to zero and wake and clients give up (as root)
	$(GO) run ./test/hang -binary bin/fairlead -for $(HANG)

.PHONY: bench-gateway
bench-gateway: ## compare the gateway with nginx, HAProxy, Caddy (those that are installed) and a plain httputil proxy
	FAIRLEAD_BENCH=1 $(GO) test -count=1 -v -timeout 20m -run '^TestCompareProxies$$' ./internal/gateway

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME
	scripts/fuzz $(FUZZTIME)

.PHONY: bench
bench: ## run every benchmark once
	$(GO) test -run '^$$' -bench . -benchtime 1s $(PKG)

STORED ?= 0,10000
.PHONY: bench-api
bench-api: ## measure creations by 16 clients and the way to a watch, with no Services stored and with 10,000 (STORED)
	FAIRLEAD_BENCH_STORED=$(STORED) $(GO) test -count=1 -v -timeout 30m -run '^TestFigures$$' ./internal/api | grep -E '^(\||---|ok|FAIL|panic)|bench_test.go'

.PHONY: bench-sandbox
bench-sandbox: ## measure how fast an instance of Go and Node answers, next to bare exec, crun, runc, podman, docker, ctr (as root)
	$(GO) build -o bin/benchsandbox ./internal/sandbox/benchsandbox
	bin/benchsandbox -rounds $(or $(COUNT),20)

.PHONY: bench-many
bench-many: ## make COUNT (500) spares and as many running instances at once, and tell what each takes and holds (as root)
	$(GO) build -o bin/benchsandbox ./internal/sandbox/benchsandbox
	bin/benchsandbox -only go -many $(or $(COUNT),500)

.PHONY: leaks
leaks: ## make, start and stop 1,000 instances and count what is left of them, kind by kind (as root)
	SANDBOX_CYCLES=1000 $(GO) test -count=1 -v -timeout 30m -run '^TestNothingIsLeft$$' ./internal/sandbox | grep -E 'leak_test.go|^(---|ok|FAIL|panic)'

.PHONY: lint
lint: ## vet and golangci-lint
	$(GO) vet $(PKG)
	$(GO) tool -modfile=tools/go.mod golangci-lint run

.PHONY: fmt
fmt: ## format the code
	gofmt -s -w $$(git ls-files '*.go')

.PHONY: gen
gen: gen-openapi ## rewrite what is generated: the reference of the command line, the schemas of the core kinds
	$(GO) test -count=1 -run '^TestReference$$' ./cmd/fairlead -update

# The API serves the schemas of these packages; kinds.NewScheme lists the same groups.
OPENAPI_PACKAGES := $(addprefix k8s.io/api/,core/v1 apps/v1 batch/v1 discovery/v1 coordination/v1 rbac/v1 authentication/v1 \
	authorization/v1 admissionregistration/v1 autoscaling/v1 autoscaling/v2 events/v1 policy/v1) \
	$(addprefix k8s.io/apimachinery/pkg/,apis/meta/v1 runtime version api/resource util/intstr) \
	k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1

.PHONY: gen-openapi
gen-openapi:
	$(GO) tool -modfile=tools/go.mod openapi-gen --output-dir internal/api/openapi --output-file zz_generated.go \
		--output-pkg github.com/fairlead-dev/fairlead/internal/api/openapi --go-header-file /dev/null --report-filename /dev/null $(OPENAPI_PACKAGES)

.PHONY: tidy
tidy: ## tidy go.mod
	$(GO) mod tidy

.PHONY: cover
cover: ## write coverage.out and print the total
	$(GO) test -timeout $(TIMEOUT) -coverprofile=coverage.out -coverpkg=./internal/... ./internal/... ./test/...
	$(GO) tool cover -func=coverage.out | tail -1

.PHONY: check
check: fmt tidy lint test ## what to run before a commit
	git diff --exit-code

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist coverage.out

.PHONY: conformance
conformance: setup build ## run the Knative Serving conformance suites against bin/fairlead (ARGS="-suites runtime -run Probe")
	test/conformance/run $(ARGS)

.PHONY: bench-dev
bench-dev: build ## measure how long fairlead dev takes from an edit to the new answer (COUNT edits each of Go, Node, static; as root)
	scripts/bench-dev bin/fairlead $(or $(COUNT),10)

.PHONY: bench-wake
bench-wake: build ## measure the wake of 1, 5, 25 and 100 services at zero
	$(GO) run ./test/benchwake -binary bin/fairlead

.PHONY: bench-marks
bench-marks: build ## measure what Knative's own performance programs measure, with their limits: steady load, from zero, rollouts (as root)
	$(GO) run ./test/marks -binary bin/fairlead

SCALE ?= 40,1000
.PHONY: bench-scale
bench-scale: build ## measure waking among 40, 1,000 and 10,000 services (SCALE), and memory and processor time at rest (as root)
	$(GO) run ./test/benchwake -binary bin/fairlead -services 40 -defined $(SCALE)

ROUNDS ?= 3
.PHONY: compare
compare: build ## measure the way to the first answer against Debian's docker, podman and their compose, and write docs/explanation/compared.md (as root)
	$(GO) run ./test/compare -binary bin/fairlead -rounds $(ROUNDS) -page docs/explanation/compared.md

# Tests of upstream's end-to-end suite that ask for what only its own installation has; docs/reference/conformance.md says what.
E2E_SKIP := ^TestEgressTraffic$$|^TestQueueSideCarResourceLimit$$|^TestRequestLogs$$|^TestCallToPublicService$$/^external_address$$

BUILDKIT_VERSION := v0.26.3
.PHONY: conformance-dockerfile
conformance-dockerfile: ## build Dockerfiles by Debian's docker and by buildkit, each with a daemon of its own (as root)
	BUILDKIT_VERSION=$(BUILDKIT_VERSION) test/dockerfile/run

.PHONY: conformance-e2e
conformance-e2e: setup build ## run Knative Serving's own end-to-end suites against bin/fairlead, about twelve minutes
	test/conformance/run -parallel 6 -skip '$(E2E_SKIP)' -out $(CURDIR)/bin/conformance-e2e \
		-suites e2e,e2e/hpa,e2e/tagheader,e2e/initscale,e2e/domainmapping,e2e/gc,e2e/initcontainers,e2e/multicontainerprobing,e2e/pvc,e2e/securedefaults $(ARGS)

# The newest kn whose module can be built by itself: later ones need a second module that is not published.
KN_VERSION := v0.42.0

.PHONY: conformance-kn
conformance-kn: setup ## drive the daemon with Knative's own command, which takes some minutes to compile
	dir=$$($(GO) mod download -json knative.dev/client@$(KN_VERSION) | sed -n 's/^\t"Dir": "\(.*\)",$$/\1/p') && \
		cd "$$dir" && GOWORK=off GOFLAGS=-mod=readonly $(GO) build -o $(CURDIR)/bin/kn ./cmd/kn
	FAIRLEAD_KN=1 PATH=$(CURDIR)/bin:$$PATH $(GO) test -count=1 -v -run '^TestKn$$' ./test/e2e

.PHONY: foreign
foreign: setup ## run programs that others wrote, from the Go, npm and Debian archives (nginx, redis, nodejs and npm are used if installed)
	FAIRLEAD_FOREIGN=1 $(GO) test -count=1 -v -run '^TestForeign$$' ./test/e2e
