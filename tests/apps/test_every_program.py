# SPDX-License-Identifier: GPL-3.0-or-later
"""What every program must do, over all files of apps/: a new one is in it by itself.

A program has `parser()`, made by `app.parser` with examples, and `main(argv)`. Its examples run
here in a folder with the files of `samples`; one that reads another kind of file gets it there.
"""

import argparse
import contextlib
import importlib.util
import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from gnuradio.neuralfec import app, codes, command
from gnuradio.neuralfec.phy import channel
from gnuradio.neuralfec.phy.constellation import modulate
from gnuradio.neuralfec.phy.demapping import demap
from gnuradio.neuralfec.quantization import LlrQuantizer

APPS = Path(__file__).parents[2] / "apps"
PROGRAMS = sorted(path.stem for path in APPS.glob("[!_]*.py"))
HIDE_TORCH = """
import importlib.abc, runpy, sys
class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, Hide())
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def load(name):
    spec = importlib.util.spec_from_file_location(f"program_{name}", APPS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    # Where pickle and dataclasses look for it.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def examples(name):
    """The words of a program's examples behind its name."""
    subcommand = next(key for key, file in command.programs().items() if file.stem == name)
    start = f"neuralfec {subcommand}"
    found = load(name).parser().examples
    assert found and all(example.split()[:1] == ["neuralfec"] for example in found)
    assert all(f"{example} ".startswith(f"{start} ") for example in found), found
    return [shlex.split(example.removeprefix(start)) for example in found]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """A folder with an input of each kind, in the names that the examples use."""
    folder = tmp_path_factory.mktemp("samples")
    rng = np.random.default_rng(1)
    (folder / "file.bin").write_bytes(rng.bytes(700))
    code = codes.code("wifi-648")
    messages = rng.integers(0, 2, (10, code.k), np.uint8)
    messages.tofile(folder / "message.u8")
    sent = code.encode(messages)
    sent.tofile(folder / "code.u8")
    y, h = channel.rayleigh(rng, modulate(sent.ravel(), "qam256"), 0.001)
    y.astype("<c8").tofile(folder / "y.c64")
    h.astype("<c8").tofile(folder / "h.c64")
    llrs = demap(y, "qam256", 0.001, h)
    llrs.astype("<f4").tofile(folder / "llrs.f32")
    convolutional = codes.code("conv:7,5:100").encode(rng.integers(0, 2, (10, 100), np.uint8))
    (20 * convolutional.astype("i1") - 10).tofile(folder / "soft.i8")
    quantizer = LlrQuantizer("qam256-15bit")
    quantizer.pack(quantizer.quantize(llrs.reshape(-1, 8))).tofile(folder / "stored.bin")
    return folder


@pytest.fixture
def folder(samples, tmp_path, monkeypatch):
    for file in samples.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def prepare(name, folder):
    """What single programs need besides."""
    if name == "import_deepvlf":
        torch = pytest.importorskip("torch")
        from feedback import published

        torch.save(published.checkpoint("T", groups=4, rounds=6, width=16), "published.ckpt")


def start(name, words, **more):
    command = [sys.executable, str(APPS / f"{name}.py"), *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **more)


def of_kind(name, *kinds):
    """Actions of a program's parser whose values are such paths; none of its subcommands."""
    return [action for action in load(name).parser()._actions if action.type in kinds]


def words_with(name, paths):
    """A command line after the first example, with all path options set."""
    made = load(name).parser()
    values = made.parse_args(examples(name)[0])
    positionals, options = [], []
    for action in made._actions:
        value = getattr(values, action.dest, None)
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        if action.dest in paths:
            value = paths[action.dest]
        elif action.type in (app.InputFile, app.OutputFile):
            continue
        elif action.option_strings and value == action.default:
            continue
        values_of = value if isinstance(value, list) else [value]
        if not action.option_strings:
            positionals += [str(v) for v in values_of if v is not None]
        elif action.nargs == 0:
            options.append(action.option_strings[-1])
        else:
            options += [action.option_strings[-1], *map(str, values_of)]
    return [*options, *positionals]


def hidden(folder):
    return [path.name for path in folder.rglob(".*") if ".part" in path.name]


def one_line(said):
    assert said.err.count("\n") == 1 and "error: " in said.err, said.err
    assert "Traceback" not in said.err


def parsers(made):
    yield made
    for action in made._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)


