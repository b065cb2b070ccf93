# Everything sets itself up: a fresh machine needs Python 3.11 or newer, and make.
#   make demo    train a CNN, export it, prove the export, read real digits, write a report
#   make test    the tests; make test-all: the slow ones too (several processes,
#                kills, a Ray cluster)
#   make check   ruff and mypy
#   make docs    the site in site/, the lessons' pages and notebooks; make docs ALL=1 runs all lessons
#   make weights train and measure the shipped models again, five seeds each
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   := $(VENV)/.demo
READY  := $(VENV)/.ready
# resnet first: softmax, cnn and googlenet learn from it, and it from a resnet that had no teacher.
MODELS := resnet softmax cnn googlenet rnn rnn_cell linear logistic
SEEDS  := 1 2 3 4 5
# Weights come out of one thread: the same bytes on any number of cores, several runs at a time.
ONE    := OMP_NUM_THREADS=1

.PHONY: demo test test-all check docs weights tables catalog pins clean

demo: $(DEMO)
	$(BIN)/zoo demo

test: $(READY)
	$(BIN)/python -m pytest -q -n auto --dist loadfile

test-all: $(READY) .clients/.ready
	$(BIN)/python -m pytest -q -m ""

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Runs the lessons whose scripts changed, writes docs/*/learn and notebooks/, builds site/.
docs: $(READY)
	$(BIN)/python -m docs.generate $(if $(ALL),--all)

weights: $(READY)
	rm -rf runs/weights
	for seed in 1 2; do \
	  $(ONE) $(BIN)/zoo train resnet --set teacher= --seed $$seed \
	    --out runs/weights/teacher-$$seed || exit 1; \
	done
	$(BIN)/python benchmarks/ship.py runs/weights/teacher-* --to weights/teachers/resnet
	for model in $(MODELS); do \
	  for seed in $(SEEDS); do \
	    $(ONE) $(BIN)/zoo train $$model --seed $$seed --out runs/weights/$$model-$$seed || exit 1; \
	  done; \
	  $(BIN)/python benchmarks/ship.py runs/weights/$$model-[0-9] \
	    --to weights/$$model || exit 1; \
	done
	$(BIN)/python benchmarks/robustness.py
	$(MAKE) tables

# The tables of weights/README.md and of both READMEs, from the cards and the measured speeds.
tables: $(READY)
	$(BIN)/python benchmarks/tables.py

# uv (pinned) makes the environment; every package has its version and hashes in requirements/.
# Sizes were measured on Linux x86_64 with an empty cache; torch and CUDA are nearly all of it.
$(DEMO): requirements/demo.txt requirements/uv.txt pyproject.toml
	@echo "uv, which installs the rest"
	@test -x .uv/bin/uv || { $(PYTHON) -m venv .uv && \
	  .uv/bin/python -m pip install -q --require-hashes -r requirements/uv.txt; }
	@.uv/bin/uv venv -q --allow-existing --python $(PYTHON) $(VENV)
	@echo "requirements/demo.txt: 74 packages, 3.4 GB to download, 5.8 GB on disk"
	@VIRTUAL_ENV=$(VENV) .uv/bin/uv pip install --require-hashes -r requirements/demo.txt
	@VIRTUAL_ENV=$(VENV) .uv/bin/uv pip install -q --no-deps --no-build-isolation -e .
	@touch $(DEMO)

# What tests, checks and the site need on top of it.
$(READY): $(DEMO) requirements/dev.txt
	@echo "requirements/dev.txt: 160 packages more, 0.5 GB to download, 1.0 GB on disk"
	@VIRTUAL_ENV=$(VENV) .uv/bin/uv pip install --require-hashes -r requirements/dev.txt
	@touch $(READY)

# Clients whose requirements differ from ours: KServe's, and NVIDIA's perf_analyzer, which the wheels
# of tritonclient up to 2.46 carry (it needs Debian's libb64-0d as well).
.clients/.ready: $(READY) requirements/kserve.txt requirements/perf.txt
	.uv/bin/uv venv -q --allow-existing --python $(PYTHON) .clients/kserve
	VIRTUAL_ENV=.clients/kserve .uv/bin/uv pip install -q --require-hashes -r requirements/kserve.txt
	.uv/bin/uv pip install -q --require-hashes --no-deps --target .clients/perf \
	  -r requirements/perf.txt
	chmod +x .clients/perf/bin/perf_analyzer
	touch .clients/.ready

# Compile the Chinese texts of the command, after a change of messages.po.
catalog: $(READY)
	$(BIN)/pybabel compile -d zoo/locale -D messages

# Choose the newest versions that pyproject.toml allows; a maintainer's command.
pins:
	.uv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-annotate --no-emit-index-url --upgrade --extra train --extra parquet --extra heic --extra tensorboard \
	  --extra grpc --extra hub --extra openvino --extra ray --group dev \
	  pyproject.toml requirements/build.in -o requirements/dev.txt
	.uv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-annotate --no-emit-index-url -c requirements/dev.txt --extra train \
	  pyproject.toml requirements/build.in -o requirements/demo.txt
	echo uv | .uv/bin/uv pip compile -q --universal --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --upgrade - -o requirements/uv.txt

clean:
	rm -rf .venv .uv .clients runs demo-report dist site
