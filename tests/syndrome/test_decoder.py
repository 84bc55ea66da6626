# SPDX-License-Identifier: GPL-3.0-or-later
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from gnuradio import blocks, gr, neuralfec
from gnuradio.neuralfec import codes, decoders, models, python_block
from gnuradio.neuralfec.codes.automorphisms import affine_automorphisms
from gnuradio.neuralfec.decoders.ordered_statistics import OrderedStatistics, distance
from gnuradio.neuralfec.syndrome import training
from gnuradio.neuralfec.syndrome.data import BicmChain, Teacher
from gnuradio.neuralfec.syndrome.decoder import (
    SyndromeDecoder,
    cancellation_estimator,
    load_estimator,
    recurrent_estimator,
)
from gnuradio.neuralfec.syndrome.form import systematic_form
from gnuradio.neuralfec.syndrome.loss import loss_of
from gnuradio.neuralfec.syndrome.network import CancellationNetwork, RecurrentEstimator

CODE = codes.code("polar-nr:64,32")
OPTIONS = {"features": 3, "hidden": 8, "leaf_hidden": 8, "passes": 2}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    made = CancellationNetwork(CODE, **OPTIONS)
    with torch.no_grad():
        made.weights += 0.02 * torch.randn(made.weights.shape)
    return made


@pytest.fixture(scope="module")
def estimator(network):
    return cancellation_estimator(CODE, network.weights.detach().numpy(), **OPTIONS)


@pytest.fixture(scope="module")
def words():
    batch = BicmChain(CODE, "qam16", seed=2)(5.0, 400)
    return batch.messages.numpy().astype(np.uint8), batch.llrs.numpy()


def bit_errors(decoded, messages):
    return int(np.count_nonzero(decoded != messages))


def test_flips_do_not_depend_on_the_codeword(estimator, words):
    """Theorem 2: for the same |L| and errors, another codeword is decoded with the same flips."""
    messages, llrs = words
    other = np.random.default_rng(3).integers(0, 2, messages.shape, dtype=np.uint8)
    changed = llrs * np.where(CODE.encode(messages ^ other), -1, 1).astype(np.float32)
    for reencode in (None, 0, 1, 3):
        decoder = SyndromeDecoder(CODE, estimator, reencode=reencode)
        decoded, stats = decoder.decode(llrs)
        of_other, of_other_stats = decoder.decode(changed)
        assert np.array_equal(decoded ^ messages, of_other ^ other)
        assert stats == of_other_stats


def test_reencoding_and_automorphisms_come_nearer(estimator, words):
    messages, llrs = words
    plain = SyndromeDecoder(CODE, estimator)
    decoded, stats = plain.decode(llrs)
    errors = [bit_errors(decoded, messages)]
    distances = [distance(CODE.encode(decoded), llrs)]
    for options in (
        {"automorphisms": affine_automorphisms(CODE, 4)},
        {"reencode": 0},
        {"reencode": 1},
    ):
        decoded, _ = SyndromeDecoder(CODE, estimator, **options).decode(llrs)
        errors.append(bit_errors(decoded, messages))
        distances.append(distance(CODE.encode(decoded), llrs))
    assert (distances[1] <= distances[0] * (1 + 1e-5)).all()
    assert (distances[3] <= distances[2] * (1 + 1e-5)).all()
    assert errors[3] < errors[0]
    # Never farther than ordered statistics of that order by itself.
    alone, _ = OrderedStatistics(CODE, 1).decode(llrs)
    assert (distances[3] <= distance(CODE.encode(alone), llrs) * (1 + 1e-5)).all()
    assert stats["frames"] == 400 and 0 < stats["corrected"] <= 400 - stats["zero_syndromes"]
    hard = (llrs > 0).astype(np.uint8)
    assert stats["zero_syndromes"] == np.count_nonzero(CODE.is_codeword(hard))
    assert stats["flips"] > stats["corrected"]


def test_likely_words_of_order_1_are_final(estimator):
    """|L| sums up over the errors to a mean that |L| tells: about half the words are above it."""
    batch = BicmChain(CODE, "psk2", seed=11)(5.0, 2000)
    llrs = batch.llrs.numpy()
    broken = int(np.count_nonzero(batch.syndrome.numpy().any(axis=1)))
    asked = {}

    def counted(reliabilities, syndromes):
        asked[stop] += len(reliabilities)
        return estimator(reliabilities, syndromes)

    for stop in (-np.inf, 0.0, 0.5, np.inf):
        asked[stop] = 0
        decoder = SyndromeDecoder(CODE, counted, reencode=1, stop=stop)
        decoded, _ = decoder.decode(llrs)
    assert asked[-np.inf] == broken > 1000
    assert abs(asked[0.0] / broken - 0.5) < 0.1
    assert 0 < asked[0.5] < asked[0.0] and asked[np.inf] == 0
    assert np.array_equal(decoded, OrderedStatistics(CODE, 1).decode(llrs)[0])


