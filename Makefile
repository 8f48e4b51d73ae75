# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# `make help` lists the targets. Each sets up what it needs first; nothing is done twice.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The interpreter the virtual environment is made with: 3.11 or newer.
PYTHON ?= python3
# A real fleet; without it the lab's virtual machines.
INVENTORY ?=
# More arguments for ansible-playbook, e.g. ARGS='--check --diff' or ARGS='--skip-tags iommu'.
ARGS ?=

# How long `make fuzz` goes on.
FUZZ_SECONDS ?= 600
# More arguments for `make faults`, e.g. FAULTS='--seconds 600' or FAULTS='--releases trixie'.
FAULTS ?=

VENV := .venv
# What the environment follows from. A new content gives a new stamp, and so a new setup.
SETUP_INPUTS := pyproject.toml constraints.txt galaxy.yml scripts/setup-venv
STAMP := $(VENV)/.setup-$(shell { cat $(SETUP_INPUTS); $(PYTHON) --version; } 2>&1 | sha256sum | cut -c1-16)
# The administrators' directories too: Debian keeps them from other users, and tools such as modinfo
# and grub-script-check that need no root lie there.
WITH_VENV := PATH="$(CURDIR)/$(VENV)/bin:$$PATH:/usr/sbin:/sbin"

# A worker per processor: the integration tests wait for builds and guests. A file stays with one worker,
# for what its tests share.
PYTEST := $(WITH_VENV) python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
# kernel_update compiles under emulation and boot_loaders restarts three machines again and again; they are
# run by hand: make molecule SCENARIOS=kernel_update, make boot-loaders
SCENARIOS := $(filter-out kernel_update boot_loaders,$(notdir $(patsubst %/,%,$(dir $(wildcard molecule/*/molecule.yml)))))

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20
	@echo
	@echo "make site INVENTORY=path    works on a real fleet instead of the lab"
	@echo "make site ARGS='--check'    gives ansible-playbook more arguments"

# --- what everything else needs ---------------------------------------------------------------

.PHONY: setup
setup: packages-python $(STAMP) ## make .venv with the versions of constraints.txt

# Root is needed only where a program is missing; the script says which, why and how.
.PHONY: packages-python packages-lab packages-test packages-faults
packages-python packages-lab packages-test packages-faults: packages-%:
	@scripts/check-python "$(PYTHON)"
	@scripts/install-system-packages "$(PYTHON)" $*

$(STAMP): | packages-python
	@scripts/setup-venv "$(PYTHON)" $(VENV) $@

.PHONY: constraints
constraints: setup ## resolve the development versions anew and write constraints.txt
	$(WITH_VENV) python scripts/refresh-constraints

# --- the product ------------------------------------------------------------------------------

.PHONY: site
site: setup $(if $(INVENTORY),,lab) ## the main job: preflight, IOMMU, driver, reboot, verify, report
	$(WITH_VENV) ansible-playbook site.yml -i $(or $(INVENTORY),inventories/lab) $(ARGS)

# Root is needed for the lab's disk image: loop devices, mounts and a chroot.
.PHONY: lab
lab: setup packages-lab ## start the lab's virtual machines (needs root)
	$(WITH_VENV) gpufleet lab up

.PHONY: lab-destroy
lab-destroy: setup ## stop the lab's virtual machines and remove their disks
	$(WITH_VENV) gpufleet lab destroy

# --- the tests --------------------------------------------------------------------------------

.PHONY: test
test: setup packages-lab packages-test packages-faults ## every test there is; CI does exactly this (needs root)
	@scripts/run-tests lint pytest sanity molecule

.PHONY: pytest
pytest: setup packages-lab packages-test packages-faults ## unit, packaging and integration in one run (needs root)
	$(PYTEST) tests/unit tests/fuzz tests/faults tests/packaging tests/integration

.PHONY: lint
lint: setup ## ruff, mypy --strict, yamllint, ansible-lint
	$(WITH_VENV) ruff check .
	$(WITH_VENV) ruff format --check .
	$(WITH_VENV) MYPYPATH=collection:src mypy -p gpufleet
	$(WITH_VENV) MYPYPATH=collection:src mypy -p ansible_collections.gpufleet.p2p.plugins.module_utils
	$(WITH_VENV) MYPYPATH=collection:src:tests:. mypy -p benchmarks
	$(WITH_VENV) yamllint --strict .
	$(WITH_VENV) ansible-lint --offline --profile production --strict

.PHONY: unit
unit: setup packages-test ## tests of single parts: no root, seconds
	$(PYTEST) tests/unit tests/fuzz tests/faults

# Not part of `make test`: that gives each parser a few cases only.
.PHONY: fuzz
fuzz: setup ## damaged texts for every parser, FUZZ_SECONDS long (no root)
	PYTHONPATH=tests $(WITH_VENV) python -m fuzz --seconds $(FUZZ_SECONDS)

# Not part of `make test`, which injects a few of each kind. Goes on where an earlier run ended.
.PHONY: faults
faults: setup packages-lab packages-faults ## every fault on every release's guest, docs/faults.md (needs root)
	PYTHONPATH=tests:src:collection $(WITH_VENV) python -m faults $(FAULTS)

.PHONY: integration
integration: setup packages-lab packages-test packages-faults ## native builds, DKMS, GRUB on fake roots (needs root)
	$(PYTEST) tests/integration

.PHONY: packaging
packaging: setup ## the four ways to install, from a clean clone of HEAD
	$(PYTEST) tests/packaging

# Builds no image: `podman build build/execution-environment` or ansible-builder does.
.PHONY: execution-environment
execution-environment: setup ## what AWX and ansible-navigator run in, as a build context
	$(WITH_VENV) scripts/make-execution-environment build/execution-environment

.PHONY: sanity
sanity: setup ## ansible-test sanity on an installed copy of the collection
	$(WITH_VENV) scripts/run-sanity

.PHONY: molecule
molecule: setup packages-lab ## every Molecule scenario on virtual machines (needs root)
	@for scenario in $(SCENARIOS); do \
	  $(WITH_VENV) MOLECULE_GLOB='molecule/*/molecule.yml' molecule test -s $$scenario; \
	done

.PHONY: boot-loaders
boot-loaders: ## real boot loaders through trial, fall-back and removal; not part of test (needs root)
	@$(MAKE) molecule SCENARIOS=boot_loaders

# --- the rest ---------------------------------------------------------------------------------

.PHONY: clean
clean: ## remove what was made here; the lab has lab-destroy
	rm -rf $(VENV) .ansible .cache build dist gpufleet-report *.tar.gz
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
