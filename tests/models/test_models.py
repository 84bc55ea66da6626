# SPDX-License-Identifier: GPL-3.0-or-later
"""Model files: round trip, checks of the card, refusal of what is no model."""

import json
import pickle
import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from gnuradio.neuralfec import models
from gnuradio.neuralfec.models import Card, CodeIdentity, Method, Training

torch = pytest.importorskip("torch")


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(8, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.outer = torch.nn.Linear(3, 8)

    def forward(self, llrs):
        return self.decode(self.encode(llrs))

    @torch.jit.export
    def encode(self, llrs):
        return torch.tanh(self.norm(self.inner(llrs)))

    @torch.jit.export
    def decode(self, latent):
        return torch.tanh(self.outer(latent))


H = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 0, 1]], np.uint8)
SOFT_BITS, LATENT = {"soft_bits": (None, 8)}, {"latent": (None, 3)}
CARD = Card(
    system="quantization",
    name="t",
    methods={
        "forward": Method({"llrs": (None, 8)}, SOFT_BITS),
        "encode": Method({"llrs": (None, 8)}, LATENT),
        "decode": Method(LATENT, SOFT_BITS),
    },
    code=CodeIdentity(5, 3, models.parity_check_sha256(H)),
    normalisation="tanh(L/2)",
    operating_point="18 dB Es/N0",
    training=Training("python -m train", "abc", 1, 2000, "cpu"),
    measured={"loss_db": 0.1},
    parameters={"bits_per_symbol": 8, "levels": [5, 5, 5]},
)


@pytest.fixture
def network():
    torch.manual_seed(1)
    network = Network()
    network(torch.randn(100, 8))
    return network.eval()


@pytest.fixture
def file(tmp_path, network):
    models.save(tmp_path / "t.pt", network, CARD)
    return tmp_path / "t.pt"


def test_round_trip(file, network):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module, card = models.load(
            file, {"system": "quantization", "bits_per_symbol": 8, "n": 5, "code": CARD.code}
        )
    assert card == CARD == models.read_card(file)
    llrs = torch.randn(7, 8)
    with torch.inference_mode():
        torch.testing.assert_close(module(llrs), network(llrs))
        torch.testing.assert_close(module.encode(llrs), network.encode(llrs))
        torch.testing.assert_close(module.decode(llrs[:, :3]), network.decode(llrs[:, :3]))
    assert not module.training


def test_parameters_can_be_trained_further(file, network):
    again = Network()
    again.load_state_dict(models.state_dict(file))
    llrs = torch.randn(7, 8)
    torch.testing.assert_close(again.eval()(llrs), network(llrs))
    again.train()(llrs).sum().backward()
    assert again.inner.weight.grad.abs().sum() > 0


def test_file_tells_nothing_of_the_machine_and_leaves_no_part(file, tmp_path):
    assert str(tmp_path).encode() not in file.read_bytes()
    assert __file__.encode() not in file.read_bytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.pt"]


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        ({"system": "syndrome"}, "'syndrome' was asked for, the model has 'quantization'"),
        ({"n": 648}, "n 648 was asked for, the model has 5"),
        ({"code": CodeIdentity(5, 3, "0" * 64)}, "was asked for"),
        ({"bits_per_symbol": 6}, "bits_per_symbol 6 was asked for, the model has 8"),
        ({"depth": 6}, "says nothing of depth"),
    ],
)
def test_refuses_a_model_for_something_else(file, expect, message):
    with pytest.raises(ValueError, match=message):
        models.load(file, expect)


def test_refuses_truncated_files(file):
    whole = file.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 30):
        file.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="not a model file, or a truncated one"):
            models.load(file)


def test_refuses_damaged_files(file):
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
    whole = bytearray(file.read_bytes())
    for name, entry in entries.items():
        if name.endswith(("model.json", "data/0", "data.pkl")):
            damaged = whole.copy()
            damaged[entry.header_offset + 30 + len(name) + entry.file_size // 2] ^= 4
            file.write_bytes(damaged)
            with pytest.raises(ValueError, match="damaged"):
                models.load(file)


def test_refuses_what_is_no_model(file, tmp_path, network):
    foreign = tmp_path / "foreign.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network), str(foreign))
    with pytest.raises(ValueError, match="TorchScript without a card"):
        models.load(foreign)
    torch.save(network.state_dict(), foreign)
    with pytest.raises(ValueError, match="a zip file without a card"):
        models.load(foreign)
    foreign.write_text("not a model at all\n")
    with pytest.raises(ValueError, match="not a model file"):
        models.load(foreign)
    with pytest.raises(FileNotFoundError, match="no model file"):
        models.load(tmp_path / "missing.pt")
    with pytest.raises(ValueError, match="not a model file"):
        models.state_dict(foreign)


class Trap:
    def __reduce__(self):
        return (exec, ("raise SystemExit('the pickle was run')",))


def _rewrite(file, edit):
    """Write the file again with its entries changed by edit(name, bytes)."""
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, edit(name, data))


