# SPDX-License-Identifier: GPL-3.0-or-later
"""Shipped models: tables against networks, kernels against networks, what is refused."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from gnuradio.neuralfec import models
from gnuradio.neuralfec.quantization import LlrQuantizer, SoftBuffer, names
from gnuradio.neuralfec.quantization.data import LlrSource
from gnuradio.neuralfec.quantization.training import SNR_DB, main
from quantization.oracle import divergence, exact_llrs

QUANTIZED = [name for name in names() if not name.endswith("float")]
OURS = [name for name in QUANTIZED if name.count("-") == 1]


def llrs_of(name, symbols):
    order = int(name.split("-")[0].removeprefix("qam"))
    rail_bits = (order.bit_length() - 1) // 2
    return exact_llrs(rail_bits, np.mean(SNR_DB[order]), symbols).astype(np.float32)


def test_grc_offers_the_models():
    """Those of up to 20 bits, with their sizes; the build fills the menu."""
    cards = [models.read_card(f"quantization/{name}").parameters for name in QUANTIZED]
    tables = {n: (c["bits_per_symbol"], c["bits"]) for n, c in zip(QUANTIZED, cards, strict=True)}
    tables = {name: sizes for name, sizes in tables.items() if sizes[1] <= 20}
    files = [
        Path(sys.prefix, "share/gnuradio/grc/blocks", file.name)
        for file in Path(__file__).parents[2].glob("grc/quantization/*.block.yml")
    ]
    assert files
    for file in files:
        model = yaml.safe_load(file.read_text())["parameters"][0]
        attributes = model["option_attributes"]
        k = map(int, attributes["k"])
        bits = map(int, attributes.get("bits", [tables[n][1] for n in model["options"]]))
        assert dict(zip(model["options"], zip(k, bits, strict=True), strict=True)) == tables


@pytest.mark.parametrize("name", QUANTIZED)
def test_the_table_is_the_network(name):
    quantizer = LlrQuantizer(name)
    module, _ = models.load(f"quantization/{name}")
    rng = np.random.default_rng(0)
    every = (
        np.arange(1 << quantizer.bits)
        if quantizer.bits <= 20
        else rng.integers(1 << quantizer.bits, size=10_000)
    )
    if quantizer.card.parameters["quantizer"] == "GainCellQuantizer":
        used = int((models.state_dict(f"quantization/{name}")["levels"] ** 2).sum())
        every = every[every % (1 << (quantizer.bits - 2)) < used]
    with torch.inference_mode():
        latent = module.codeword(torch.from_numpy(every))
        assert np.array_equal(module.index(latent).numpy(), every)
        network = module.decode(latent).numpy()
    # As soft bits: the network's rounding of one near 1 makes a large step in the LLR.
    soft = np.tanh(quantizer.dequantize(every) / 2)
    np.testing.assert_allclose(soft, np.tanh(network / 2), atol=2e-5)


@pytest.mark.parametrize("name", QUANTIZED)
def test_the_kernel_is_the_network(name):
    quantizer = LlrQuantizer(name, search=False)
    if quantizer.card.parameters.get("interferer"):
        llrs = np.random.default_rng(0).normal(size=(2000, quantizer.bits_per_symbol)) * 5
        llrs = llrs.astype(np.float32)
    else:
        llrs = llrs_of(name, 2000)
    module, _ = models.load(f"quantization/{name}")
    with torch.inference_mode():
        expected = module.index(module(torch.from_numpy(llrs))).numpy()
    indices = quantizer.quantize(llrs)
    # On a threshold the order of a sum decides.
    assert np.mean(indices == expected) > 0.995
    assert indices.max() < 1 << quantizer.bits


def test_the_network_treats_rails_alike():
    """Exchanging the rails exchanges their levels and leaves the cell."""
    llrs = torch.from_numpy(llrs_of("qam256-15bit", 500))
    module, _ = models.load("quantization/qam256-15bit")
    with torch.inference_mode():
        latent, exchanged = module(llrs), module(llrs.roll(4, 1))
    torch.testing.assert_close(exchanged, latent[:, [0, 2, 1]])


@pytest.mark.parametrize("name", OURS)
def test_the_divergence_is_the_card_s(name):
    """On LLRs from elsewhere, at the middle of the SNRs that the card's figure averages."""
    llrs = llrs_of(name, 20_000)
    for search, key in [(True, "_with_search"), (False, "")]:
        quantizer = LlrQuantizer(name, search=search)
        measured = divergence(llrs, quantizer.reconstruct(llrs)).mean()
        on_card = quantizer.card.measured[f"divergence_bits_per_symbol{key}"]
        assert measured == pytest.approx(on_card, rel=0.15)


