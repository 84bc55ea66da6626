# SPDX-License-Identifier: GPL-3.0-or-later
"""Design and training, small."""

import itertools
import signal

import numpy as np
import pytest
import torch
from gnuradio.neuralfec import models
from gnuradio.neuralfec.quantization import (
    LlrQuantizer,
    autoencoder,
    codebook,
    gain_cells,
    scalar,
    stages,
    training,
)
from gnuradio.neuralfec.quantization.data import LlrSource
from gnuradio.neuralfec.quantization.data import divergence as torch_divergence
from gnuradio.neuralfec.quantization.network import BranchedAutoencoder, GainCellQuantizer
from gnuradio.neuralfec.training import Run
from quantization.oracle import divergence, exact_llrs


def test_source_is_the_channel():
    gain, _, llrs = LlrSource("qam16", (10, 10), seed=1).draw(100_000)
    # G = |h|^2 / N0 is exponential of mean 10.
    assert gain.mean() == pytest.approx(10, rel=0.03)
    assert (gain < 10).float().mean() == pytest.approx(1 - np.exp(-1), abs=0.01)
    # The distribution of the LLRs, in the domain of soft bits.
    oracle = exact_llrs(2, 10.0, 100_000)
    part = np.arange(0.05, 1, 0.05)
    for bit in range(4):
        ours = np.tanh(np.quantile(llrs[:, bit].numpy(), part) / 2)
        theirs = np.tanh(np.quantile(oracle[:, bit], part) / 2)
        np.testing.assert_allclose(ours, theirs, atol=0.05)


def test_divergence_is_the_definition():
    rng = np.random.default_rng(0)
    llrs, quantized = rng.normal(size=(2, 100, 8)) * 5
    ours = torch_divergence(torch.from_numpy(llrs), torch.from_numpy(quantized))
    np.testing.assert_allclose(ours.numpy(), divergence(llrs, quantized), rtol=1e-6)


def test_scalar_design_is_optimum():
    """Against every choice of thresholds on a coarse grid."""
    llrs = torch.from_numpy(exact_llrs(2, 10.0, 8_000)[:, 1])
    levels, thresholds = scalar.design(llrs, 4)
    x = llrs.numpy()
    p = 1 / (1 + np.exp(-x))

    def information(thresholds):
        level = np.digitize(x, thresholds)
        q = np.array([p[level == i].mean() for i in range(4)])
        weight = np.array([np.mean(level == i) for i in range(4)])
        entropy = -q * np.log2(q) - (1 - q) * np.log2(1 - q)
        return 1 - weight @ entropy

    grid = np.quantile(x, np.arange(0.1, 1, 0.1))
    best = max(information(choice) for choice in itertools.combinations(grid, 3))
    assert information(thresholds.numpy()) >= best - 1e-4
    level = np.digitize(x, thresholds.numpy())
    for i in range(4):
        mean = p[level == i].mean()
        # Thresholds lie on quantiles, so some samples count to the other side.
        assert levels[i].item() == pytest.approx(np.log(mean / (1 - mean)), rel=0.1)
    with pytest.raises(ValueError, match="at least 768 LLRs"):
        scalar.design(llrs[:100], 4)


SMALL = {"histogram_symbols": 200_000, "symbols": 50_000, "iterations": 2}


def coarsen(patch):
    for name, value in {
        "_GAINS": 24,
        "_DISTANCES": 48,
        "_BETWEEN_POINTS": 12,
        "_WIDEST_CELL": 8,
    }.items():
        patch.setattr(codebook, name, value)


@pytest.fixture(scope="module")
def book():
    with pytest.MonkeyPatch.context() as patch:
        coarsen(patch)
        return _small_book()


def _small_book():
    source = LlrSource("qam16", (8, 12), seed=1)
    return codebook.design(source, 8, **SMALL, report=lambda _: None)


def test_design(book):
    assert int((book.levels**2).sum()) <= 64
    llrs = torch.from_numpy(exact_llrs(2, 10.0, 5000).astype(np.float32))
    # The kernel and its torch twin look for the same.
    cells, levels = codebook.search(torch.sigmoid(codebook.fold(llrs)), book.levels, book.table)
    by_kernel = codebook.assign(llrs, 8, book.levels, book.table)
    assert (cells == by_kernel[0]).float().mean() > 0.999
    assert (levels == by_kernel[1]).float().mean() > 0.999
    # Two bits an LLR in 16-QAM lose far less than the sign alone does.
    starts = book.levels.cumsum(0) - book.levels
    rails = book.table[starts[cells][:, None] + levels].flatten(1)
    folded = codebook.fold(llrs).flatten(1)
    assert divergence(folded.numpy(), rails.numpy()).mean() < 0.08


def test_soft_cost_becomes_the_quantizer_s(book):
    torch.manual_seed(0)
    module = GainCellQuantizer(8, book.levels, book.table, (8,))
    llrs = torch.from_numpy(exact_llrs(2, 10.0, 500).astype(np.float32))
    p = torch.sigmoid(codebook.fold(llrs))
    latent = torch.rand(500, 3, requires_grad=True)
    cell, level = module.cells(latent)
    rails = module.table[module.starts[cell][:, None] + level]
    hard = (torch.nn.functional.softplus(rails) - p * rails).sum((1, 2))
    torch.testing.assert_close(gain_cells.soft_cost(module, latent, p, 1e-7), hard)
    gain_cells.soft_cost(module, latent, p, 1.0).sum().backward()
    assert latent.grad.abs().sum() > 0


