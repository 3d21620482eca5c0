# The project's commands. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

ROOT := $(shell [ "$$(id -u)" = 0 ] && echo yes)
LAB := tests/lab/lab.sh
HOSTS ?= 10
PRIVATE ?= 0
SECONDS ?= 3600

.PHONY: help
help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 \2/p' Makefile | awk '{ printf "  make %-14s", $$2; $$1 = $$2 = ""; print substr($$0, 3) }'

.PHONY: demo
demo: ## a formation of ten real hosts on this machine, a failover, a rerun with nothing to do (root)
	tests/lab/demo.sh

.PHONY: test
test: test-fast test-lab ## what CI runs; without root the tests on real hosts are left out, and it says so

.PHONY: test-fast
test-fast: install-deps ## the tests that need no host: two minutes
	@if cargo nextest --version >/dev/null 2>&1; then set -x; cargo nextest run -E 'not binary(lab)'; \
	else set -x; MUSTER_LAB_SKIP=1 cargo test; fi

.PHONY: test-lab
test-lab: install-deps ## the tests on real hosts: a quarter of an hour (root); KEEP=1 leaves the hosts running
	@$(MAKE) --no-print-directory on-hosts NEXTEST= PLAIN=

.PHONY: test-long
test-long: install-deps ## those on real hosts that take longest: kills, adoption, reboots, lock-outs, half an hour (root)
	@$(MAKE) --no-print-directory on-hosts NEXTEST='--run-ignored only' PLAIN=--ignored

.PHONY: test-all
test-all: test test-long ## every test there is: an hour

.PHONY: on-hosts
on-hosts:
ifeq ($(ROOT),yes)
	$(LAB) base
	@status=0; if cargo nextest --version >/dev/null 2>&1; then cargo nextest run -E 'binary(lab)' $(NEXTEST); \
	else cargo test --test lab -- --nocapture $(PLAIN); fi || status=$$?; \
	[ -n "$(KEEP)" ] || for net in $${MUSTER_LAB_NET:-10.88.2 10.88.4}; do MUSTER_LAB_NET=$$net $(LAB) down; done; \
	echo "the lab's Citus: $$($(LAB) citus)"; exit $$status
else
	@echo "LEFT OUT: the tests on real hosts (tests/lab), they need root: sudo make test-lab"
endif

.PHONY: lint
lint: install-deps ## formatting, clippy, documentation, shell scripts, licences: warnings are errors
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --document-private-items --locked
	@if command -v shellcheck >/dev/null; then set -x; shellcheck -x .ci/run tests/lab/*.sh benches/*.sh findings/*.sh; \
	else echo "LEFT OUT: shellcheck (apt-get install shellcheck)"; fi
	@if [ ! -f deny.toml ]; then :; elif cargo deny --version >/dev/null 2>&1; then set -x; cargo deny check bans licenses sources; \
	else echo "LEFT OUT: cargo deny (cargo install cargo-deny --locked)"; fi

.PHONY: fuzz
fuzz: ## every parser, in turn, for SECONDS=3600 in all (a nightly compiler and cargo-fuzz)
	tests/fuzz/run.sh $(SECONDS)

.PHONY: lab
lab: lab-up ## the fleet alone, to try things on: HOSTS=10, and PRIVATE=2 behind a bastion
	$(LAB) list
	@$(LAB) help

.PHONY: lab-up
lab-up: ## start the fleet (root)
	$(LAB) up $(HOSTS) $(PRIVATE)

.PHONY: lab-down
lab-down: ## stop and remove the fleet; its image stays (root)
	$(LAB) down

# What tests/ansible.rs compares with. Its own folder, so that no Ansible of the machine is touched.
ANSIBLE := target/ansible/bin/ansible-inventory
$(ANSIBLE):
	@if ! { python3 -m venv target/ansible && target/ansible/bin/pip install -q 'ansible-core>=2.19,<2.20'; }; then \
	  rm -rf target/ansible; echo "not installed: ansible-core (needs python3 with venv, and PyPI)"; fi

# What tests/schema.rs asks whether muster's schema fits: in the same folder, as it has Python and YAML already.
JSONSCHEMA := target/ansible/bin/jsonschema
$(JSONSCHEMA): $(ANSIBLE)
	@target/ansible/bin/pip install -q 'jsonschema>=4,<5' || echo "not installed: jsonschema (needs PyPI)"

# Debian packages for the lab (tests/lab/lab.sh asks for the same), tests/ssh and the lints. Without root: says what is missing.
PACKAGES := gcc:gcc debootstrap:debootstrap systemd-nspawn:systemd-container ip:iproute2 nft:nftables ssh:openssh-client python3:python3 shellcheck:shellcheck openssl:openssl sshd:openssh-server dropbear:dropbear-bin sudo:sudo doas:opendoas

.PHONY: install-deps
install-deps: $(ANSIBLE) $(JSONSCHEMA) ## what the tests need and this machine lacks; no service is started
	@missing=(); export PATH="$$PATH:/usr/sbin:/sbin"; \
	for pair in $(PACKAGES); do command -v "$${pair%%:*}" >/dev/null || missing+=("$${pair#*:}"); done; \
	[ $${#missing[@]} -gt 0 ] || exit 0; \
	if [ "$(ROOT)" = yes ] && command -v apt-get >/dev/null; then \
	  policy=/usr/sbin/policy-rc.d; own=; [ -e $$policy ] || { own=$$policy; printf '#!/bin/sh\nexit 101\n' >$$policy; chmod +x $$policy; }; \
	  set -x; status=0; apt-get update -q; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$${missing[@]}" || status=$$?; \
	  [ -z "$$own" ] || rm -f "$$own"; \
	  case " $${missing[*]} " in *" openssh-server "*) systemctl disable ssh.service ssh.socket 2>/dev/null || true ;; esac; exit $$status; \
	else echo "not installed (needs root): $${missing[*]}"; fi
