# make demo   a backup without Cyrus, read back with zstd and tar alone
# make test   every test, on a real Cyrus and a real MinIO; installs what is missing
# make soak   100,000 steps of random faults, from a printed seed
# make compose-demo   the whole service in Docker, from nothing to a restored message

GO     ?= go
PREFIX ?= /usr/local
SHARE   = $(DESTDIR)$(PREFIX)/share
CACHE  := $(CURDIR)/.cache/bin

PROGRAMS := backupd ctl_backups cyr_backup restore backup_replay
# the packages whose tests make the manual pages
PAGES    := internal/backupd internal/ctlbackups internal/cyrbackup internal/restore internal/replay

MINIO_VERSION    := $(shell sed -n 's/^ARG MINIO_VERSION=//p' build/minio.Dockerfile)
GOLANGCI_VERSION := v2.15.0
CYCLONEDX_VERSION := v1.10.0

# scripts by their first line; .py files too
SHELL_SCRIPTS = $(shell git grep -lE '^\#!.*[/ ](ba|da)?sh$$' -- ':!*.go' ':!*.md')
PYTHON        = $(sort $(shell git grep -lE '^\#!.*[/ ]python3$$' -- ':!*.go' ':!*.md'; git ls-files '*.py'))

.PHONY: attack build test unit fuzz soak soak-compact soak-proof lint deps lint-deps minio golangci-lint test-race demo compose-demo test-compose base-image bench bench-compare bench-counts bench-deps counts man metrics install deb test-package release test-release clean

build:
	$(GO) build -o bin/ ./cmd/...

test: deps minio lint test-race

# the four longest packages first, so that none of them runs alone at the end; some packages
# mostly wait, so three run at a time; make lint has vetted them. At its end a process with the race
# detector waits for a second by default: backupd is started a thousand times. By default the detector
# maps its memory again for each allocation above 64 KiB, and each page of it then faults
test-race:
	GORACE='atexit_sleep_ms=0 clear_shadow_mmap_threshold=1073741824' $(GO) test -race -vet=off -shuffle=on -p 3 -timeout 40m ./test/e2e ./partitions ./partitions/maintenance ./test/bucketrestore ./...

# without the real Cyrus, MinIO and the bucket tools; some packages mostly wait, so four run at a time
unit:
	$(GO) test -p 4 -shuffle=on -short $$($(GO) list ./... | grep -v -e /test/e2e -e /test/documents -e /test/okholds -e /test/bucketrestore -e /test/policies -e /miniostore -e /awsstore)

# everything that can happen to a bucket, a network, a clock or a process; to repeat an
# episode: make soak SEED=… STEPS=1
SEED  ?= 0
STEPS ?= 100000

soak:
	$(GO) test -count=1 -timeout 0 -v -run '^TestSoak$$' ./partitions -soak.seed=$(SEED) -soak.steps=$(STEPS)
	$(GO) test -count=1 -timeout 0 -run '^TestModel$$' ./partitions/collection -model.seeds=100 -model.steps=1000
	$(GO) test -count=1 -timeout 0 ./partitions ./partitions/maintenance ./partitions/collection
	$(GO) test -count=1 -timeout 0 ./partitions/erasure -erasure.every
	DOCUMENTS_LONG=1 $(GO) test -count=1 -timeout 0 ./test/documents
	E2E_ALL=1 $(GO) test -count=1 -timeout 0 ./test/e2e

# ctl_backups compact beside a real Cyrus: killed a hundred times, and for an hour; as root
KILLS   ?= 100
SECONDS ?= 3600

soak-compact: deps minio
	E2E_ALL=1 E2E_COMPACT_KILLS=$(KILLS) E2E_COMPACT_SECONDS=$(SECONDS) $(GO) test -count=1 -timeout 0 -v -run '^TestScenarios$$/.*/^compact' ./test/e2e

# hostile clients in full numbers, how much longer a backup takes beside them, and DAY seconds of them beside
# eight mail servers; as root
DAY ?= 3600

attack: deps minio
	ATTACK=1 $(GO) test -count=1 -timeout 0 -v ./test/attack
	DAY=$(DAY) E2E_ALL=1 $(GO) test -count=1 -timeout 0 -v -run '^TestScenarios$$/dir/^day$$' ./test/e2e

# each fuzz target in turn; FUZZ chooses some of them, such as FUZZ=history
TIME ?= 30s
FUZZ ?= .

fuzz:
	GO='$(GO)' test/fuzz.sh '$(TIME)' '$(FUZZ)'

# with one fix after the other taken out of a copy of the source, the soak test fails
soak-proof:
	SOAK_PROOF=1 $(GO) test -count=1 -timeout 0 -v ./test/soak
	SOAK_PROOF=1 $(GO) test -count=1 -timeout 0 -v -run 'PlantedBugs$$' ./partitions ./partitions/maintenance ./partitions/collection ./partitions/erasure

