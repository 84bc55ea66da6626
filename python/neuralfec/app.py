# SPDX-License-Identifier: GPL-3.0-or-later
"""What all programs share: one main, one way to name files, raw files in and out, progress.

A program declares its paths by type and leaves the rest to `main`:

>>> def parser():
...     made = app.parser(__doc__, "neuralfec double in.f32 out.f32")
...     made.add_argument("input", type=app.InputFile, help="float32 values")
...     made.add_argument("output", type=app.OutputFile, help="float32 values, twice as large")
...     return made
>>> def run(args):
...     with args.output.open() as output:
...         for values in app.read_chunks(args.input, "<f4", 1 << 16):
...             output.write((2 * values).data)
>>> def main(argv=None):
...     return app.main(parser(), run, argv)

`main` checks every path before the work: inputs are there, outputs can be written and are none of
the inputs, not even through a link. An output is written under a temporary name and gets its own
when the work is done, so that nobody sees half a file. Exit statuses: 0 all is well; 1 it ran, but
something did not come through (frames lost, or not converged); 2 bad usage or bad input; 130
interrupted by Ctrl-C. Every message is one line on stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import select
import shutil
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

OK, INCOMPLETE, WRONG, INTERRUPTED = 0, 1, 2, 130

_EPILOG = """\
exit status: 0 all is well; 1 it ran, but not all came through (frames lost or not converged);
2 bad usage or input; 130 interrupted. FILE may be "-" for stdin or stdout."""


class Interrupted(KeyboardInterrupt):
    """Says what an interrupted program has kept: `raise Interrupted("kept 3 of 5 points")`."""


class InputFile(str):
    """A file to read; "-" is stdin, and pipes and devices are read as they come."""

    @property
    def is_stdin(self) -> bool:
        """Whether it is the standard input."""
        return str(self) in ("-", "/dev/stdin", "/dev/fd/0")

    @property
    def size(self) -> int | None:
        """Bytes of the file, None where only its end will tell."""
        try:
            found = os.fstat(0) if self.is_stdin else os.stat(self)
        except OSError as error:
            raise ValueError(f"{self}: cannot be read: {error.strerror}") from error
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def check(self) -> None:
        """Raise ValueError where there is nothing to read."""
        if self.is_stdin:
            return
        if not os.path.exists(self):
            raise ValueError(f"{self}: no such file")
        if os.path.isdir(self):
            raise ValueError(f"{self}: no such file, it is a folder")
        # A FIFO is not opened: its writer may not be there yet.
        if not os.access(self, os.R_OK):
            raise ValueError(f"{self}: cannot be read: Permission denied")

    def open(self) -> BinaryIO:
        """Open the file to read bytes; ValueError where that is not possible."""
        try:
            return open(0, "rb", closefd=False) if self.is_stdin else open(self, "rb")
        except OSError as error:
            raise ValueError(f"{self}: cannot be read: {error.strerror}") from error

    def read_bytes(self) -> bytes:
        """Return all that the file holds."""
        with self.open() as file:
            return file.read()


class OutputFile(str):
    """A file to write, which gets its name when `main` ends well; "-" is stdout.

    What exists and is no regular file (a pipe, /dev/null) is written to directly.
    """

    _part: str | None = None
    _used = False
    _stdout = 1

    @property
    def is_stdout(self) -> bool:
        """Whether it is the standard output."""
        return str(self) in ("-", "/dev/stdout", "/dev/fd/1")

    def check(self) -> None:
        """Make the temporary file; ValueError where there can be none."""
        if self.is_stdout or self._part is not None:
            return
        target = os.path.realpath(self)
        try:
            if os.path.isdir(target):
                raise IsADirectoryError(21, "it is a folder")
            if os.path.exists(target):
                if not os.access(target, os.W_OK):
                    raise PermissionError(13, "Permission denied")
                if not os.path.isfile(target):
                    self._part = target
                    return
            folder, name = os.path.split(target)
            stem, suffix = os.path.splitext(name)
            # The suffix stays: it tells plotting libraries the format.
            part = os.path.join(folder, f".{stem}.{os.getpid()}.part{suffix}")
            with open(part, "xb"):
                pass
            if os.path.exists(target):
                shutil.copymode(target, part)
            self._part = part
        except OSError as error:
            raise ValueError(f"{self}: cannot be written: {error.strerror}") from error

    @property
    def path(self) -> str:
        """Where to write now, for libraries that open files by themselves."""
        self.check()
        self._used = True
        return f"/dev/fd/{self._stdout}" if self.is_stdout else str(self._part)

    def open(self) -> BinaryIO:
        """Open the file to write bytes."""
        path: str | int = self.path
        try:
            if self.is_stdout:
                return open(self._stdout, "wb", buffering=0, closefd=False)
            return open(path, "wb")
        except OSError as error:
            raise ValueError(f"{self}: cannot be written: {error.strerror}") from error

    def write_bytes(self, data: bytes) -> None:
        """Write all at once."""
        with self.open() as file:
            # A pipe takes as much as it has room for.
            for start in range(0, len(data), 1 << 16):
                write_all(file, data[start : start + (1 << 16)])

    def write_json(self, value: Any) -> None:
        """Write a value as indented JSON."""
        self.write_bytes(json.dumps(value, indent=2).encode() + b"\n")

    def keep(self) -> None:
        """Give the file its name, where anything was written."""
        if self._temporary and self._used:
            os.replace(str(self._part), os.path.realpath(self))
            self._part = None
        self.discard()

    def keep_part(self) -> str | None:
        """Keep what was written so far beside the file's name; return where."""
        kept = None
        if self._temporary and os.path.getsize(str(self._part)):
            kept = f"{self}.part"
            os.replace(str(self._part), kept)
            self._part = None
        self.discard()
        return kept

    def discard(self) -> None:
        """Remove the temporary file."""
        if self._temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(str(self._part))
        self._part, self._used = None, False

    @property
    def _temporary(self) -> bool:
        return self._part is not None and self._part != os.path.realpath(self)


