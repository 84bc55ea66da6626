# SPDX-License-Identifier: GPL-3.0-or-later
# make demo and make test do all, installs included, on Debian 12 and 13 and Ubuntu 24.04.
# `make help` lists the targets.

# Make, venv and CMake's FindPython split paths at spaces and would write outside the checkout.
ifneq ($(words $(CURDIR)),1)
$(error The path of this checkout has a space in it: "$(CURDIR)". Move it to a path without one)
endif
ifneq ($(shell test -w . && echo yes),yes)
$(error This checkout cannot be written to: "$(CURDIR)". Copy it to a folder of your own, or configure a build elsewhere: cmake -S "$(CURDIR)" -B build)
endif

VENV := $(CURDIR)/.venv
PYTHON := $(VENV)/bin/python
BUILD := build
# The system's Python: GNU Radio is not there for a pyenv or conda one.
SYSTEM_PYTHON := /usr/bin/python3
# NumPy is the one that the distribution's GNU Radio was built for: pip may not replace it.
PIP_INSTALL = $(PYTHON) -m pip install --disable-pip-version-check -c $(BUILD)/constraints.txt

SOURCES := $(shell find CMakeLists.txt cmake lib include python grc apps -type f \
	-not -path '*/__pycache__/*' -not -path '*/kernels/tests/*' 2>/dev/null)
CXX_FILES = $(shell find lib include python -name '*.cc' -o -name '*.h')

.PHONY: all help demo test test-kernels test-python training sionna lint format sanitize bench docs deb \
	bare-machine uninstall clean distclean

all: $(BUILD)/installed

help:
	@echo "make demo          install what is missing, build, send a file over a fading link"
	@echo "make test          all tests; brings what they need, torch and Sionna included"
	@echo "make               build and install into .venv"
	@echo "make training      bring torch: training, float quantizers, the torch_model block"
	@echo "make sionna        bring torch and Sionna: CDL-C fading for feedback codes"
	@echo "make docs          the documentation as a site in build/docs"
	@echo "make bench         tables of speed, beside other programs where there are any"
	@echo "make lint, format  check or mend the style"
	@echo "make sanitize      tests under AddressSanitizer and UndefinedBehaviorSanitizer"
	@echo "make deb           a Debian package in build/deb"
	@echo "make bare-machine  play a new user on a bare Debian (needs root and debootstrap)"
	@echo "make uninstall     take the module out of .venv"
	@echo "make clean         remove build; make distclean removes .venv, too"

$(BUILD)/system-packages: scripts/install_system_packages.sh
	scripts/install_system_packages.sh
	@mkdir -p $(BUILD) && touch $@

$(BUILD)/python-packages: requirements.txt $(BUILD)/system-packages
	test -x $(PYTHON) || $(SYSTEM_PYTHON) -m venv --system-site-packages $(VENV)
	@$(SYSTEM_PYTHON) -c 'import numpy; print("numpy==" + numpy.__version__)' > $(BUILD)/constraints.txt
	$(PIP_INSTALL) -q -r requirements.txt
	@touch $@

# torch by any way that the user likes will do: the distribution's, a CUDA build, a CPU build.
$(BUILD)/training-packages: requirements-training.txt $(BUILD)/python-packages
	@$(PYTHON) -c 'import torch' 2>/dev/null || \
		echo "Bringing torch. From PyPI that is the CUDA build on x86-64, 2.7 GB, some minutes."
	$(PYTHON) -c 'import torch' 2>/dev/null || $(PIP_INSTALL) -r requirements-training.txt
	@touch $@

# --no-deps: it names a later NumPy than some distributions have, and runs with theirs.
$(BUILD)/sionna-packages: requirements-sionna.txt $(BUILD)/training-packages
	$(PIP_INSTALL) -q --no-deps -r requirements-sionna.txt
	@touch $@

$(BUILD)/development-packages: requirements-development.txt $(BUILD)/python-packages
	$(PIP_INSTALL) -q -r requirements-development.txt
	@touch $@

