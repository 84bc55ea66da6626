import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from feedback import published
from gnuradio.neuralfec.feedback import evaluation
from gnuradio.neuralfec.feedback.deepvlf import checkpoints as importer
from gnuradio.neuralfec.feedback.deepvlf import code as codec
from gnuradio.neuralfec.feedback.deepvlf.power import estimate_statistics
from gnuradio.neuralfec.feedback.setting import Setting, log_odds

SHARED = Path(os.environ.get("NEURALFEC_SHARED", Path(__file__).parents[2] / ".." / "shared"))
CHECKPOINTS = SHARED / "checkpoints" / "deepvlf"


def state_of(module):
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("engine", [codec.torch_network, codec.kernel_network])
@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("R", {}),
        ("T", {}),
        ("R", {"groups": 5, "bits": 4, "rounds": 6, "width": 24, "layers": (1, 2)}),
        ("T", {"groups": 20, "bits": 2, "rounds": 7, "layers": (3, 1)}),
    ],
)
def test_imported_networks_compute_what_the_published_ones_do(tmp_path, kind, sizes, engine):
    content = published.checkpoint(kind, seed=4, **sizes)
    torch.save(content, tmp_path / "c")
    module = importer.import_checkpoint(tmp_path / "c", 1.0, 0.999, sizes.get("groups"))
    p = module.code
    bits, groups = sizes.get("bits", 3), sizes.get("groups", 16)
    assert (p.group_bits, p.groups, p.message_bits) == (bits, groups, bits * groups)
    assert p.rounds == sizes.get("rounds", 10 if kind == "R" else 20)
    assert p.termination == ("receiver" if kind == "R" else "transmitter")
    rng = np.random.default_rng(5)
    state = content["model"] if kind == "R" else content
    for side, network in (("Tmodel", module.transmitter), ("Rmodel", module.receiver)):
        reference = published.Network(state, side)
        x = rng.standard_normal((3, groups, network.shape.inputs), np.float32)
        for round in (0, 3, 4):
            expected = np.stack([reference(block, round) for block in x.astype(np.float64)])
            np.testing.assert_allclose(
                engine(network.shape, state_of(network))(x, round), expected, atol=3e-5
            )
    if kind == "T":
        raw = state["total_power_reloc.weight1"].abs().flatten()
        expected = raw * (groups / (raw**2).sum()).sqrt()
        np.testing.assert_allclose(module.weight, expected, rtol=1e-6)


def test_position_table_of_a_checkpoint_without_one(tmp_path):
    content = published.checkpoint("R")
    del content["model"]["pe.pe"]
    torch.save(content, tmp_path / "c")
    module = importer.import_checkpoint(tmp_path / "c", 1.0, 0.999)
    np.testing.assert_allclose(
        module.receiver.positions, published.positions(16, 32), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("snr_db", "threshold", "expected"),
    [
        (1, 0.9999, 5),
        (0, 0.9999, 6),
        (2, 0.9999, 5),
        (2, 1 - 5e-6, 6),
        (2, 1 - 1e-7, 7),
        (-5, 0.9, 10),
    ],
)
def test_first_decision(snr_db, threshold, expected):
    assert importer.first_decision(snr_db, 3, threshold, rounds=10) == expected


class Malicious:
    def __reduce__(self):
        return (os.mkdir, ("executed",))


