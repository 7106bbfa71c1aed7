# Each target starts from nothing: it makes its own virtual environment with the versions of constraints.txt.
.DEFAULT_GOAL := help
VENV := .venv
PY := $(VENV)/bin/python
PYTHON ?= python3.11
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt
LS_VENV := .venv-label-studio
LAUNCH := $(VENV)/bin/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no

.PHONY: help demo app test test-slow test-all check format bench label-studio clean

help:  ## what there is to run
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/base: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) -e .
	@touch $@

$(VENV)/test: $(VENV)/base
	$(INSTALL) -e ".[test,dev,deepspeed,annotation,search,report,app,onnx]"
	@touch $@

$(VENV)/bench: $(VENV)/test
	$(INSTALL) -e ".[bench]"
	@touch $@

demo: $(VENV)/base  ## install, make the synthetic set, train, evaluate, recognise one clip
	@rm -rf outputs/synthetic
	$(PY) -m microgesture.cli prepare synthetic
	$(LAUNCH) train_fgsgl.py
	$(PY) -m microgesture.cli predict outputs/synthetic $$(ls data/synthetic/test/clips/*.mp4 | head -n 1)
	$(PY) evaluate_fgsgl.py outputs/synthetic data/synthetic --split test --baselines

$(VENV)/app: $(VENV)/base
	$(INSTALL) -e ".[app]"
	@touch $@

app: $(VENV)/app  ## the page over the demo's checkpoint, on http://127.0.0.1:7860; stop it with Ctrl-C
	@test -f outputs/synthetic/config.json || { echo "no checkpoint in outputs/synthetic: run \`make demo\` first"; exit 1; }
	@test -f data/recordings/labels.json || $(PY) -m microgesture.cli prepare synthetic --recordings 10 --out data/recordings
	@grep -q '"spotting": {' outputs/synthetic/config.json || $(PY) -m microgesture.cli fit-spotting outputs/synthetic data/recordings
	$(PY) app.py

test: $(VENV)/test  ## install and run the tests
	$(PY) -m pytest -n 2 -m "not slow and not gpu"

test-slow: $(VENV)/test  ## the slow tests
	LABEL_STUDIO=$(abspath $(wildcard $(LS_VENV)/bin/label-studio)) $(PY) -m pytest -n 2 -m "slow and not gpu"

test-all: test test-slow  ## every test that needs no GPU

check: $(VENV)/test  ## lint, types, layout and who imports whom
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(PY) -m pytest -q tests/test_layout.py

format: $(VENV)/test  ## put the code into its form
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(VENV)/bench  ## the short benchmarks; the figures of record stand in benchmarks/RESULTS.md
	$(PY) benchmarks/bench_decode.py --quick
	$(PY) benchmarks/bench_frame_cache.py --quick
	$(PY) benchmarks/bench_synthetic.py
	$(PY) benchmarks/bench_training_step.py --quick
	$(PY) benchmarks/bench_text_bank.py --quick
	$(PY) benchmarks/bench_text.py --quick
	$(PY) benchmarks/bench_streams.py --quick

$(LS_VENV)/bin/label-studio: constraints-label-studio.txt
	$(PYTHON) -m venv $(LS_VENV)
	$(LS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-label-studio.txt label-studio
	@touch $@

label-studio: $(LS_VENV)/bin/label-studio  ## the annotation server, in an environment of its own; its test uses it

clean:  ## remove what the targets made
	rm -rf $(VENV) $(LS_VENV) outputs data cache *.egg-info .pytest_cache .mypy_cache .ruff_cache