def test_zero_syndromes_are_left_alone_and_bad_samples_counted():
    def never(reliabilities, syndromes):
        raise AssertionError("the estimator was asked")

    messages = np.random.default_rng(4).integers(0, 2, (5, 32), dtype=np.uint8)
    llrs = (2.0 * CODE.encode(messages) - 1).astype(np.float32)
    decoded, stats = SyndromeDecoder(CODE, never).decode(llrs)
    assert np.array_equal(decoded, messages)
    assert stats == {
        "frames": 5,
        "zero_syndromes": 5,
        "corrected": 0,
        "flips": 0,
        "bad_samples": 0,
    }
    llrs[2, 0], llrs[2, 63] = np.nan, np.nan
    decoder = SyndromeDecoder(CODE, lambda r, s: (np.zeros((len(r), 32)), np.zeros((len(r), 64))))
    assert decoder.decode(llrs)[1]["bad_samples"] == 2


def test_refuses_what_is_no_automorphism():
    with pytest.raises(ValueError, match="map the code"):
        SyndromeDecoder(CODE, None, automorphisms=np.roll(np.arange(64), 1)[None])


@pytest.fixture(scope="module")
def model(network, tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "small.pt"
    training.export(network, CODE, file, parameters={})
    return str(file)


def test_model_files(network, model, estimator, words, tmp_path):
    _, llrs = words
    # As many passes as it was trained with; one where re-encoding follows.
    once = load_estimator(model, CODE, 1)
    for spec, decoder in (
        (f"syndrome:{model}", SyndromeDecoder(CODE, estimator)),
        (f"syndrome-osd:1,{model}", SyndromeDecoder(CODE, once, reencode=1)),
    ):
        expected, _ = decoder.decode(llrs)
        assert np.array_equal(decoders.decoder(spec, CODE).decode(llrs)[0], expected)
    # The file's own network is the kernel's twin.
    script, card = models.load(model)
    batch = BicmChain(CODE, "qam16", seed=5)(5.0, 20)
    with torch.inference_mode():
        for ours, theirs in zip(
            script(batch.reliabilities, batch.syndrome),
            estimator(batch.reliabilities.numpy(), batch.syndrome.numpy()),
            strict=True,
        ):
            np.testing.assert_allclose(ours.numpy(), theirs, rtol=2e-3, atol=2e-3)
    assert card.parameters["cancellation_network"] == OPTIONS
    # One of another code is refused, also where n and k are the same.
    other = codes.polar.PolarCode(64, np.sort(np.r_[CODE.unfrozen[1:], 9]))
    with pytest.raises(ValueError, match="sha256"):
        decoders.decoder(f"syndrome:{model}", other)
    for wrong in ("syndrome-osd", "syndrome-osd:4", "syndrome-osd:x"):
        with pytest.raises(ValueError, match="ORDER"):
            decoders.decoder(wrong, CODE)
    for wrong in ("syndrome-ae", "syndrome-ae:1", "syndrome-ae:x"):
        with pytest.raises(ValueError, match="ae:M"):
            decoders.decoder(wrong, CODE)


@pytest.mark.parametrize(("frames", "layers"), [(1, 1), (7, 3), (130, 2)])
def test_the_recurrent_kernel_is_torchs_network(frames, layers):
    code = systematic_form(CODE)
    torch.manual_seed(9)
    network = RecurrentEstimator(code, layers=layers, steps=4, width=50).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    batch = BicmChain(code, "qam16", seed=10)(4.0, frames)
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    estimate = recurrent_estimator(code, state, 4)
    syndromes = batch.syndrome.numpy().astype(np.uint8)
    with torch.inference_mode():
        for expected, found in zip(
            network(batch.reliabilities, batch.syndrome),
            estimate(batch.reliabilities.numpy(), syndromes),
            strict=True,
        ):
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)
    # A frame's result does not depend on how many there are.
    for first, whole in zip(
        estimate(batch.reliabilities.numpy()[:1], syndromes[:1]),
        estimate(batch.reliabilities.numpy(), syndromes),
        strict=True,
    ):
        assert np.array_equal(first, whole[:1])
    with pytest.raises(ValueError, match="expected cells of 80 inputs"):
        recurrent_estimator(codes.code("polar-nr:32,16"), state, 4)