def damaged_files(folder: Path):
    whole = folder / "whole"
    torch.save(published.checkpoint("R"), whole)
    data = whole.read_bytes()
    broken = bytearray(data)
    broken[len(data) // 2] ^= 0xFF
    yield "flipped", bytes(broken)
    yield "empty", b""
    yield "text", b"not a checkpoint\n"
    yield "truncated", data[: len(data) // 2]
    yield "headless", data[1000:]
    yield "pickle", pickle.dumps({"model": Malicious()})
    yield "protocol", b"\x80\x04." + os.urandom(64)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_refuses_files_that_are_no_checkpoints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in damaged_files(tmp_path):
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(ValueError, match=name):
            importer.import_checkpoint(file, 1.0, 0.999)
    torch.save({"model": Malicious()}, tmp_path / "code")
    with pytest.raises(ValueError, match="code"):
        importer.import_checkpoint(tmp_path / "code", 1.0, 0.999)
    assert not (tmp_path / "executed").exists()
    with pytest.raises(FileNotFoundError):
        importer.import_checkpoint(tmp_path / "absent", 1.0, 0.999)


def without(name):
    return lambda state: state.pop(name)


def changed(name, change):
    return lambda state: state.update({name: change(state[name])})


def with_nan(tensor):
    tensor = tensor.clone()
    tensor.view(-1)[0] = float("nan")
    return tensor


@pytest.mark.parametrize(
    ("kind", "damage", "reason"),
    [
        ("R", without("Rmodel.encoder.FC2.bias"), "extract2.bias"),
        ("R", without("Rmodel.encoder.FC1.weight"), "extract1.weight"),
        ("R", without("Tmodel.encoder.layers.0.ffNet.linear_1.weight"), "expand"),
        ("R", changed("Tmodel.encoder.FC1.weight", lambda t: t[:, :-1]), "21 inputs"),
        ("R", changed("Rmodel.out.weight", lambda t: t[:7]), "power of two"),
        ("R", changed("Rmodel.encoder.norm.weight", with_nan), "finite.*norm"),
        ("R", changed("Rmodel.encoder.norm.weight", lambda t: t[:5]), "norm.weight"),
        ("R", changed("pe.pe", lambda t: t[:, :3]), "positions"),
        ("R", lambda state: state.update({"extra.weight": torch.ones(1)}), "extra.weight"),
        ("R", lambda state: state.update({"Rmodel.FC9.weight": torch.ones(1)}), "FC9"),
        ("T", without("Rmodel.linear_output3.weight"), "head|outputs"),
        ("T", changed("Tmodel.linear_input1.weight", lambda t: t[:, :-2]), "46 inputs"),
        ("T", lambda state: [state.pop(k) for k in list(state) if k[0] == "R"], "Rmodel"),
        ("T", lambda state: state.clear(), "no state dictionary"),
    ],
)
def test_refuses_checkpoints_of_another_shape(tmp_path, kind, damage, reason):
    content = published.checkpoint(kind)
    damage(content["model"] if kind == "R" else content)
    torch.save(content, tmp_path / "c")
    with pytest.raises(ValueError, match=reason):
        importer.import_checkpoint(tmp_path / "c", 1.0, 0.999)


def test_refuses_a_wrong_number_of_groups(tmp_path):
    torch.save(published.checkpoint("T"), tmp_path / "c")
    with pytest.raises(ValueError, match="16 groups, got 8"):
        importer.import_checkpoint(tmp_path / "c", 1.0, 0.999, groups=8)
    torch.save([1, 2], tmp_path / "list")
    with pytest.raises(ValueError, match="list"):
        importer.import_checkpoint(tmp_path / "list", 1.0, 0.999)


@pytest.mark.skipif(
    not CHECKPOINTS.is_dir(), reason="the published checkpoints are not here (NEURALFEC_SHARED)"
)
@pytest.mark.parametrize(
    ("file", "gamma", "setting", "rounds", "power"),
    [
        ("R_1dB_fb100_gamma_1-1e-4", 0.9999, {}, 5.87, 1.18),
        ("R_1dB_fb20_gamma_1-1e-3", 0.999, {"feedback_snr_db": 20}, 5.97, 1.28),
    ],
)
@pytest.mark.statistics
def test_published_checkpoints_behave_as_measured_elsewhere(file, gamma, setting, rounds, power):
    setting = Setting(snr_db=1, threshold=log_odds(gamma), **setting)
    module = importer.import_checkpoint(CHECKPOINTS / f"{file}.ckpt", 1, gamma)
    code = codec.DeepvlfCode.of(module)
    rng = np.random.default_rng(1)
    estimate_statistics(code, setting, 2048, rng, sent_only=False)
    result = evaluation.evaluate(code, setting, 2048, rng)
    # Statistics of so few blocks move the average by some hundredths of a round.
    assert result["average_rounds"] == pytest.approx(rounds, abs=0.15)
    assert result["mean_power"] == pytest.approx(power, abs=0.05)
    assert result["block_error_rate_interval"][0] < 2e-3
