# SPDX-License-Identifier: GPL-3.0-or-later
"""How a result or a model came to be: command, commit, versions, processor, time."""

import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

_PACKAGES = ("numpy", "scipy", "torch")


def _of_the_tree(word: str) -> str:
    """Return an argument without the folders of this machine, which nobody else has."""
    option, equals, value = word.rpartition("=") if word.startswith("-") else ("", "", word)
    path = Path(value)
    if path.is_absolute() and not path.is_relative_to("/dev"):
        here = path.is_relative_to(Path.cwd())
        value = str(path.relative_to(Path.cwd())) if here else path.name
    return option + equals + value


def command() -> str:
    """Return the command line of this process, as it can be typed again in the source tree.

    Of an absolute path outside the current folder the name alone is told.
    """
    arguments = [_of_the_tree(word) for word in sys.argv[1:]]
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        start = ["python", "-m", spec.name.removesuffix(".__main__")]
    else:
        script = Path(sys.argv[0] or "python")
        if sys.argv[0].startswith("neuralfec "):
            return shlex.join([*sys.argv[0].split(), *arguments])
        start = [_of_the_tree(str(script))]
    return shlex.join(start + arguments)


def commit() -> str | None:
    """Return the hash of the project's checked-out commit, `+` behind it where files differ.

    None where the package does not lie inside its own git checkout.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        # Somebody else's repository may hold the virtual environment.
        if not (Path(git("rev-parse", "--show-toplevel")) / "python/neuralfec").is_dir():
            return None
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def cpu() -> str:
    """Return the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of Python, this package and the libraries that can change a result."""
    from . import __version__

    found = {"python": platform.python_version(), "neuralfec": __version__}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """Return date and time, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def record() -> dict:
    """Return all that this module tells, as a dict that JSON can hold."""
    return {
        "command": command(),
        "commit": commit(),
        "date": now(),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "versions": versions(),
    }