def test_recurrent_models_decode_without_torch(tmp_path):
    torch.manual_seed(11)
    network = RecurrentEstimator(systematic_form(CODE), width=32)
    file = tmp_path / "gru.pt"
    training.export(network, CODE, file, parameters={})
    batch = BicmChain(CODE, "qam16", seed=12)(6.0, 60)
    np.save(tmp_path / "llrs.npy", batch.llrs.numpy())
    script = f"""
import sys
import numpy as np
sys.modules["torch"] = None
from gnuradio.neuralfec import codes, decoders
decoder = decoders.decoder(r"syndrome:{file}", codes.code("polar-nr:64,32"))
np.save(r"{tmp_path}/found.npy", decoder.decode(np.load(r"{tmp_path}/llrs.npy"))[0])
"""
    subprocess.run([sys.executable, "-c", script], check=True)

    def by_torch(reliabilities, syndromes):
        with torch.inference_mode():
            inputs = torch.from_numpy(reliabilities), torch.from_numpy(syndromes).float()
            message, codeword = network.eval()(*inputs)
        return message.numpy(), codeword.numpy()

    expected, _ = SyndromeDecoder(CODE, by_torch, systematic=True).decode(batch.llrs.numpy())
    assert np.mean(np.load(tmp_path / "found.npy") != expected) < 1e-3


def test_other_networks_decode_any_code(tmp_path):
    code = codes.code("bch:15,7")
    torch.manual_seed(6)
    network = RecurrentEstimator(systematic_form(code), layers=1, width=24)
    file = tmp_path / "gru.pt"
    training.export(network, code, file, parameters={})
    batch = BicmChain(code, "qam16", seed=7)(6.0, 50)
    decoded, _ = decoders.decoder(f"syndrome-osd:1,{file}", code).decode(batch.llrs.numpy())
    messages = batch.messages.numpy()
    alone, _ = OrderedStatistics(code, 1).decode(batch.llrs.numpy())
    assert bit_errors(decoded, messages) <= 1.2 * bit_errors(alone, messages) + 5


def test_messages_are_the_codes_though_the_network_learned_its_systematic_form():
    """A network that knows the flips: every message comes out, by way of the other map."""
    code = codes.code("polar-nr:32,16")
    form = systematic_form(code)
    rng = np.random.default_rng(3)
    messages = rng.integers(0, 2, (200, code.k), dtype=np.uint8)
    flips = (rng.random((200, code.n)) < 0.1).astype(np.uint8)
    hard = code.encode(messages) ^ flips

    def knows(reliabilities, syndromes):
        wrong = form.syndrome(flips).any(axis=1)
        np.testing.assert_array_equal(syndromes, form.syndrome(flips)[wrong])
        codeword = 2.0 * flips[wrong] - 1
        return codeword[:, form.information_set], codeword

    decoder = SyndromeDecoder(code, knows, systematic=True)
    decoded, _ = decoder.decode(4 * hard.astype(np.float32) - 2)
    np.testing.assert_array_equal(decoded, messages)


@pytest.mark.parametrize("network", ["gru", "transformer"])
def test_the_papers_networks_train_by_command_and_decode(network, tmp_path):
    """A GRU of a minute's size halves the frame errors of hard decisions."""
    code, file = codes.code("bch:15,7"), tmp_path / "m.pt"
    sizes = {
        "gru": {"layers": 1, "width": 32},
        "transformer": {"layers": 1, "width": 16, "heads": 2},
    }
    steps = {"gru": "600", "transformer": "200"}
    options = ["--code", "bch:15,7", "--network", network, "--options", json.dumps(sizes[network])]
    options += ["--mix", "qam16:5:7", "--start", "9", "--teacher", "osd:2", "--batch", "128"]
    assert training.main([str(file), *options, "--steps", steps[network], "--rate", "3e-3"]) == 0
    assert models.read_card(file).parameters["form"] == "systematic"
    batch = BicmChain(code, "qam16", seed=8)(6.0, 2000)
    sent = batch.messages.numpy()
    decoded, _ = decoders.decoder(f"syndrome:{file}", code).decode(batch.llrs.numpy())
    hard = code.messages((batch.llrs.numpy() > 0).astype(np.uint8))

    def frames(found):
        return np.count_nonzero((found != sent).any(axis=1))

    assert frames(decoded) < {"gru": 0.5, "transformer": 1.0}[network] * frames(hard)


