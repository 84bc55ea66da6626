# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets every program of this folder start with any Python.

The first import of a program: where gr-neuralfec is not installed for the Python that runs, the
Python of the clone's `.venv` takes over; where that is not there either, one line says what to do.
It must run on Python 3.8.
"""

import importlib.util
import os
import sys


def _installed():
    try:
        return importlib.util.find_spec("gnuradio.neuralfec") is not None
    except (ImportError, ValueError):
        return False


def _quiet(kind, value, trace, _report=sys.excepthook):
    """Ctrl-C while libraries are still loading: nothing is lost, and nothing to report."""
    if not issubclass(kind, KeyboardInterrupt):
        _report(kind, value, trace)


def take_over():
    """Go on with a Python that has gr-neuralfec, or end with one line."""
    sys.excepthook = _quiet
    if _installed():
        return
    root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    python = os.path.join(root, ".venv", "bin", "python")
    program = os.path.basename(sys.argv[0])
    if os.path.exists(python) and os.path.realpath(sys.prefix) != os.path.join(root, ".venv"):
        os.execv(python, [python, *sys.argv])
    sys.stderr.write(
        f"{program}: error: gr-neuralfec is not installed for {sys.executable}: `make -C {root}` "
        f"installs it into .venv there, `python3 {root}/apps/doctor.py` tells what is missing\n"
    )
    sys.exit(2)


take_over()
