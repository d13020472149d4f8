# Everything happens in .venv; scripts/setup_venv.py makes it and does again only what changed.
# make TARGET ROS_DISTRO=jazzy does it on that distribution, in .venv-jazzy. Named here, not by the
# variable that a sourced ROS 2 leaves: that one is found by the set-up itself.
PYTHON ?= python3
PYTEST_ARGS ?=
# Twice as many as cores, where there are two: many tests wait, for a node or a clock.
WORKERS ?= 4
MINUTES ?= 60
RUNTIME ?= instant
MODEL ?= nano
MODEL_FOLDER ?= $(if $(filter nano,$(MODEL)),g2vlm_model/weights/nano,$(MODEL))
ROOMS ?= rooms
WINDOWS ?= 480
NODE_MESSAGES ?= 5000
DISTRO := $(if $(filter command,$(origin ROS_DISTRO)),$(ROS_DISTRO))
VENV := .venv$(DISTRO:%=-%)
DEMO_OUT ?= out/demo$(DISTRO:%=-%)
IN_VENV := . $(VENV)/env.sh &&
SETUP = $(PYTHON) scripts/setup_venv.py $(DISTRO:%=--distro %)
SHELL := /bin/sh
.DEFAULT_GOAL := help
# A file's tests stay together, in the order of the files: what they share is made once.
IN_PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
.PHONY: help demo calibrate docs test test-all test-full-size test-ros fuzz soak chaos workspace setup setup-dev lint types clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup ## Replay the shipped drive through the real node; writes out/demo/report.html
	@$(IN_VENV) g2vlm replay demo/drive.mcap --questions demo/questions.json --rate 0 \
	  --title "A robot drives through a synthetic room and comes back" --out $(DEMO_OUT)

calibrate: setup-dev ## Refit calibration.json to MODEL's weights on the validation rooms in ROOMS
	@$(IN_VENV) g2vlm evaluate questions --model $(MODEL) --root $(ROOMS) --split val \
	  --windows $(WINDOWS) --frames 3 1 2 4 --calibrate $(MODEL_FOLDER)/calibration.json

docs: setup ## Build README.md and docs/ as a site in out/site, strictly
	@$(IN_VENV) pip install -q -r requirements/docs.txt -c requirements/constraints.txt
	@$(IN_VENV) NO_MKDOCS_2_WARNING=1 mkdocs build -q
	@echo "out/site/index.html"

test: setup-dev ## Run the tests but the slow ones (PYTEST_ARGS="tests/map -x": pytest's words)
	@$(IN_VENV) python -m pytest $(IN_PARALLEL) -m "not slow and not full_size" $(PYTEST_ARGS)

test-all: setup-dev ## Run all tests
	@$(IN_VENV) python -m pytest $(IN_PARALLEL) -m "not full_size" $(PYTEST_ARGS)

test-full-size: setup-dev ## Run the published size in bf16 and int8 on this CPU: 10 GiB of memory and disk, minutes
	@$(IN_VENV) python -m pytest -m full_size $(PYTEST_ARGS)

test-ros: setup-dev ## Run the node's, the replay's and the ROS tests (ROS_DISTRO=jazzy: on Jazzy)
	@$(IN_VENV) python -m pytest $(IN_PARALLEL) -m "not slow and not full_size" tests/ros tests/replay $(PYTEST_ARGS)

fuzz: setup-dev ## Fuzz every door and the real node for MINUTES=60; counts add up in out/fuzz
	@$(IN_VENV) pip install -q -r requirements/fuzz.txt -c requirements/constraints.txt coverage
	@$(IN_VENV) python -m tests.fuzz.campaign --minutes $(MINUTES) --node $(NODE_MESSAGES)

soak: setup-dev ## Run the node for MINUTES=60 with RUNTIME=instant, torch or onnx: does anything grow?
	@$(IN_VENV) python -m tests.chaos.soak --runtime $(RUNTIME) --minutes $(MINUTES) $(SOAK_ARGS)

chaos: setup-dev ## Break everything off at each point and at random; CHAOS_ARGS="map --random 5"
	@$(IN_VENV) python -m tests.chaos.campaign $(CHAOS_ARGS)
	@$(IN_VENV) python -m tests.chaos.cycles

setup: ## Make or refresh .venv
	@command -v $(PYTHON) >/dev/null || { echo "set-up: missing: python 3.10 to 3.13;" \
	  "install with: sudo apt install python3 python3-venv python3-dev" >&2; exit 1; }
	@$(SETUP)

setup-dev: ## The same, with pytest, ruff and mypy
	@command -v $(PYTHON) >/dev/null || $(MAKE) --no-print-directory setup
	@$(SETUP) --dev

workspace: ## Lay both packages out in DIR/src for colcon, rosdep and bloom (LINK=1: links)
	@test -n "$(DIR)" || { echo "workspace: say where: make workspace DIR=~/ws" >&2; exit 1; }
	@$(PYTHON) scripts/lay_out_workspace.py $(DIR) $(if $(LINK),--link)

lint: setup-dev ## Check format and style
	@$(IN_VENV) ruff format --check . && ruff check .

types: setup-dev ## Check types, strictly
	@$(IN_VENV) scripts/types.sh

clean: ## Remove .venv, caches and what make and the benchmarks wrote; other replays in out/ stay
	rm -rf .venv .venv-* .venv*.lock build install log out/demo out/demo-* out/benchmarks
	rm -rf .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