class OutputFolder(str):
    """A folder to write files into; it is made when the first file is written."""

    def check(self) -> None:
        """Raise ValueError where no file can be written there."""
        path = Path(os.path.realpath(self))
        if path.exists() and not path.is_dir():
            raise ValueError(f"{self}: expected a folder, it is a file")
        while not path.exists():
            path = path.parent
        if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
            raise ValueError(f"{self}: cannot be written to: Permission denied in {path}")

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[str]:
        """Give the path to write a file of the folder at; it gets its name when that is done."""
        Path(self).mkdir(parents=True, exist_ok=True)
        output = OutputFile(os.path.join(self, name))
        try:
            yield output.path
            output.keep()
        finally:
            output.discard()


class Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Shows the description as it is written, and each default that says something."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if action.default in (None, False, "", argparse.SUPPRESS) or action.required:
            return text
        if not action.option_strings and action.nargs not in ("?", "*"):
            return text
        return text if "%(default)" in text else f"{text} (default: %(default)s)"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line. `examples`: commands that run as they are written."""

    examples: tuple[str, ...] = ()

    def error(self, message: str) -> Any:
        """Print an error of the command line in one line, and exit with status 2."""
        self.exit(WRONG, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def parser(description: str | None, *examples: str) -> Parser:
    """Make the parser of a program.

    Parameters
    ----------
    description : a docstring, shown as it is written
    examples : whole commands that run as they stand, such as "neuralfec codes"
    """
    shown = "".join(f"    {example}\n" for example in examples)
    made = Parser(
        description=description,
        formatter_class=Formatter,
        epilog=(f"example:\n{shown}\n" if shown else "") + _EPILOG,
    )
    made.examples = examples
    return made


def add_quiet(made: argparse.ArgumentParser) -> None:
    """Add --quiet, for programs that show progress and a summary."""
    made.add_argument("--quiet", action="store_true", help="show no progress and no summary")


def check_picture(path: str) -> None:
    """Raise ValueError where matplotlib cannot write a picture of this name."""
    from matplotlib.figure import Figure

    kinds = Figure().canvas.get_supported_filetypes()
    suffix = os.path.splitext(path)[1][1:].lower()
    if suffix not in kinds:
        raise ValueError(f"{path}: expected a picture of {', '.join(sorted(kinds))}")


def add_code(made: argparse.ArgumentParser) -> None:
    """Add --code, --frame and --termination; `code_of` makes the code that they name."""
    from . import codes

    made.add_argument("--code", required=True, help=", ".join(codes.specs()))
    made.add_argument(
        "--frame", type=int, metavar="K", help="message bits of a frame (convolutional codes)"
    )
    made.add_argument(
        "--termination",
        choices=("none", "zero", "tail-biting"),
        help="how frames of a convolutional code end; none where neither this nor the code says",
    )


def code_of(args: argparse.Namespace) -> Any:
    """Return the code of the options that `add_code` has added."""
    from . import codes

    code = codes.code(args.code)
    if args.frame is None and args.termination is None:
        return code
    if not hasattr(code, "with_frame"):
        raise ValueError(f"--frame and --termination: expected a conv: code, got {args.code}")
    frame = code.k if args.frame is None else args.frame
    return code.with_frame(frame, args.termination or code.termination)


def main(
    made: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], int | None],
    argv: Sequence[str] | None = None,
) -> int:
    """Parse a command line, check its paths, run the program and return the exit status.

    run : gets the parsed options; returns an exit status, None for 0. It raises ValueError,
        OSError or ImportError for what a user can mend (2), RuntimeError for work that failed
        (1), and may raise `Interrupted` in place of KeyboardInterrupt.
    """
    args = made.parse_args(argv)
    files = list(_values(args))
    outputs = [file for file in files if isinstance(file, OutputFile)]
    status = INTERRUPTED
    try:
        with contextlib.ExitStack() as stack:
            for output in outputs:
                stack.callback(output.discard)
            try:
                _listen(stack)
                _check_paths(files)
                _keep_stdout(stack, [output for output in outputs if output.is_stdout])
                if getattr(args, "stats", None) is not None:
                    _text_to_stderr(stack, args.stats)
                done = run(args) or OK
                for output in outputs:
                    output.keep()
                status = done
            except KeyboardInterrupt as stop:
                _say_interrupted(made, stop, outputs)
            except BrokenPipeError:
                # As a program that SIGPIPE ends: whoever read the results has gone.
                status = 128 + signal.SIGPIPE
            except (ValueError, OSError, ImportError, MemoryError, RuntimeError) as error:
                if stopped := _stopped_by(error):
                    _say_interrupted(made, stopped, outputs)
                else:
                    incomplete = isinstance(error, RuntimeError)
                    status = _fail(made, error, INCOMPLETE if incomplete else WRONG)
    except KeyboardInterrupt:
        # While files were closed: what was done stands.
        for output in outputs:
            output.discard()
    return status


def _stopped_by(error: BaseException | None) -> KeyboardInterrupt | None:
    """Return the Ctrl-C that an error comes from.

    A compiled module that it stops while it loads says ImportError.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def _say_interrupted(
    made: argparse.ArgumentParser, stop: KeyboardInterrupt, outputs: Sequence[OutputFile]
) -> None:
    """Keep what can be kept, and say so."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    kept = [part for output in outputs if (part := output.keep_part())]
    said = [str(stop)] * bool(str(stop)) + [f"kept {part}" for part in kept]
    print(f"\n{made.prog}: interrupted; {'; '.join(said) or 'nothing was written'}",
          file=sys.stderr)  # fmt: skip
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _fail(made: argparse.ArgumentParser, error: BaseException, status: int) -> int:
    if os.environ.get("NEURALFEC_TRACEBACK"):
        raise error
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ModuleNotFoundError) and error.name == "torch":
        text = f"this needs torch ({text}): make training, or pip install torch, brings it"
    elif isinstance(error, ModuleNotFoundError) and str(error.name).startswith("sionna"):
        text = (
            f"this needs Sionna ({text}): make sionna, or pip install --no-deps sionna-no-rt "
            "importlib-resources, brings it"
        )
    elif isinstance(error, ModuleNotFoundError):
        text = f"this needs {error.name}: pip install {error.name} brings it"
    elif isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    print(f"{made.prog}: error: {text}", file=sys.stderr)
    return status


def _listen(stack: contextlib.ExitStack) -> None:
    """Hear Ctrl-C, which ended the program at once while it was loading, and SIGTERM like it."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with contextlib.suppress(ValueError):  # Not the main thread.
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        before = signal.signal(signal.SIGTERM, interrupt)
        stack.callback(signal.signal, signal.SIGTERM, before)