def test_runs_no_pickle_of_a_file(file, tmp_path):
    plain = tmp_path / "trap.pt"
    plain.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="not a model file"):
        models.load(plain)
    trap = pickle.dumps(Trap(), protocol=2)
    _rewrite(file, lambda name, data: trap if name.endswith("data.pkl") else data)
    with pytest.raises(ValueError, match="torch cannot read it"):
        models.load(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "newer than"),
        ({"format_version": "1"}, "format_version"),
        ({"llr_sign": "positive means bit 0"}, "llr_sign"),
        ({"system": 3}, "system"),
        ({"surprise": 1}, "unknown"),
        ({"methods": {"forward": {"inputs": {"llrs": [None, 8.5]}, "outputs": {}}}}, "inputs"),
        ({"methods": {}}, "at least one method"),
        ({"methods": [1]}, "methods"),
        ({"code": {"n": "5", "k": 3}}, "n of type"),
        ({"code": {"n": 5}}, "missing"),
        ({"training": {"steps": True}}, "steps"),
    ],
)
def test_refuses_cards_that_are_none(file, change, message):
    def edit(name, data):
        if name.endswith("model.json"):
            return json.dumps(json.loads(data) | change)
        return data

    _rewrite(file, edit)
    with pytest.raises(ValueError, match=message):
        models.load(file)


@pytest.mark.parametrize("text", ["", "[1]", "{", "{}", '{"format_version": 1}'])
def test_refuses_text_that_is_no_card(text):
    with pytest.raises(ValueError, match="card"):
        Card.from_json(text)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"forward": Method({"llrs": (None, 6)}, SOFT_BITS)}, "does not take llrs"),
        ({"forward": Method({"llrs": (None, 8)}, LATENT)}, "its card says latent"),
        ({"recode": Method({"llrs": (None, 8)}, LATENT)}, "names methods"),
    ],
)
def test_refuses_to_write_a_card_that_does_not_fit(tmp_path, network, methods, message):
    with pytest.raises(ValueError, match=message):
        models.save(tmp_path / "t.pt", network, replace(CARD, methods=methods))
    assert not list(tmp_path.iterdir())


def test_refuses_cards_that_json_cannot_hold():
    with pytest.raises(ValueError, match="JSON-able"):
        replace(CARD, parameters={"a": np.zeros(3)})
    with pytest.raises(ValueError, match="JSON-able"):
        replace(CARD, measured={"loss_db": float("nan")})


def test_hash_tells_codes_apart():
    assert CodeIdentity.of(type("Code", (), {"n": 5, "k": 3, "parity_check": H})) == CARD.code
    assert CodeIdentity.of(type("Code", (), {"n": 5, "k": 3})) == CodeIdentity(5, 3, None)
    other = [H[::-1], H.T, np.pad(H, ((0, 0), (0, 1)))]
    hashes = {models.parity_check_sha256(matrix) for matrix in [H, *other]}
    assert len(hashes) == 4
    assert models.parity_check_sha256(H.astype(float)) == CARD.code.parity_check_sha256
    with pytest.raises(ValueError, match="0/1 matrix"):
        models.parity_check_sha256(2 * H)


def test_shipped_models():
    with pytest.raises(ValueError, match="there are: "):
        models.path("quantization/none")
    for name in models.shipped():
        _, card = models.load(name)
        assert name == f"{card.system}/{card.name}"
        assert card.measured and card.training.command


@pytest.mark.parametrize("name", models.shipped())
def test_shipped_files_are_compact(name):
    """A few kilobytes of program, no unrolled trace; the rest are numbers."""
    with zipfile.ZipFile(models.path(name)) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    assert sum(size for file, size in sizes.items() if "/code/" in file) < 50_000
    numbers = sum(array.nbytes for array in models.parameters(name).values())
    assert sum(sizes.values()) < numbers + 80_000


def test_says_in_a_line_that_torch_is_missing(file):
    script = f"""
import sys
sys.modules["torch"] = None
from gnuradio.neuralfec import models
assert models.read_card({str(file)!r}).name == "t"
models.load({str(file)!r})
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 1
    assert "needs PyTorch" in run.stderr.splitlines()[-1]