$(BUILD)/installed: $(SOURCES) $(BUILD)/python-packages
	cmake -S . -B $(BUILD)/release -G Ninja -DCMAKE_INSTALL_PREFIX=$(VENV) \
		-DPYTHON_EXECUTABLE=$(PYTHON) > $(BUILD)/configure.log || { cat $(BUILD)/configure.log; exit 1; }
	cmake --build $(BUILD)/release
	@# What an earlier version installed under another name would still be found.
	@rm -rf $(VENV)/lib/python3*/site-packages/gnuradio/neuralfec \
		$(VENV)/share/gnuradio/grc/blocks/neuralfec_*
	cmake --install $(BUILD)/release > $(BUILD)/install.log
	@touch $@

# The main job: a real file over a 256-QAM fading link, at several SNRs.
demo: $(BUILD)/installed
	@mkdir -p demo-output
	$(PYTHON) apps/bicm_link.py LICENSE demo-output/LICENSE --constellation qam256 \
		--channel rayleigh --snr 16:22:1 --picture demo-output/bicm_link.png \
		--json demo-output/bicm_link.json
	@echo "Pictures and the file that came through: demo-output/"

training: $(BUILD)/training-packages

sionna: $(BUILD)/sionna-packages

test: test-kernels test-python

test-kernels: $(BUILD)/installed
	ctest --test-dir $(BUILD)/release --output-on-failure

# A process a core, of one thread each: torch's threads wait for each other more than they help.
test-python: $(BUILD)/installed $(BUILD)/sionna-packages $(BUILD)/development-packages
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n logical --dist loadfile --no-loadscope-reorder

sanitize: $(BUILD)/installed $(BUILD)/training-packages $(BUILD)/development-packages
	scripts/sanitize.sh

# One thread, so that ratios compare algorithms and not machines.
bench: $(BUILD)/installed $(BUILD)/training-packages
	@for script in benchmarks/*.py; do \
		echo "== $$script"; OMP_NUM_THREADS=1 $(PYTHON) $$script || exit 1; \
	done

lint: $(BUILD)/development-packages
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PYTHON) -m mypy
	@$(VENV)/bin/clang-format --dry-run -Werror $(CXX_FILES)

format: $(BUILD)/development-packages
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	@$(VENV)/bin/clang-format -i $(CXX_FILES)

# In a folder of its own: the site's tools want other versions of what the distribution has.
$(BUILD)/docs-packages: requirements-docs.txt $(BUILD)/python-packages
	rm -rf $@
	$(PIP_INSTALL) -q --target $@ -r requirements-docs.txt

docs: $(BUILD)/installed $(BUILD)/docs-packages
	PYTHONPATH=$(BUILD)/docs-packages $(PYTHON) -m sphinx -q -W --keep-going docs $(BUILD)/docs
	@echo "The site: $(BUILD)/docs/index.html"

deb: $(BUILD)/system-packages
	@for tool in file dpkg-shlibdeps; do command -v $$tool > /dev/null || \
		{ echo "A Debian package needs $$tool. First: apt-get install file dpkg-dev"; exit 1; }; done
	cmake -S . -B $(BUILD)/deb -G Ninja -DCMAKE_INSTALL_PREFIX=/usr -DGR_PYTHON_DIR=lib/python3/dist-packages \
		-DPYTHON_EXECUTABLE=$(SYSTEM_PYTHON) > $(BUILD)/configure-deb.log || { cat $(BUILD)/configure-deb.log; exit 1; }
	cmake --build $(BUILD)/deb
	cd $(BUILD)/deb && cpack -G DEB
	@ls $(BUILD)/deb/*.deb

bare-machine:
	scripts/bare_machine.sh

uninstall:
	@test -f $(BUILD)/release/install_manifest.txt || { echo "Nothing is installed from here."; exit 1; }
	cmake --build $(BUILD)/release --target uninstall
	rm -f $(BUILD)/installed

clean:
	rm -rf $(BUILD)

distclean: clean
	rm -rf $(VENV)