@pytest.mark.parametrize("name", PROGRAMS)
def test_help(name):
    made = load(name).parser()
    text = made.format_help()
    assert "exit status" in text.lower() and "neuralfec " in text
    for inner in parsers(made):
        for action in inner._actions:
            assert action.help, f"{name} says nothing about {action.option_strings or action.dest}"
            if action.option_strings and action.default not in (None, False, argparse.SUPPRESS, ""):
                shown = " ".join(inner.format_help().split())
                expected = " ".join(str(action.default).split())
                assert "default" in shown and expected.replace(" ", "") in shown.replace(" ", "")


@pytest.mark.parametrize("name", PROGRAMS)
def test_wrong_options(name, capsys):
    with pytest.raises(SystemExit) as end:
        load(name).main(["--no-such-option"])
    assert end.value.code == 2
    one_line(capsys.readouterr())


@pytest.mark.parametrize("name", PROGRAMS)
def test_wrong_names(name, folder, capsys):
    """A name that is none, for every option that takes one of a list."""
    known = {"code", "decoder", "constellation", "model", "channel", "snr"}
    for action in load(name).parser()._actions:
        if action.dest not in known:
            continue
        paths = {a.dest: f"new-{a.dest}" for a in of_kind(name, app.OutputFile)}
        source = {a.dest: getattr(load(name).parser().parse_args(examples(name)[0]), a.dest)
                  for a in of_kind(name, app.InputFile)}  # fmt: skip
        words = words_with(
            name, {k: v for k, v in (paths | source | {action.dest: "?"}).items() if v}
        )
        try:
            status = load(name).main(words)
        except SystemExit as end:
            status = end.code
        assert status == 2, words
        one_line(capsys.readouterr())
        assert not [path for path in folder.glob("new-*")] and not hidden(folder)


