# SPDX-License-Identifier: GPL-3.0-or-later
# make demo and make test do all, installs included, on Debian 12 and Ubuntu 24.04.
VENV := $(CURDIR)/.venv
PYTHON := $(VENV)/bin/python
BUILD := build
# The system's Python: GNU Radio is not there for a pyenv or conda one.
SYSTEM_PYTHON := /usr/bin/python3

SOURCES := $(shell find CMakeLists.txt lib include python grc apps -type f \
	-not -path '*/__pycache__/*' -not -path '*/kernels/tests/*' 2>/dev/null)
CXX_FILES = $(shell find lib include python -name '*.cc' -o -name '*.h')

.PHONY: all demo test test-kernels test-python lint format sanitize bench clean

all: $(BUILD)/installed

$(BUILD)/system-packages: scripts/install_system_packages.sh
	scripts/install_system_packages.sh
	@mkdir -p $(BUILD) && touch $@

$(BUILD)/python-packages: requirements.txt $(BUILD)/system-packages
	test -x $(PYTHON) || $(SYSTEM_PYTHON) -m venv --system-site-packages $(VENV)
	$(PYTHON) -m pip install -q --disable-pip-version-check -r requirements.txt
	@touch $@

$(BUILD)/installed: $(SOURCES) $(BUILD)/python-packages
	cmake -S . -B $(BUILD)/release -G Ninja -DCMAKE_INSTALL_PREFIX=$(VENV) \
		-DPYTHON_EXECUTABLE=$(PYTHON) > $(BUILD)/configure.log || { cat $(BUILD)/configure.log; exit 1; }
	cmake --build $(BUILD)/release
	cmake --install $(BUILD)/release > $(BUILD)/install.log
	@touch $@

# The main job: a real file over a 256-QAM fading link, at several SNRs.
demo: $(BUILD)/installed
	@mkdir -p demo-output
	$(PYTHON) apps/bicm_link.py LICENSE demo-output/LICENSE --constellation qam256 \
		--channel rayleigh --snr 16:20:0.5 --picture demo-output/bicm_link.png \
		--json demo-output/bicm_link.json
	@echo "Pictures and the file that came through: demo-output/"

test: test-kernels test-python

test-kernels: $(BUILD)/installed
	ctest --test-dir $(BUILD)/release --output-on-failure

# One thread: on few cores torch's threads wait for each other more than they help.
test-python: $(BUILD)/installed
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest

sanitize: $(BUILD)/installed
	scripts/sanitize.sh

# One thread, so that ratios compare algorithms and not machines.
bench: $(BUILD)/installed
	@for script in benchmarks/*.py; do \
		echo "== $$script"; OMP_NUM_THREADS=1 $(PYTHON) $$script || exit 1; \
	done

lint: $(BUILD)/python-packages
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/clang-format --dry-run -Werror $(CXX_FILES)

format: $(BUILD)/python-packages
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	@$(VENV)/bin/clang-format -i $(CXX_FILES)

clean:
	rm -rf $(BUILD) $(VENV)
