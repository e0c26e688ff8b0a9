# `make demo` shows the main job; `make test` is what CI runs. Both build .venv first.
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test claims bench lint docs clean

# torch comes first and alone: a pinned CPU build, so that nothing below pulls another one in.
$(STAMP): pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)" -c constraints.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable ".[all,dev,docs]"
	touch $(STAMP)

.venv: $(STAMP)

demo: $(STAMP)
	$(VENV)/bin/guerdon demo

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright

test: lint
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile -q

claims: $(STAMP)
	$(PY) -m pytest -m slow -q

bench: $(STAMP)
	$(PY) -m benchmarks

docs: $(STAMP)
	$(VENV)/bin/mkdocs build --strict

clean:
	rm -rf $(VENV) site build dist