@pytest.mark.parametrize("link", ["same", "symbolic", "hard"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_an_output_is_no_other_path(name, link, folder, capsys):
    """Every pair of paths of which one is written, by the same name or through a link."""
    paths = of_kind(name, app.InputFile, app.OutputFile)
    for first, second in itertools.combinations(paths, 2):
        if app.OutputFile not in (first.type, second.type):
            continue
        given = {a.dest: f"{a.dest}.{'npz' if name == 'models' else 'png'}" for a in paths}
        for action in paths:
            if action.type is app.InputFile:
                Path(given[action.dest]).write_bytes(b"0" * 648)
        one, other = given[first.dest], f"other-{given[second.dest]}"
        Path(one).write_bytes(b"0" * 648)
        if link == "same":
            other = one
        elif link == "symbolic":
            os.symlink(one, other)
        else:
            os.link(one, other)
        status = load(name).main(words_with(name, given | {second.dest: other}))
        assert status == 2, (first.dest, second.dest)
        said = capsys.readouterr()
        one_line(said)
        assert ", too" in said.err
        assert Path(one).read_bytes() == b"0" * 648
        assert not hidden(folder)
        if link != "same":
            os.unlink(other)


@pytest.mark.parametrize("state", ["missing", "empty", "folder", "odd"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_bad_input(name, state, folder, capsys):
    inputs = of_kind(name, app.InputFile)
    values = load(name).parser().parse_args(examples(name)[0])
    outputs = {a.dest: f"new-{a.dest}.npz" for a in of_kind(name, app.OutputFile)}
    prepare(name, folder)
    for action in inputs:
        if (state == "odd" and action.dest == "file") or (state, name) == ("odd", "bicm_link"):
            continue  # Any file may be sent.
        given = {a.dest: v for a in inputs if (v := getattr(values, a.dest))} | {action.dest: "bad"}
        if "picture" in outputs:
            outputs["picture"] = "new.png"
        if state == "empty":
            Path("bad").touch()
        elif state == "folder":
            Path("bad").mkdir(exist_ok=True)
        elif state == "odd":
            Path("bad").write_bytes(b"\x05\x07\x03")
        assert load(name).main(words_with(name, given | outputs)) == 2, action.dest
        said = capsys.readouterr()
        assert said.err.splitlines()[-1].partition("error: ")[2] and "Traceback" not in said.err
        assert not list(folder.glob("new*")) and not hidden(folder)


@pytest.mark.parametrize("name", PROGRAMS)
def test_outputs_are_checked_before_the_work(name, folder, capsys):
    outputs = of_kind(name, app.OutputFile)
    values = load(name).parser().parse_args(examples(name)[0])
    prepare(name, folder)
    inputs = {a.dest: v for a in of_kind(name, app.InputFile) if (v := getattr(values, a.dest))}
    (folder / "taken.png").mkdir()
    for action, bad in itertools.product(outputs, ["no/folder/out.png", "taken.png"]):
        given = {a.dest: f"new-{a.dest}.png" for a in outputs} | {action.dest: bad}
        begin = time.monotonic()
        assert load(name).main(words_with(name, inputs | given)) == 2, action.dest
        one_line(capsys.readouterr())
        assert time.monotonic() - begin < 10
        assert not list(folder.glob("new-*")) and not hidden(folder)


@pytest.mark.parametrize("name", PROGRAMS)
def test_examples_run_though_nobody_reads_what_they_say(name, folder):
    prepare(name, folder)
    for words in examples(name):
        process = start(name, words, stdout=subprocess.PIPE)
        # As `| head` does when it has seen enough.
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(timeout=300) == 0, errors
        assert "Traceback" not in errors and "BrokenPipe" not in errors
        given = load(name).parser().parse_args(words)
        for value in vars(given).values():
            if isinstance(value, app.OutputFile):
                assert Path(value).stat().st_size > 0
    assert not hidden(folder)


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_torch(name, folder):
    """The first example runs, or says in one line that torch is missing."""
    prepare(name, folder)
    arguments = [sys.executable, "-c", HIDE_TORCH, str(APPS / f"{name}.py"), *examples(name)[0]]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode:
        assert done.returncode == 2 and "torch" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", PROGRAMS)
def test_any_python_and_any_folder(name, tmp_path):
    """Started as a file, with the system's Python first on PATH."""
    done = subprocess.run(
        [str(APPS / f"{name}.py"), "--help"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ") and not done.stderr


def wait_until_loading(process):
    """Wait until the program's own imports have begun: what Ctrl-C does before is Python's."""
    maps = Path(f"/proc/{process.pid}/maps")
    for _ in range(600):
        if process.poll() is not None or "numpy" in maps.read_text():
            return
        time.sleep(0.05)


@pytest.mark.parametrize("name", PROGRAMS)
def test_interrupted(name, folder):
    """Ctrl-C while it loads, and at its work or when that is done."""
    prepare(name, folder)
    for delay in (0.0, 1.5):
        process = start(name, examples(name)[0], stdout=subprocess.DEVNULL)
        if name == "doctor":
            time.sleep(0.5)
        else:
            wait_until_loading(process)
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
        status = process.wait(timeout=120)
        assert "Traceback" not in errors and "Error" not in errors, errors
        # 75: a training that goes on by the same command.
        assert status in (0, 1, 75, 130, -signal.SIGINT), errors
        if status == 130:
            assert "interrupted; " in errors
        assert not hidden(folder)


def kilobytes(pid):
    """The memory that a process holds; None where it has ended."""
    held = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return held and int(held[1])


def position(pid, path):
    """How far a process has read a file that it has open; 0 where it has not."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if link.samefile(path):
                return int(Path(f"/proc/{pid}/fdinfo/{link.name}").read_text().split()[1])
    return 0


def watch_reading(process, path, seconds=4.0):
    """Watch for half a second from the first read on: kilobytes of file and of memory more."""
    first = last = (0, 0)
    end = time.monotonic() + seconds
    # Not by process.poll(), which would take away the use of memory that is asked for later.
    while time.monotonic() < end and (held := kilobytes(process.pid)):
        last = position(process.pid, path) // 1024, held
        if last[0] and not first[0]:
            first, end = last, time.monotonic() + 0.5
        time.sleep(0.02)
    return last[0] - first[0], last[1] - first[1]


# A checkpoint is read whole, and checked by its first bytes: import_deepvlf is none of these.
@pytest.mark.parametrize(
    "name",
    [name for name in PROGRAMS if of_kind(name, app.InputFile) and name != "import_deepvlf"],
)
def test_huge_input(name, folder):
    """Eight gigabytes without a byte on the disk: memory stays small, and Ctrl-C is heard."""
    action = of_kind(name, app.InputFile)[-1]
    with open("huge", "wb") as file:
        file.truncate(648 * 8 * 1_600_000)
    values = load(name).parser().parse_args(examples(name)[0])
    given = {a.dest: v for a in of_kind(name, app.OutputFile) if (v := getattr(values, a.dest))}
    process = start(
        name, words_with(name, given | {action.dest: "huge"}), stdout=subprocess.DEVNULL
    )
    read, kept = watch_reading(process, "huge")
    os.kill(process.pid, signal.SIGINT)
    _, status, usage = os.wait4(process.pid, 0)
    errors = process.stderr.read()
    assert os.waitstatus_to_exitcode(status) in (130, 2, -signal.SIGINT), errors
    assert "Traceback" not in errors
    assert usage.ru_maxrss < 1_500_000, "kilobytes"
    assert kept < read / 2 + 200_000, "kilobytes kept of those that were read"