def test_training_learns_stops_and_goes_on(tmp_path, monkeypatch):
    code = codes.code("polar-nr:32,16")
    sizes = {"features": 2, "hidden": 8, "leaf_hidden": 8, "passes": 1}
    batch = BicmChain(code, "qam16", seed=8)(4.0, 4000)
    options = ["--code", "polar-nr:32,16", "--options", json.dumps(sizes), "--mix", "qam16:3:5"]
    options += ["--batch", "64", "--steps", "400"]

    def loss(parameters):
        trained = CancellationNetwork(code, **sizes)
        with torch.no_grad():
            trained.weights.copy_(parameters)
            return loss_of(trained, batch).item()

    torch.manual_seed(1)
    before = loss(CancellationNetwork(code, **sizes).weights)
    whole, pieces = tmp_path / "whole.pt", tmp_path / "pieces.pt"
    assert training.main([str(whole), *options]) == 0
    after = models.state_dict(whole)["weights"]
    assert loss(after) < 0.99 * before
    card = models.read_card(whole)
    assert card.training.steps == 400 and card.parameters["samples"] == 400 * 64
    assert card.parameters["cancellation_network"] == sizes

    make, calls = BicmChain.__call__, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 150:
            signal.raise_signal(signal.SIGINT)
        return make(*arguments)

    monkeypatch.setattr(BicmChain, "__call__", interrupted)
    assert training.main([str(pieces), *options]) == 75
    assert training.main([str(pieces), *options]) == 0
    assert torch.equal(models.state_dict(pieces)["weights"], after)
    # On from a model, of the same code only.
    more = tmp_path / "more.pt"
    assert training.main([str(more), *options, "--init", str(whole), "--steps", "3"]) == 0
    assert loss(models.state_dict(more)["weights"]) < 0.99 * before
    # Not from one of another code, nor of another size (rm:2,5 is the same code).
    for other in ("rm:1,5", "rm:2,5"):
        assert training.main([str(more), "--code", other, "--init", str(whole)]) == 2


@pytest.mark.parametrize("text", ["qam16", "qam16:3", "qam16:a:b"])
def test_refuses_other_mixes(text):
    with pytest.raises(ValueError, match="CONSTELLATION"):
        training.parse_mix(text)


def test_a_teacher_s_words_take_the_place_of_those_sent():
    """They explain the same syndrome, and are never farther from the LLRs."""
    code = codes.code("polar-nr:16,8")
    batch = BicmChain(code, "qam16", seed=10)(0.0, 500)
    taught = Teacher(code, OrderedStatistics(code, 4))(batch)
    assert torch.equal(taught.syndrome, batch.syndrome)
    for name, matrix in (("syndrome", code.parity_check.T), ("message_flips", code.pseudo_inverse)):
        expected = (taught.flips @ torch.tensor(matrix, dtype=torch.float32)).remainder(2)
        assert torch.equal(getattr(taught, name), expected)
    costs = [(b.flips * b.reliabilities).sum(1) for b in (taught, batch)]
    assert (costs[0] <= costs[1] + 1e-4).all() and (costs[0] < costs[1]).any()
    poor = Teacher(code, OrderedStatistics(code, 0))(batch)
    worse = (poor.flips * poor.reliabilities).sum(1) > costs[1] + 1e-4
    assert not worse.any()


def test_block(model, words):
    _, llrs = words
    llrs = llrs.copy()
    llrs[7, 7] = np.nan
    expected, stats = decoders.decoder(f"syndrome-osd:1,{model}", CODE).decode(llrs)
    graph = gr.top_block()
    source = blocks.vector_source_f(llrs.ravel().tolist(), False, 64)
    block = neuralfec.syndrome_decoder("polar-nr:64,32", model, reencode=1)
    sink = blocks.vector_sink_b(32)
    graph.connect(source, block, sink)
    python_block.run(graph, block)
    assert np.array_equal(np.array(sink.data()).reshape(-1, 32), expected)
    assert {key: block.stats()[key] for key in stats} == stats
    with pytest.raises(ValueError, match="sha256"):
        neuralfec.syndrome_decoder("polar-rptu:128,64", model)
    with pytest.raises(ValueError, match="64"):
        decoders.decoder(f"syndrome:{model}", CODE).decode(llrs[:, 1:])