# .golangci.yml and .flake8 have the rules
lint: lint-deps golangci-lint
	$(GO) vet ./...
	$(GO) vet -tags lapse ./cmd/internal/clock
	$(CACHE)/golangci-lint run --allow-parallel-runners ./...
	shellcheck $(SHELL_SCRIPTS)
	flake8 $(PYTHON)

deps:
	@test/deps.sh test

lint-deps:
	@test/deps.sh lint

minio: $(CACHE)/.minio-$(MINIO_VERSION)

$(CACHE)/.minio-$(MINIO_VERSION):
	GOBIN=$(CACHE) $(GO) install github.com/minio/minio@$(MINIO_VERSION)
	@touch $@

golangci-lint: $(CACHE)/.golangci-lint-$(GOLANGCI_VERSION)

$(CACHE)/.golangci-lint-$(GOLANGCI_VERSION):
	GOBIN=$(CACHE) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@touch $@

demo:
	@test/deps.sh demo
	@$(MAKE) --no-print-directory build
	@test/demo.sh

# passwords for docker-compose.yml; git ignores it
.env:
	@build/make-env $@

compose-demo: .env
	@test/compose/run.py --by docker demo

# by Docker where a daemon answers; TEST_COMPOSE_DOCKER=1 installs and starts one
test-compose: .env
	@test/compose/test

# debian:bookworm-slim and golang:1.26-bookworm, where no registry is reached
base-image:
	@build/base-image

# writes the tables of docs/benchmarks.md; BENCH='--workloads scale --sizes 1000,20000' measures a part
BENCH ?=

bench: bench-deps minio build
	$(GO) run ./test/bench --bin bin --minio $(CACHE)/minio --mail testdata/mail --docs docs/benchmarks.md $(BENCH)

# what became slower or larger since a commit, by more than the noise
REV ?= HEAD~1

bench-compare: bench-deps minio build
	$(GO) run ./test/bench --bin bin --minio $(CACHE)/minio --against $(REV) $(BENCH)

# have allocations, requests or bytes per message grown? bench-counts writes the table of them
counts: minio
	$(GO) test -count=1 -v -run '^TestCounts$$' ./test/bench

bench-counts: minio
	$(GO) test -count=1 -run '^TestCounts$$' ./test/bench -update

bench-deps:
	@test/deps.sh test
	@test/deps.sh bench

# the manual pages: their tests write what they otherwise compare with
man:
	$(GO) test -run '^TestManPage$$' $(addprefix ./cmd/,$(PAGES) internal/manpage) -update

# docs/metrics.md: its test writes what it otherwise compares with
metrics:
	$(GO) test -run '^TestDocument$$' ./cmd/internal/metrics -update

# Not into Cyrus's own directory: Debian's cyrus-common has a backupd there. Needs no Go if bin/ is
# built. A program appears whole: a running backupd replaces itself by the new one (mv, not install).
install: $(addprefix bin/,$(PROGRAMS))
	install -d $(DESTDIR)$(PREFIX)/sbin $(addprefix $(SHARE)/,man/man1 man/man5 man/man7 man/man8 \
		bash-completion/completions zsh/site-functions fish/vendor_completions.d)
	for p in $(PROGRAMS); do \
		install -m 755 bin/$$p $(DESTDIR)$(PREFIX)/sbin/$$p.new && \
		mv -f $(DESTDIR)$(PREFIX)/sbin/$$p.new $(DESTDIR)$(PREFIX)/sbin/$$p && \
		bin/$$p --completion bash >$(SHARE)/bash-completion/completions/$$p && \
		bin/$$p --completion zsh >$(SHARE)/zsh/site-functions/_$$p && \
		bin/$$p --completion fish >$(SHARE)/fish/vendor_completions.d/$$p.fish || exit 1; \
	done
	for s in 1 5 7 8; do install -m 644 docs/man/*.$$s $(SHARE)/man/man$$s/ || exit 1; done

$(addprefix bin/,$(PROGRAMS)):
	$(MAKE) build

# a Debian package in dist/, beside Debian's Cyrus or without it; lintian checks it if it is installed
deb:
	build/deb dist
	if command -v lintian >/dev/null; then lintian --allow-root --fail-on error,warning dist/*_$$(dpkg --print-architecture).deb; fi

# the package on a machine with Debian's Cyrus: first backup, restore, upgrade, removal; as root
test-package: deps
	test/package/run.py

# static programs and packages for amd64 and arm64, checksums and an SBOM in dist/
release: $(CACHE)/.cyclonedx-gomod-$(CYCLONEDX_VERSION)
	build/release dist

# two releases from two folders have the same bytes
test-release: $(CACHE)/.cyclonedx-gomod-$(CYCLONEDX_VERSION)
	test/package/reproducible

$(CACHE)/.cyclonedx-gomod-$(CYCLONEDX_VERSION):
	GOBIN=$(CACHE) $(GO) install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONEDX_VERSION)
	@touch $@

clean:
	rm -rf bin demo dist