def test_table_fits_network_and_search(book):
    torch.manual_seed(0)
    module = GainCellQuantizer(8, book.levels, book.table.clone(), (8,))
    llrs = torch.from_numpy(exact_llrs(2, 10.0, 20_000).astype(np.float32))
    cells, levels = codebook.assign(llrs, 8, module.levels, module.table)
    folded = codebook.fold(llrs)

    def of_both():
        by_search = module.table[module.starts[cells][:, None] + levels]
        by_network = module.decode(module(llrs))
        return [
            divergence(folded.flatten(1).numpy(), by_search.flatten(1).numpy()).mean(),
            divergence(llrs.numpy(), by_network.numpy()).mean(),
        ]

    before = of_both()
    gain_cells.fit_table(module, llrs)
    after = of_both()
    assert after[1] < before[1]
    assert sum(after) < sum(before)


def test_weighted_loss():
    """Equation (12) by hand."""
    loss = autoencoder.sample_weighted_loss(torch.tensor([0.5]), torch.tensor([-0.25]))
    assert loss.item() == pytest.approx(0.75**2 / (0.25 + 1e-6))


def test_size_of_the_published_autoencoder():
    parameters = sum(p.numel() for p in BranchedAutoencoder(8).parameters())
    assert 80_000 < 4 * parameters < 83_000


def test_even_split():
    assert training.even_split(15, 3) == [5, 5, 5]
    assert training.even_split(16, 3) == [5, 6, 5]
    assert sum(training.even_split(22, 5)) == 22


@pytest.mark.parametrize(
    "name, more",
    [
        ("qam16-6bit", ["--hidden", "8,8"]),
        ("qam16-paper-6bit", []),
        ("qam16-float", []),
        ("qam16-scalar-8bit", []),
    ],
)
def test_training_from_the_command_line(tmp_path, name, more, monkeypatch, capsys):
    coarsen(monkeypatch)
    design = codebook.design
    monkeypatch.setattr(codebook, "design", lambda *a, **k: design(*a, **k, **SMALL))
    # As many symbols as a test has time for.
    llrs = LlrSource.llrs
    monkeypatch.setattr(LlrSource, "llrs", lambda self, n: llrs(self, min(n, 20_000)))
    file = tmp_path / f"{name}.pt"
    common = [str(file), "--steps", "8", "--batch", "256", *more]
    if "scalar" not in name:
        assert training.main([*common, "--minutes", "0"]) == 75
        assert not file.exists()
    assert training.main(common) == 0
    quantizer = LlrQuantizer(file, bits_per_symbol=4)
    assert quantizer.reconstruct(exact_llrs(2, 10.0, 64)).shape == (64, 4)
    if name == "qam16-6bit":
        further = tmp_path / "further.pt"
        start = ["--init", str(file), "--steps", "2", *more]
        assert training.main([str(further), "--name", name, *start]) == 0
        before, after = models.state_dict(file), models.state_dict(further)
        assert torch.equal(before["levels"], after["levels"])
        assert not torch.equal(before["encoder.0.weight"], after["encoder.0.weight"])
        assert models.read_card(further).training.steps == 4 * 8 + 3 * 2
        assert training.main([str(tmp_path / "qam16-7bit.pt"), *start]) == 2
        assert "bits" in capsys.readouterr().err
        assert training.main([str(tmp_path / "qam17-7bit.pt")]) == 2
        assert "expected a name such as qam256-15bit" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["qam16-6bit", "qam16-paper-6bit"])
def test_ends_as_if_it_had_not_been_interrupted(tmp_path, monkeypatch, name):
    """In the middle of a stage."""
    coarsen(monkeypatch)
    design, llrs, step = codebook.design, LlrSource.llrs, torch.optim.Adam.step
    monkeypatch.setattr(codebook, "design", lambda *a, **k: design(*a, **k, **SMALL))
    monkeypatch.setattr(LlrSource, "llrs", lambda self, n: llrs(self, min(n, 5_000)))
    calls = []

    def interrupt(*arguments, **more):
        calls.append(arguments)
        if len(calls) == 11:
            signal.raise_signal(signal.SIGINT)
        return step(*arguments, **more)

    common = ["--name", name, "--steps", "8", "--batch", "64", "--hidden", "8"]
    whole, pieces = tmp_path / "whole.pt", tmp_path / "pieces.pt"
    assert training.main([str(whole), *common]) == 0
    monkeypatch.setattr(torch.optim.Adam, "step", interrupt)
    assert training.main([str(pieces), *common]) == 75
    assert training.main([str(pieces), *common]) == 0
    expected = models.state_dict(whole)
    for key, tensor in models.state_dict(pieces).items():
        assert torch.equal(tensor, expected[key]), key


def test_clipped_gradient(tmp_path):
    """Steps of plain gradient descent are no longer than rate x clip."""
    module = torch.nn.Linear(1, 1, bias=False)
    start = module.weight.item()
    descent = [torch.optim.SGD(module.parameters(), 0.5)]
    run = Run(tmp_path / "checkpoint", {})
    stages.train_stage(
        run, "one", module, descent, 1, lambda _: 1e6 * module.weight.sum(), clip=0.25
    )
    assert module.weight.item() == pytest.approx(start - 0.125, abs=1e-5)
