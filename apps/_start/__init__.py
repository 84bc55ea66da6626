#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets every program of the folder above start with any Python.

Run by itself it says nothing where a program would start, and what to do where none would.
The first import of a program: where gr-neuralfec is not installed for the Python that runs, the
Python of the clone's `.venv` takes over; where that is not there either, one line says what to do.
It must run on Python 3.8.
"""

import importlib.util
import os
import signal
import sys


def _installed():
    try:
        return importlib.util.find_spec("gnuradio.neuralfec") is not None
    except (ImportError, ValueError):
        return False


def _report(kind, value, trace, _before=sys.excepthook):
    """Say in one line which library is missing."""
    if issubclass(kind, ModuleNotFoundError) and value.name:
        program = os.path.basename(sys.argv[0])
        advice = "make training brings it" if value.name == "torch" else "make brings it"
        sys.stderr.write(f"{program}: error: this needs {value.name}: {advice}\n")
        sys.stderr.flush()
        os._exit(2)
    _before(kind, value, trace)


def take_over():
    """Go on with a Python that has gr-neuralfec, or end with one line."""
    sys.excepthook = _report
    # Ctrl-C while libraries are loading ends the program at once: nothing is lost yet, and some
    # of them make errors of their own out of it. `app.main` listens to it again.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if _installed():
        return
    root = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
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