class _Stdout(io.FileIO):
    """Standard output that goes on when its reader has gone: `program | head` loses nothing."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return len(data)


def _keep_stdout(stack: contextlib.ExitStack, outputs: list[OutputFile]) -> None:
    """Keep text and data apart where data goes to stdout, and text from ending the program."""
    before = sys.stdout
    try:
        before.flush()
        number = before.fileno()
    except (OSError, ValueError, AttributeError):
        return  # Captured by a test, or closed.
    stack.callback(setattr, sys, "stdout", before)
    if outputs:
        data = os.dup(number)
        stack.callback(os.close, data)
        for output in outputs:
            output._stdout = data
        # Libraries that write to the descriptor itself must not spoil the data.
        os.dup2(2, number)
        stack.callback(os.dup2, data, number)
        sys.stdout = sys.stderr
        return
    terminal = before.isatty()
    raw = io.BufferedWriter(_Stdout(number, "wb", closefd=False))
    sys.stdout = io.TextIOWrapper(raw, before.encoding, before.errors, line_buffering=terminal)
    stack.callback(sys.stdout.flush)


class _Text:
    """Standard error for text; `data` is the standard output that belongs to lines of data."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


def _text_to_stderr(stack: contextlib.ExitStack, stats: str) -> None:
    """Leave stdout to the lines of --stats json, after --stats is checked."""
    from . import telemetry

    telemetry.check(stats)
    if stats == "json":
        stack.callback(setattr, sys, "stdout", sys.stdout)
        sys.stdout = _Text(sys.stdout)


