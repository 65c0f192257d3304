# One virtual environment a purpose; every target installs what it needs.
PYTHON ?= python3
VENV := .venv
TRAIN := .venv-train
TRITON := .venv-triton
OCR := .venv-ocr
VIDEO := .venv-video
OPENAI := .venv-openai
DIFFUSERS := .venv-diffusers
PYTHON311 ?= python3.11
BIN := $(VENV)/bin
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test check docs policies test-train test-ocr test-openai test-diffusers test-video test-triton test-oldest test-wheel bench bench-compare bench-peers bench-architectures bench-triton bench-quality wheels clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.cpu  ## check four prompts with the shipped model and print the decisions
	$(BIN)/python examples/01_check_prompts.py

test: $(VENV)/.dev  ## run the tests: no torch, no server
	$(BIN)/python -m pytest

check: $(VENV)/.dev  ## format, lint, types, generated docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m docs.generate --check

docs: $(VENV)/.dev  ## write the generated docs: error reference, categories, policy schema
	$(BIN)/python -m docs.generate

policies: $(VENV)/.dev  ## run every shipped policy's cases, and find rules without cases
	$(BIN)/guardkit policy test policies/*.yaml

test-train: $(TRAIN)/.done  ## run the tests of training and export (installs torch)
	$(TRAIN)/bin/python -m pytest tests/training guardkit/train guardkit/export guardkit/integrations/bottleneck.py

test-ocr: $(OCR)/.done  ## run the tests that read text in images (installs OpenCV)
	$(OCR)/bin/python -m pytest tests/ocr

test-video: $(VIDEO)/.done  ## run the tests that read videos (installs PyAV), with the newest and the oldest one
	$(VIDEO)/bin/python $(PIP_INSTALL) av
	$(VIDEO)/bin/python -m pytest tests/video guardkit/image/video.py
	$(VIDEO)/bin/python -m pip install --quiet --disable-pip-version-check av==15.0.0
	$(VIDEO)/bin/python -m pytest tests/video guardkit/image/video.py

test-openai: $(OPENAI)/.done  ## run the tests of the guarded client with the package openai and a local server
	$(OPENAI)/bin/python -m pytest tests/openai

test-diffusers: $(DIFFUSERS)/.done  ## run the tests of the guarded pipeline, with the newest and the oldest diffusers (installs torch)
	$(DIFFUSERS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-diffusers.txt diffusers transformers
	$(DIFFUSERS)/bin/python -m pytest tests/diffusers guardkit/integrations
	$(DIFFUSERS)/bin/python -m pip install --quiet --disable-pip-version-check diffusers==0.36.0 transformers==4.57.6
	$(DIFFUSERS)/bin/python -m pytest -W ignore::UserWarning tests/diffusers  # importing it warns where there is no CUDA

test-triton: $(TRITON)/.done  ## run the tests against a real Triton server (needs Python 3.11)
	$(TRITON)/bin/python tests/triton/libpython.py
	$(TRITON)/bin/python -m pytest tests/triton

test-oldest: ## run the tests with the oldest versions that pyproject.toml allows
	rm -rf .venv-oldest && $(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-oldest.txt -e ".[cpu,dev]"
	.venv-oldest/bin/python -m pytest -m "not languages"  # the extra `languages` needs numpy 2

test-wheel: $(VENV)/.dev  ## build the wheel and check a prompt with it, offline, in an empty folder
	$(BIN)/python tests/wheel/run.py

bench: $(VENV)/.dev  ## measure latency, throughput, cold start and memory
	$(BIN)/guardkit bench --out bench/results/guardkit.json

bench-compare: $(VENV)/.dev  ## compare with the committed baseline of this machine
	$(BIN)/python bench/compare.py

bench-peers: $(VENV)/.dev  ## the same workload through other libraries, interleaved
	$(BIN)/python bench/peers.py --out bench/results/peers.json

bench-architectures: $(TRAIN)/.done  ## a check beside the encoders of other guards, and the roofline
	$(TRAIN)/bin/python -m bench.architectures

bench-triton: $(TRITON)/.done  ## what a Triton server adds
	$(TRITON)/bin/python -m bench.served

bench-quality: $(TRAIN)/.done  ## measure detection on held-out proxies; DATA=folder of the shared data
	$(TRAIN)/bin/python -m bench.quality $(if $(DATA),--data $(DATA)) --out bench/results/quality.json

wheels: $(VENV)/.dev  ## build the wheel, and those of the larger models, into dist/
	for project in . wheels/*; do $(BIN)/python -m build --wheel --no-isolation --outdir dist $$project || exit 1; done

clean:  ## remove environments and build output
	rm -rf .venv .venv-* dist build

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.cpu: $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python $(PIP_INSTALL) -e ".[cpu]"
	touch $@

$(VENV)/.dev: $(VENV)/.cpu
	$(BIN)/python $(PIP_INSTALL) -e ".[cpu,languages,dev]"
	touch $@

$(TRAIN)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(TRAIN)
	$(TRAIN)/bin/python $(PIP_INSTALL) torch==2.13.0  # first: any other spelling pulls CUDA packages
	$(TRAIN)/bin/python $(PIP_INSTALL) -e ".[cpu,train,export,dev]"
	touch $@

$(OCR)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(OCR)
	$(OCR)/bin/python $(PIP_INSTALL) -e ".[cpu,ocr]" pytest hypothesis onnx
	touch $@

$(VIDEO)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VIDEO)
	$(VIDEO)/bin/python $(PIP_INSTALL) -e ".[cpu,video]" pytest hypothesis onnx
	touch $@

$(OPENAI)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(OPENAI)
	$(OPENAI)/bin/python $(PIP_INSTALL) -e ".[cpu,image]" openai pytest hypothesis onnx
	touch $@

$(DIFFUSERS)/.done: pyproject.toml constraints-diffusers.txt
	$(PYTHON) -m venv $(DIFFUSERS)
	$(DIFFUSERS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-diffusers.txt torch==2.13.0  # first
	$(DIFFUSERS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-diffusers.txt \
		-e ".[cpu,diffusers]" pytest hypothesis onnx
	touch $@

$(TRITON)/.done: pyproject.toml constraints-triton.txt
	@command -v $(PYTHON311) > /dev/null || { echo "Triton's python backend needs Python 3.11: make test-triton PYTHON311=/path/to/python3.11"; exit 1; }
	$(PYTHON311) -m venv $(TRITON)
	$(TRITON)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-triton.txt \
		nvidia-pytriton -e ".[cpu,image,triton]" pytest hypothesis onnx trustme
	touch $@