@pytest.fixture(scope="module")
def float_model(tmp_path_factory):
    """A published autoencoder with a float latent, hardly trained."""
    folder = tmp_path_factory.mktemp("float")
    with pytest.MonkeyPatch.context() as patch:
        llrs = LlrSource.llrs
        patch.setattr(LlrSource, "llrs", lambda self, n: llrs(self, min(n, 4096)))
        file = str(folder / "qam16-float.pt")
        assert main([file, "--steps", "4", "--batch", "64"]) == 0
    return folder / "qam16-float.pt"


def test_float_latent(float_model):
    quantizer = LlrQuantizer(float_model)
    llrs = np.zeros((3, 4), np.float32)
    llrs[1, 0] = np.nan
    assert np.array_equal(*quantizer.reconstruct(llrs)[:2])
    assert quantizer.counts["bad_samples"] == 1
    for call in (lambda: quantizer.quantize(llrs), lambda: quantizer.pack([1])):
        with pytest.raises(ValueError, match="does not quantize its latent"):
            call()
    with pytest.raises(ValueError, match="a model that quantizes"):
        SoftBuffer(quantizer)


def test_packed_indices(llrs256):
    quantizer = LlrQuantizer("qam256-15bit")
    indices = quantizer.quantize(llrs256[:800])
    packed = quantizer.pack(indices)
    assert packed.size == 800 * 15 // 8
    assert np.array_equal(quantizer.unpack(packed, 800), indices)


def test_what_is_refused(tmp_path, llrs256):
    quantizer = LlrQuantizer("qam256-15bit")
    with pytest.raises(ValueError, match="8 LLRs a symbol"):
        quantizer.quantize(llrs256.ravel()[:12])
    for bad in ([1 << 15], [-1]):
        with pytest.raises(ValueError, match=r"indices from 0 to 2\^15 - 1"):
            quantizer.dequantize(bad)
    with pytest.raises(ValueError, match="bits_per_symbol 6 was asked for, the model has 8"):
        LlrQuantizer("qam256-15bit", bits_per_symbol=6)
    with pytest.raises(ValueError, match="qam256-15bit"):
        LlrQuantizer("qam256-14bit")
    whole = models.path(f"quantization/{quantizer.card.name}").read_bytes()
    truncated = tmp_path / "truncated.pt"
    truncated.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="truncated"):
        LlrQuantizer(truncated)
    foreign = tmp_path / "foreign.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(8, 3)), foreign)
    with pytest.raises(ValueError, match="without a card"):
        LlrQuantizer(foreign)


def test_soft_buffer(llrs256):
    quantizer = LlrQuantizer("qam256-18bit")
    frame = llrs256[:81].reshape(-1)
    buffer = SoftBuffer(quantizer)
    buffer.store(7, frame)
    # 81 symbols of 18 bits in whole bytes.
    assert buffer.memory == 183
    stored = quantizer.reconstruct(frame)
    assert np.array_equal(buffer.load(7), stored)
    again = llrs256[81:162].reshape(-1)
    total = buffer.combine(7, again)
    np.testing.assert_allclose(total, again + stored)
    assert np.array_equal(buffer.load(7), quantizer.reconstruct(total))
    assert buffer.release(7) and not buffer.release(7)
    with pytest.raises(KeyError):
        buffer.load(7)
    assert np.array_equal(buffer.combine(8, frame), frame)
    with pytest.raises(ValueError, match="648 LLRs, as frame 8 has"):
        buffer.combine(8, frame[:8])
    assert buffer.counts == {"stored": 3, "combined": 1, "released": 1}


def test_soft_buffer_makes_room(llrs256):
    frame = llrs256[:81].reshape(-1)
    buffer = SoftBuffer(LlrQuantizer("qam256-15bit"), capacity=2 * 152)
    for frame_id in (1, 2):
        buffer.store(frame_id, frame)
    buffer.load(1)
    buffer.store(3, frame)
    assert 1 in buffer and 2 not in buffer and 3 in buffer
    assert buffer.counts["evicted"] == 1
    with pytest.raises(ValueError, match="capacity of 304 bytes"):
        buffer.store(4, llrs256[:200])