def _values(args: argparse.Namespace) -> Iterator[Any]:
    for value in vars(args).values():
        yield from value if isinstance(value, list | tuple) else [value]


def _check_paths(values: Sequence[Any]) -> None:
    for kind in (InputFile, OutputFolder):
        for value in values:
            if isinstance(value, kind):
                value.check()
    taken: dict[Any, str] = {}
    for value in values:
        for path in _inputs(value):
            for name in _names(path, 0):
                if name == "stdin" and name in taken:
                    raise ValueError(f"{path}: stdin cannot be two inputs")
                taken[name] = f"{path}: is an input, too"
    for value in values:
        if isinstance(value, OutputFile):
            for name in _names(value, 1):
                if name in taken:
                    raise ValueError(f"{value}: {taken[name].partition(': ')[2]}")
            taken.update((name, f"{value}: is another output, too") for name in _names(value, 1))
    for value in values:
        if isinstance(value, OutputFile):
            value.check()


def _inputs(value: Any) -> Iterator[str]:
    """Paths that an option reads: its own, or that of a spec such as alist:FILE@last."""
    if isinstance(value, OutputFile | OutputFolder) or not isinstance(value, str | Path):
        return
    text = str(value)
    if isinstance(value, InputFile):
        yield text
        return
    after = text.partition(":")[2]
    for path in (text, after, *re.split("@(?:generator=)?", after)):
        if path and os.path.isfile(path):
            yield path


def _names(path: str, stream: int) -> Iterator[Any]:
    """What a regular file can be told by: its real path, and its inode."""
    streams = ("-", "/dev/stdin", "/dev/fd/0") if stream == 0 else ("-", "/dev/stdout", "/dev/fd/1")
    try:
        if path in streams:
            yield ("stdin", "stdout")[stream]
            found = os.fstat(stream)
        else:
            real = os.path.realpath(path)
            if not os.path.exists(real):
                yield real
                return
            found = os.stat(real)
    except OSError:
        return
    if stat.S_ISREG(found.st_mode):
        yield found.st_dev, found.st_ino


def count_items(path: str | os.PathLike, dtype: str, multiple: int = 1) -> int | None:
    """Return how many items a file holds, None for a pipe.

    Parameters
    ----------
    path : the file; dtype : NumPy's name with byte order, such as "<c8"
    multiple : items of one frame

    Raises
    ------
    ValueError : where the file is missing, empty or cut off
    """
    file = InputFile(path)
    file.check()
    size = file.size
    if size is None:
        return None
    _check_size(file, size, np.dtype(dtype), multiple)
    return size // np.dtype(dtype).itemsize


