#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell what is wrong with an installation of gr-neuralfec, and what to do about it.

Runs with any Python from 3.8 on and needs nothing installed. It looks at the Python of
`.venv` beside the source where there is one, at its own otherwise, or at `--python`. Where
Python or GNU Radio itself is wrong it stops there: all else would only follow from that.
Exit status: 0 where all is well, 1 where something is wrong.
"""

# It must run on Python 3.8:
# ruff: noqa: UP031
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SYSTEM_PYTHON = "/usr/bin/python3"
OLDEST_PYTHON = (3, 11)
# The import's name, its package on PyPI (Debian's is python3-IMPORT), and what it is for.
LIBRARIES = {
    "scipy": ("scipy", "intervals of simulations"),
    "matplotlib": ("matplotlib", "figures"),
    "sklearn": ("scikit-learn", "training of LLR quantizers"),
    "joblib": ("joblib", "simulation with several workers"),
    "rich": ("rich", "tables"),
    "zmq": ("pyzmq", "links between two processes"),
    "yaml": ("pyyaml", "GRC's blocks"),
}
# Of NumPy 2 refusing a module that is compiled for NumPy 1, by its versions.
NUMPY_1_SIGNS = ("compiled using NumPy 1", "_ARRAY_API", "numpy.core.multiarray failed")


class Report:
    """Prints findings as they come and remembers whether one was wrong."""

    def __init__(self):
        self.wrong = False

    def ok(self, what):
        print("ok     " + what)

    def note(self, what, advice):
        print("note   " + what + "\n       -> " + advice)

    def bad(self, what, advice):
        self.wrong = True
        print("WRONG  " + what + "\n       -> " + advice)


def ask(python, code):
    """What the code prints in that Python (None where it fails), and its errors."""
    try:
        run = subprocess.run(
            [python, "-c", code],
            capture_output=True,
            text=True,
            timeout=120,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    return (run.stdout.strip() if run.returncode == 0 else None), run.stderr.strip()


def last_line(errors):
    return errors.splitlines()[-1] if errors else "no message"


def check_python(report, python):
    """Return whether it can be the right one."""
    answer, errors = ask(
        python,
        "import json, sys; print(json.dumps([list(sys.version_info[:3]), sys.executable]))",
    )
    if answer is None:
        report.bad("%s does not run: %s" % (python, last_line(errors)), "make demo")
        return False
    version, executable = json.loads(answer)
    what = "Python %s, %s" % (".".join(map(str, version)), executable)
    if tuple(version[:2]) < OLDEST_PYTHON:
        report.bad(
            what + ": too old",
            "%d.%d or newer is needed, and the one that GNU Radio was built for; "
            "rm -rf .venv && make demo takes %s" % (*OLDEST_PYTHON, SYSTEM_PYTHON),
        )
        return False
    report.ok(what)
    return True


def check_gnuradio(report, python):
    """Return whether it imports."""
    answer, errors = ask(python, "from gnuradio import gr; print(gr.version(), gr.prefix())")
    if answer is not None:
        version, prefix = answer.split(None, 1)
        if version.lstrip("v").startswith("3.10"):
            report.ok("GNU Radio %s in %s" % (version, prefix))
        else:
            report.bad("GNU Radio %s" % version, "gr-neuralfec is for GNU Radio 3.10")
        return True
    numpy = ask(python, "import numpy; print(numpy.__version__)")[0] or "unknown"
    if any(sign in errors for sign in NUMPY_1_SIGNS):
        report.bad(
            "GNU Radio does not import: it is compiled for NumPy 1, and NumPy %s is there" % numpy,
            "rm -rf .venv && make demo: it keeps the NumPy that GNU Radio was built for",
        )
    elif "No module named 'gnuradio'" in errors:
        if ask(SYSTEM_PYTHON, "import gnuradio.gr")[0] is None:
            report.bad(
                "GNU Radio is not installed",
                "scripts/install_system_packages.sh (or environment.yml for conda)",
            )
        else:
            report.bad(
                "this Python has no GNU Radio, but %s has: the wrong Python" % SYSTEM_PYTHON,
                "rm -rf .venv && make demo; the environment must be made by %s -m venv "
                "--system-site-packages, whatever python comes first on PATH" % SYSTEM_PYTHON,
            )
    else:
        report.bad("GNU Radio does not import: " + last_line(errors), "repair GNU Radio first")
    return False


def check_module(report, python):
    """The prefix that the module is installed below; None where it does not import."""
    answer, errors = ask(
        python,
        "from gnuradio import neuralfec; print(neuralfec.__version__, neuralfec.__path__[0])",
    )
    if answer is None:
        report.bad("gr-neuralfec is not installed for it: " + last_line(errors), "make")
        return None
    report.ok("gr-neuralfec " + answer.replace(" ", " in ", 1))
    folder = Path(answer.split(" ", 1)[1])
    answer, errors = ask(
        python,
        "from gnuradio.neuralfec import _kernels as k;"
        "print(k.simd_target(), 'of', ', '.join(k.simd_targets()))",
    )
    if answer is None:
        report.bad("its kernels do not load: " + last_line(errors), "make clean && make")
    else:
        report.ok("kernels with SIMD target " + answer)
    answer, errors = ask(python, "from gnuradio.neuralfec import neuralfec_python")
    if answer is None:
        advice = "make clean && make"
        if "cannot open shared object file" in errors:
            advice = "sudo ldconfig, if it was installed into the system; else " + advice
        report.bad("its C++ blocks do not load: " + last_line(errors), advice)
    else:
        report.ok("C++ blocks")
    # PREFIX/lib/python3.x/{site,dist}-packages/gnuradio/neuralfec
    return next((p.parent for p in folder.parents if p.name in ("lib", "lib64")), None)


def check_grc(report, python, prefix):
    """Whether GRC would find the blocks that are installed below ``prefix``."""
    own = prefix / "share" / "gnuradio" / "grc" / "blocks"
    if not list(own.glob("neuralfec_*.block.yml")):
        report.bad("no GRC blocks in %s" % own, "make")
        return
    # The search path as GRC puts it together: environment, then GNU Radio's configuration files.
    configured, _ = ask(
        python,
        "from gnuradio import gr; p = gr.prefs();"
        "print(p.get_string('grc', 'local_blocks_path', '') + ':' +"
        "p.get_string('grc', 'global_blocks_path', ''))",
    )
    paths = os.environ.get("GRC_BLOCKS_PATH", "").split(os.pathsep)
    paths += (configured or "").split(os.pathsep)
    listed = any(own.resolve() == Path(path).expanduser().resolve() for path in paths if path)
    wrapper = prefix / "bin" / "gnuradio-companion"
    if wrapper.is_file() and b"GRC_BLOCKS_PATH" in wrapper.read_bytes()[:2000]:
        report.ok("GRC with our blocks: %s (and grcc beside it)" % wrapper)
        if not listed:
            report.note(
                "a gnuradio-companion from elsewhere does not find the blocks",
                "start the one above",
            )
    elif listed:
        report.ok("GRC blocks in %s, which GRC searches" % own)
    else:
        report.bad(
            "GRC does not find the blocks in %s" % own,
            "set local_blocks_path = %s below [grc] in ~/.gnuradio/config.conf" % own,
        )


def check_libraries(report, python):
    # A distribution's Python refuses pip (PEP 668): there the packages are the distribution's.
    in_venv = ask(python, "import sys; print(sys.prefix != sys.base_prefix)")[0] == "True"

    def advice(pip, packages):
        return "%s -m pip install %s" % (python, pip) if in_venv else "apt-get install " + packages

    answer, errors = ask(
        python, "import torch; print(torch.__version__, torch.cuda.is_available())"
    )
    if answer is not None:
        version, cuda = answer.split()
        report.ok("torch %s, %s" % (version, "CUDA" if cuda == "True" else "CPU"))
    elif "No module named 'torch'" in errors:
        report.note(
            "no torch: what is shipped runs without; training, float quantizers and the "
            "torch_model block want it",
            "make training" if in_venv else "apt-get install python3-torch",
        )
    else:
        report.bad(
            "torch does not import: " + last_line(errors),
            advice("--force-reinstall torch", "--reinstall python3-torch"),
        )
    answer, _ = ask(
        python,
        "import importlib\n"
        "for name in %r:\n"
        "    try: importlib.import_module(name)\n"
        "    except Exception: print(name)" % list(LIBRARIES),
    )
    missing = (answer or "").split()
    if missing:
        report.bad(
            "missing: " + "; ".join("%s for %s" % (name, LIBRARIES[name][1]) for name in missing),
            advice(
                " ".join(LIBRARIES[name][0] for name in missing),
                " ".join("python3-" + name for name in missing),
            ),
        )
    else:
        report.ok("libraries " + ", ".join(LIBRARIES))


def check_display(report, python):
    gtk = "import gi; gi.require_version('Gtk', '3.0'); from gi.repository import Gtk"
    if ask(python, gtk)[0] is None:
        report.note("GRC's window needs GTK 3", "apt-get install python3-gi gir1.2-gtk-3.0")
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        report.note(
            "no display: GRC and graphs with windows do not open",
            "apps and grcc run without; QT_QPA_PLATFORM=offscreen runs a graph unseen",
        )


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    examples = ("neuralfec doctor",)

    def error(self, message):
        self.exit(2, "%s: error: %s (see --help)\n" % (self.prog, message))


def parser():
    made = Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n    neuralfec doctor",
    )
    venv = ROOT / ".venv" / "bin" / "python"
    made.add_argument(
        "--python",
        default=str(venv) if venv.exists() else sys.executable,
        help="the Python to look at (default: %(default)s)",
    )
    return made


def main(argv=None):
    python = parser().parse_args(argv).python
    try:
        status = examine(python)
        # Here, and not at the end of Python, where nothing would catch what comes of it.
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        sys.stderr.write("\ndoctor: interrupted; nothing was changed\n")
        return 130
    except BrokenPipeError:
        # Whoever read it has seen enough, and Python must not try to say the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


def examine(python):
    """Look at a Python and say what is found; 1 where something is wrong."""
    report = Report()
    if check_python(report, python) and check_gnuradio(report, python):
        prefix = check_module(report, python)
        if prefix is not None:
            check_grc(report, python, prefix)
        check_libraries(report, python)
        check_display(report, python)
    print("Something is wrong, see above." if report.wrong else "All is well.")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
