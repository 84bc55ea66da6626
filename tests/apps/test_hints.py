# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that is not what was told: demap and decode say what it is, by trying it."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from gnuradio.neuralfec import codes, diagnosis
from gnuradio.neuralfec.phy.constellation import modulate
from gnuradio.neuralfec.phy.demapping import demap as demapped

APPS = Path(__file__).parents[2] / "apps"
NOISE_VAR = 0.03


def program(name):
    spec = importlib.util.spec_from_file_location(name, APPS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def programs():
    return {name: program(name) for name in ("demap", "decode")}


@pytest.fixture
def run(programs, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # All that there is to try is tried, however busy the machine.
    monkeypatch.setattr(diagnosis, "_SECONDS", 1e9)

    def run(name, *words):
        status = programs[name].main([str(word) for word in words])
        return status, capsys.readouterr().err

    return run


def sent(constellation="qam16", frames=100, seed=1):
    code = codes.code("wifi-648")
    rng = np.random.default_rng(seed)
    messages = rng.integers(0, 2, (frames, code.k), np.uint8)
    x = modulate(code.encode(messages).ravel(), constellation)
    noise = rng.normal(0, (NOISE_VAR / 2) ** 0.5, (2, x.size))
    return messages, (x + noise[0] + 1j * noise[1]).astype(np.complex64)


def llrs(constellation="qam16"):
    messages, y = sent(constellation)
    return messages, demapped(y, constellation, NOISE_VAR)


DECODE = ("--code", "wifi-648", "--decoder", "bp:50")
# What is done to the soft bits, what the hint says, and what then decodes the file.
SOFT = {
    "sign": (lambda x: -x, "the other --sign", ["--sign", "zero"]),
    "f64": (lambda x: x.astype("<f8"), "--dtype f64", ["--dtype", "f64"]),
    "i8": (lambda x: np.clip(np.rint(4 * x), -127, 127).astype("i1"), "--dtype i8",
           ["--dtype", "i8", "--scale", "0.25"]),
    "i16": (lambda x: np.rint(64 * x).astype("<i2"), "--dtype i16",
            ["--dtype", "i16", "--scale", "0.015625"]),
    "scale": (lambda x: 1e-3 * x, "times as large (--scale)", ["--scale", "1000"]),
    "byte order": (lambda x: x.astype(">f4"), "the other byte order", None),
    "first bit": (lambda x: x[100 : 100 - 648], "the first 548 soft bits left out", None),
    "backwards": (lambda x: x.reshape(-1, 648)[:, ::-1], "read backwards", None),
    "3gpp": (lambda x: -x.reshape(-1, 4)[:, [0, 2, 1, 3]], "qam16", None),
}  # fmt: skip


@pytest.mark.parametrize("fault", SOFT)
def test_soft_bits(run, fault):
    change, hint, mended = SOFT[fault]
    messages, right = llrs()
    change(right.ravel()).astype(change(right.ravel()).dtype, order="C").tofile("in")
    status, said = run("decode", *DECODE, "in", "out")
    assert status == 1 and "hint: few frames decode as told, but most do " in said, said
    assert hint in said, said
    if mended:
        status, said = run("decode", *DECODE, *mended, "in", "out")
        assert status == 0 and "hint" not in said, said
        assert Path("out").read_bytes() == messages.tobytes()


def test_noise_is_no_fault_of_the_file(run):
    """Few frames decode, but some do: there is nothing to say. Of chance alone there is."""
    _, right = llrs()
    rng = np.random.default_rng(2)
    (right + rng.normal(0, 9, right.shape)).astype("<f4").tofile("in")
    status, said = run("decode", *DECODE, "in", "out")
    assert status in (0, 1) and "most do" not in said
    rng.normal(size=648 * 20).astype("<f4").tofile("in")
    status, said = run("decode", *DECODE, "in", "out")
    assert status == 1 and "none of this helps" in said and "50 % of the parity checks" in said


@pytest.mark.parametrize(
    ("spec", "decoder"), [("conv:7,5:100:zero", "viterbi"), ("polar-nr:64,32", "scl:4")]
)
def test_decoders_that_always_find_a_word(run, spec, decoder):
    code = codes.code(spec)
    rng = np.random.default_rng(1)
    messages = rng.integers(0, 2, (50, code.k), np.uint8)
    right = 8.0 * code.encode(messages) - 4 + rng.normal(0, 1, (50, code.n))
    words = ("--code", spec, "--decoder", decoder)
    for sign, expected in ((1, False), (-1, True)):
        (sign * right).astype("<f4").tofile("in")
        status, said = run("decode", *words, "in", "out")
        assert status == 0
        # An inverted word of this polar code is one of its words, too, so that nothing can tell.
        hopeless = spec.startswith("polar") and code.is_codeword(np.ones((1, code.n), np.uint8))
        assert ("the other --sign" in said) == (expected and not hopeless), said


# What is done to the symbols, what the hint says, and the options that undo it.
SYMBOLS = {
    "right": (lambda y: y, None, []),
    "power": (lambda y: 0.25 * y, "--scale 4", ["--scale", "auto"]),
    "turned": (lambda y: y * np.exp(0.3j), "--rotate -17", ["--rotate", "-17.2"]),
    "offset": (lambda y: y * np.exp(2j * np.pi * 3e-4 * np.arange(y.size)), "--cfo 0.000",
               ["--cfo", "0.0003"]),
    "right angle": (lambda y: 1j * y, None, ["--rotate", "-90"]),
    "conjugate": (lambda y: y.conj(), None, ["--conjugate"]),
}  # fmt: skip


@pytest.mark.parametrize("constellation", ["qam16", "psk4"])
@pytest.mark.parametrize("fault", SYMBOLS)
def test_symbols(run, fault, constellation):
    change, hint, mended = SYMBOLS[fault]
    messages, y = sent(constellation)
    change(y).astype("<c8").tofile("y")
    words = ("--constellation", constellation, "--noise-var", NOISE_VAR)
    status, said = run("demap", *words, "y", "llrs")
    assert status == 0 and (("hint" in said) if hint else ("hint" not in said)), said
    assert hint is None or hint in said, said
    assert run("demap", *words, *mended, "y", "llrs")[0] == 0
    status, said = run("decode", *DECODE, "llrs", "out")
    assert status == 0, said
    assert Path("out").read_bytes() == messages.tobytes()


@pytest.mark.parametrize(("angle", "option"), [(90, "-90"), (180, "180"), (-90, "90")])
def test_decode_names_turns_that_symbols_do_not_show(run, angle, option):
    _, y = sent()
    turned = y * np.exp(1j * np.deg2rad(angle))
    demapped(turned.astype(np.complex64), "qam16", NOISE_VAR).tofile("in")
    status, said = run("decode", *DECODE, "in", "out")
    assert status == 1 and f"--rotate {option})" in said, said


@pytest.mark.parametrize("dtype", ["i16", "i8", "u8", "c128"])
def test_samples_of_other_types(run, dtype):
    messages, y = sent()
    pairs = 0.5 * y.view(np.float32)
    file = {
        "i16": lambda: np.rint(32768 * pairs).astype("<i2"),
        "i8": lambda: np.rint(128 * pairs).astype("i1"),
        "u8": lambda: np.rint(127.5 * pairs + 127.5).astype("u1"),
        "c128": lambda: (0.5 * y).astype("<c16"),
    }[dtype]()
    file.tofile("y")
    words = ("--constellation", "qam16", "--noise-var", NOISE_VAR, "--dtype", dtype)
    assert run("demap", *words, "--scale", "2", "y", "llrs")[0] == 0
    assert run("decode", *DECODE, "llrs", "out")[0] == 0
    assert Path("out").read_bytes() == messages.tobytes()