def _check_size(path: str, size: int, item: np.dtype, multiple: int) -> None:
    if size == 0:
        raise ValueError(f"{path}: the file is empty")
    if size % (item.itemsize * multiple):
        what = f"{item.name}" if multiple == 1 else f"frames of {multiple} {item.name}"
        raise ValueError(
            f"{path}: expected a multiple of {item.itemsize * multiple} bytes ({what}), "
            f"got {size} bytes"
        )


def read_chunks(
    path: str | os.PathLike, dtype: str, items: int, multiple: int = 1
) -> Iterator[np.ndarray]:
    """Read a file's items in native byte order, whole frames of `multiple`, in chunks.

    Parameters
    ----------
    items : most items of a chunk, a multiple of `multiple`. A pipe gives what is there when at
        least one frame is, so that a live stream is not held up.

    Raises
    ------
    ValueError : where the file cannot be read, is empty or ends within a frame
    """
    file = InputFile(path)
    item = np.dtype(dtype)
    frame, most = item.itemsize * multiple, item.itemsize * items
    rest, total = b"", 0
    with file.open() as stream:
        while piece := _read(stream, most - len(rest), frame - len(rest)):
            total += len(piece)
            piece = rest + piece
            whole = len(piece) // frame * frame
            rest = piece[whole:]
            if whole:
                yield np.frombuffer(piece[:whole], item).astype(item.newbyteorder("="))
    _check_size(file, total, item, multiple)


def _read(stream: BinaryIO, most: int, least: int) -> bytes:
    """Read until there are `least` bytes and no more at once, or `most`, or the end."""
    try:
        if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            return stream.read(most)
        data = b""
        while len(data) < most:
            if len(data) >= least and not select.select([stream], [], [], 0)[0]:
                break
            piece = os.read(stream.fileno(), most - len(data))
            if not piece:
                break
            data += piece
        return data
    except OSError as error:
        raise ValueError(f"{stream.name}: cannot be read: {error.strerror}") from error


def write_all(file: BinaryIO, data: Any) -> None:
    """Write all of an array or of bytes; a pipe may take it in pieces."""
    if isinstance(data, np.ndarray):
        data = np.ascontiguousarray(data)
    view = memoryview(data).cast("B")
    while len(view):
        view = view[file.write(view) :]


class Progress:
    """Shows on stderr how far a program is and how long it will take.

    On a terminal one line changes in place; elsewhere a plain line comes every ten seconds.

    Parameters
    ----------
    total : of what `update` counts, None where it is not known
    unit : what is counted, such as "frames"
    quiet : show nothing
    """

    def __init__(self, total: float | None, unit: str, quiet: bool = False) -> None:
        self.total, self.unit, self.quiet = total, unit, quiet
        self.terminal = sys.stderr.isatty()
        self._begin = self._shown = time.monotonic()
        self._drawn = False

    @property
    def seconds(self) -> float:
        """Seconds since the start, above 0."""
        return max(time.monotonic() - self._begin, 1e-9)

    def update(self, done: float, text: str = "") -> None:
        """Show that so much is done; `text` is added."""
        now = time.monotonic()
        if self.quiet or now - self._shown < (0.2 if self.terminal else 10):
            return
        self._shown = now
        if self.total:
            left = (now - self._begin) * (self.total - done) / max(done, 1e-9)
            line = f"{100 * done / self.total:.1f} %, {duration(left)} left"
        else:
            line = f"{done:.0f} {self.unit}, {duration(now - self._begin)}"
        line += f", {text}" if text else ""
        if self.terminal:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
            self._drawn = True
        else:
            print(line, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Remove the line, before something else is printed."""
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._drawn = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: Any) -> None:
        self.clear()


@contextlib.contextmanager
def watched(progress: Progress, state: Callable[[], tuple[float, str]]) -> Iterator[None]:
    """Update progress from what `state` returns, while something else does the work."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.25):
            progress.update(*state())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        progress.clear()


def shortened(items: Sequence[str], most: int = 10) -> str:
    """Join items for a line to read: the first ones, and how many more there are."""
    more = len(items) - most
    return ", ".join(items[:most]) + (f" and {more} more" if more > 0 else "")


def duration(seconds: float) -> str:
    """Return a time as people say it: "9 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
