# Cairn. `make demo` and `make test` do all the set-up on a fresh machine and say what they do.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
# What building, the demo and testing need beside Rust: libclang for RocksDB's bindings, Python for a stock S3 client,
# qemu-user for the old-CPU test, the stock S3 clients of the tests, file systems for the chart's pod, strace and perf for
# the counts of system calls, curl for the benches beside other servers.
BUILD_PACKAGES := libclang-dev gcc g++ make pkg-config
DEMO_PACKAGES := $(BUILD_PACKAGES) python3-venv
TEST_PACKAGES := $(DEMO_PACKAGES) qemu-user rclone restic s3cmd openssl e2fsprogs strace curl \
  $(if $(shell command -v perf),,linux-perf)
VENV := $(or $(CAIRN_TOOLS),$(HOME)/.cache/cairn/tools)/venv
DEPLOY_TOOLS := $(or $(CAIRN_TOOLS),$(HOME)/.cache/cairn/tools)/deploy
CONTAINER_ENGINE := $(or $(CAIRN_TOOLS),$(HOME)/.cache/cairn/tools)/container-engine
DATA ?= demo-data
ROUNDS ?= 100

.PHONY: help
help: ## Shows this.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: setup-build
setup-build: ## Brings the Debian packages that a build needs.
	@tools/packages $(BUILD_PACKAGES)

.PHONY: setup-demo
setup-demo: ## Brings what the demo and the benches need: Debian packages, Python clients in a folder of their own.
	@tools/packages $(DEMO_PACKAGES)
	@tools/python-clients $(VENV)

.PHONY: setup-test
setup-test: ## Brings what the tests need: Debian packages, Python clients in a folder of their own.
	@tools/packages $(TEST_PACKAGES)
	@tools/python-clients $(VENV)

.PHONY: build
build: setup-build ## Builds the binary (dev profile).
	$(CARGO) build --workspace --bins

.PHONY: demo
demo: setup-demo build ## Starts a store on six folders under demo-data and passes one cache round trip (ONCE=1: then stops).
	@VENV=$(VENV) ONCE=$(ONCE) tools/demo $(DATA)

.PHONY: demo-test
demo-test: setup-demo build ## Starts the demo to serve, in a folder of its own, and ends it as Ctrl-C does.
	@VENV=$(VENV) tools/demo-serves

.PHONY: test
test: setup-test build ## Runs all tests.
	CAIRN_VENV=$(VENV) $(CARGO) test --workspace

.PHONY: fix
fix: ## Formats and applies what clippy can mend.
	$(CARGO) fmt --all
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged

.PHONY: verify
verify: setup-test ## Format, lints, docs, dependency and layer check, tests: what CI calls. Changes nothing.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items
	$(MAKE) test

.PHONY: bench
bench: setup-demo ## Runs the benches; the first time RocksDB is compiled for release: make bench [PROFILE=dev]
	VENV=$(VENV) benches/run $(or $(PROFILE),release)

.PHONY: counts
counts: setup-test build ## Prints what operations cost in allocations, copies, system calls, syncs and bytes, and checks the bounds.
	$(CARGO) test --workspace --bench counts
	$(CARGO) test --workspace --test counts -- --nocapture

.PHONY: bench-peers
bench-peers: setup-build ## Runs Cairn beside MinIO and others, which are fetched: make bench-peers [PROFILE=dev] [FLAGS='--rounds 5']
	@tools/packages curl openssl
	$(CARGO) build --workspace --bins --profile $(or $(PROFILE),release)
	PROFILE=$(or $(PROFILE),release) benches/peers/run $(FLAGS)

.PHONY: crash
crash: setup-test build ## The long form of the crash and power-cut tests: make crash ROUNDS=500
	CAIRN_VENV=$(VENV) CAIRN_ROUNDS=$(ROUNDS) $(CARGO) test --workspace -- --nocapture crash power_cut

.PHONY: long
long: setup-test build ## The long forms of the memory and runner tests: 32 objects of 200 MiB at once, archives up to 1 GiB (22 GB of disk).
	CAIRN_VENV=$(VENV) CAIRN_LONG=1 $(CARGO) test --workspace --test s3 -- --nocapture --test-threads 1 memory runner_flow

.PHONY: package
package: setup-build ## Builds the Debian package of a release build into target/packages; RocksDB is compiled for release.
	@tools/packages dpkg-dev binutils
	$(CARGO) build --release --locked -p cairn
	deploy/deb/build "$${CARGO_TARGET_DIR:-target}/release/cairn" "$${CARGO_TARGET_DIR:-target}/packages"

.PHONY: image
image: setup-build ## Writes the image as an archive into target/packages, without a container engine: make image [BINARY=that of make arm64]
	@tools/packages binutils python3
	$(if $(BINARY),,$(CARGO) build --release --locked -p cairn)
	deploy/docker/image "$(or $(BINARY),$${CARGO_TARGET_DIR:-target}/release/cairn)" "$${CARGO_TARGET_DIR:-target}/packages"

.PHONY: arm64
arm64: setup-test ## Cross-builds the arm64 binary and passes the demo's round trip with it under qemu-user: make arm64 [PROFILE=release]
	@tools/packages g++-aarch64-linux-gnu libc6-dev-arm64-cross
	VENV=$(VENV) tools/arm64 $(or $(PROFILE),dev)

.PHONY: package-test
package-test: build ## Installs, runs, upgrades and purges the Debian package in a copy of this system, and runs the image, unpacked and in a container. Needs root.
	@tools/packages dpkg-dev binutils systemd python3 strace skopeo qemu-user g++-aarch64-linux-gnu libc6-dev-arm64-cross
	@tools/container-engine $(CONTAINER_ENGINE)
	deploy/tests/package "$${CARGO_TARGET_DIR:-target}/debug/cairn" $(CONTAINER_ENGINE)

.PHONY: deploy-test
deploy-test: setup-test build ## Tests the Helm chart and runs its pod (KUBE=1: on a real API server, built once; ONLY=name).
	@tools/deploy-tools $(DEPLOY_TOOLS) $(if $(KUBE),kube)
	DEPLOY_TOOLS=$(DEPLOY_TOOLS) KUBE=$(KUBE) WRITE=$(WRITE) deploy/helm/tests/run $(ONLY)

.PHONY: fuzz
fuzz: ## Fuzzes the S3 protocol, each target for SECONDS (60), or one of them: make fuzz SECONDS=600 TARGET=xml
	fuzz/run $(or $(SECONDS),60) $(TARGET)
