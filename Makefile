# Pinfold's targets. Each is a command one could type.

GO       ?= go
BIN      := $(CURDIR)/bin
TOOLS    := $(CURDIR)/.bin
PACKAGES := ./...
LINT     := v2.6.2
SHARNESS := /usr/share/sharness/sharness.sh
NODE_NPM := node-linux-$(if $(filter aarch64,$(shell uname -m)),arm64,x64)
NODE     := $(TOOLS)/node/node_modules/$(NODE_NPM)/bin
NODE_20  := PATH=$(NODE):$$PATH node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null

.PHONY: all build test vet unit sharness clients lint demo bench sim kubo incumbent clean

all: build

build:
	@mkdir -p $(BIN)
	$(GO) build -o $(BIN)/ ./cmd/cluster-service ./cmd/cluster-ctl

# Everything: what .ci/run calls.
test: build vet unit sharness

vet:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt-ed:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet $(PACKAGES)

# One package at a time: clusters under test wait for elections, not for a compiler.
unit: kubo
	$(GO) build -race $(PACKAGES)
	$(GO) test -race -p 1 -timeout 30m $(PACKAGES)

# The binaries, driven from a shell.
sharness: build
	@{ test -f $(SHARNESS) && command -v curl >/dev/null; } || { echo "installing Debian's sharness and curl"; apt-get update -qq && apt-get install -y -qq sharness curl; } || true
	@test -f $(SHARNESS) || { echo "sharness is missing: run 'apt-get install sharness' as root, or set SHARNESS to its sharness.sh"; exit 1; }
	@command -v curl >/dev/null || { echo "curl is missing: run 'apt-get install curl' as root"; exit 1; }
	SHARNESS=$(SHARNESS) BIN=$(BIN) sharness/run

# The programs of other people, against a whole cluster. Needs node 20 or later.
clients: build kubo incumbent $(TOOLS)/npm/installed
	@command -v chromium >/dev/null || { echo "installing Debian's chromium"; apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } || true
	@command -v chromium >/dev/null || { echo "chromium is missing: run 'apt-get install chromium' as root"; exit 1; }
	$(GO) vet -tags clients ./clients
	PATH=$(NODE):$$PATH BIN=$(BIN) TOOLS=$(TOOLS) NODE_MODULES=$(TOOLS)/npm/node_modules $(GO) test -v -tags clients -count 1 -timeout 20m ./clients
$(TOOLS)/npm/installed: clients/package.json clients/package-lock.json
	@command -v npm >/dev/null || { echo "installing Debian's nodejs and npm"; apt-get update -qq && apt-get install -y -qq nodejs npm; } || true
	@$(NODE_20) || { echo "installing node 20 from npm"; npm --prefix $(TOOLS)/node install --ignore-scripts --no-audit --no-fund $(NODE_NPM)@20.20.2; } || true
	@$(NODE_20) || { echo "node 20 or later, with npm, is missing: install it"; exit 1; }
	@mkdir -p $(@D)
	cp clients/package.json clients/package-lock.json $(@D)
	npm --prefix $(@D) ci --ignore-scripts --no-audit --no-fund
	@touch $@

# The real Kubo that the connector's suite runs against, pinned by a module of its own.
kubo: $(TOOLS)/ipfs
$(TOOLS)/ipfs: tools/kubo/go.mod
	@mkdir -p $(TOOLS)
	$(GO) build -C tools/kubo -o $@ github.com/ipfs/kubo/cmd/ipfs

# The command line of IPFS Cluster, pinned likewise.
incumbent: $(TOOLS)/ipfs-cluster-ctl
$(TOOLS)/ipfs-cluster-ctl: tools/incumbent/go.mod
	@mkdir -p $(TOOLS)
	$(GO) build -C tools/incumbent -o $@ github.com/ipfs-cluster/ipfs-cluster/cmd/ipfs-cluster-ctl

# The linters and the import rules.
lint: $(TOOLS)/golangci-lint-$(LINT)
	$< run
$(TOOLS)/golangci-lint-$(LINT):
	GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT)
	mv $(TOOLS)/golangci-lint $@

# Three peers keep a file safe; KEEP=1 leaves them running.
demo: build
	$(GO) run ./demo -bin $(BIN) $(if $(KEEP),-keep)

# Figures beside what this machine can do.
bench: build
	$(GO) run ./bench -bin $(BIN)

# What followers cost the voters, and how fast they are told, as they become more: up to a
# thousand with real gossip and engines, then a model; and a first copy of 100,000 pins.
SIZES ?= 30,100,300,1000
sim:
	$(GO) test -tags sim ./feed/sim -run TestScale -v -count 1 -timeout 3h -args -sizes $(SIZES)
	$(GO) test ./feed -run NONE -bench FollowerFirstSync -benchtime 1x

clean:
	rm -rf $(BIN) sharness/test-results
