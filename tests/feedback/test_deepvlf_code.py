import numpy as np
import pytest
import torch
from feedback import published
from gnuradio.neuralfec.feedback import evaluation
from gnuradio.neuralfec.feedback.deepvlf import checkpoints as importer
from gnuradio.neuralfec.feedback.deepvlf import code as codec
from gnuradio.neuralfec.feedback.deepvlf.network import FeedbackCode
from gnuradio.neuralfec.feedback.deepvlf.parameters import CodeParameters, design
from gnuradio.neuralfec.feedback.deepvlf.power import estimate_statistics
from gnuradio.neuralfec.feedback.setting import Setting, log_odds


def imported(tmp_path, kind, seed=0, **sizes):
    content = published.checkpoint(kind, seed, **sizes)
    torch.save(content, tmp_path / "c")
    module = importer.import_checkpoint(tmp_path / "c", 1.0, 0.9, sizes.get("groups"))
    return content, codec.DeepvlfCode.of(module)


class Scripted:
    """Hands out what a test has drawn, in the order of a population's calls."""

    def __init__(self, *arrays):
        self.arrays = list(arrays)

    def integers(self, low, high, shape, dtype):
        return self.arrays.pop(0)

    def standard_normal(self, shape, dtype):
        drawn = self.arrays.pop(0)
        assert drawn.shape == shape
        return drawn


@pytest.mark.parametrize(("hybrid", "groups", "m"), [(False, 16, 3), (True, 2, 1)])
def test_one_block_of_r_follows_the_published_loop(tmp_path, hybrid, groups, m):
    """A block at a time, written from the description: eq. 4, frozen vectors, tau+.

    The transmitter of untrained networks agrees only where there is little to agree on.
    """
    content, code = imported(tmp_path, "R", seed=1, groups=groups, bits=m)
    state = content["model"]
    transmit, receive = published.Network(state, "Tmodel"), published.Network(state, "Rmodel")
    rng = np.random.default_rng(2)
    code.mean = rng.normal(0, 0.1, (10, groups)).astype(np.float32)
    code.deviation = rng.uniform(0.5, 2, (10, groups)).astype(np.float32)
    gamma, sigma, sigma_b = 0.99, 10 ** (-1 / 20), 0.1
    setting = Setting(
        1, 20, "hybrid" if hybrid else "receiver", log_odds(gamma), 0.6 if hybrid else None
    )
    first = code.parameters.first_decision
    stopped_early = frozen = 0
    for _ in range(16):
        bits = rng.integers(0, 2, groups * m, np.uint8)
        draws = []
        vectors, seen = np.zeros((groups, m + 18)), np.zeros((groups, 10 + 2**m))
        vectors[:, :m] = 2.0 * bits.reshape(groups, m) - 1
        seen[:, 10:] = belief = np.full((groups, 2**m), 2.0**-m)
        done, length, energy = np.zeros(groups, bool), np.zeros(groups, int), 0.0
        truth = bits.reshape(groups, m) @ [2**j for j in range(m)]
        for i in range(10):
            x = (transmit(vectors, i)[:, 0] - code.mean[i]) / (code.deviation[i] + 1e-8)
            noise = rng.standard_normal((1, groups), np.float32)
            back = rng.standard_normal((1, groups), np.float32)
            draws += [noise, back]
            y = x + sigma * noise[0]
            for q in np.flatnonzero(~done):
                seen[q, i] = y[q]
                length[q] += 1
                energy += x[q] ** 2
            new = published.softmax(receive(seen, i))
            belief = np.where(done[:, None], belief, new)
            if i + 1 >= first:
                done = done | (belief.max(1) > gamma)
                if hybrid:
                    wobble = rng.standard_normal((1, groups, 2**m), np.float32)
                    draws.append(wobble)
                    spread = sigma_b * (2**-m - 4**-m) ** 0.5
                    noisy = np.maximum(belief + spread * wobble[0], 1e-6)
                    noisy /= noisy.sum(1, keepdims=True)
                    if (noisy.argmax(1) == truth).all() and noisy.max(1).min() > 0.6:
                        stopped_early += not done.all()
                        done[:] = True
            for q in np.flatnonzero(~done):
                seen[q, 10:] = belief[q]
                if i < 9:
                    vectors[q, m + i] = x[q]
                    vectors[q, m + 9 + i] = y[q] + sigma_b * back[0, q] - x[q]
            if done.all():
                break
            frozen += done.sum()
        population = evaluation.Population(code, setting, 1, Scripted(bits[None], *draws))
        while population.active.size:
            population.step()
        np.testing.assert_array_equal(population.symbols[0], length)
        np.testing.assert_allclose(population.decoder.beliefs[0], belief, atol=1e-4)
        assert population.energy[0] == pytest.approx(energy, rel=1e-4)
        assert not population.rng.arrays
    # The case was worth testing: groups froze while others went on.
    assert stopped_early if hybrid else frozen > 10


def test_one_block_of_t_follows_the_published_loop(tmp_path):
    content, code = imported(tmp_path, "T", seed=1)
    transmit, receive = published.Network(content, "Tmodel"), published.Network(content, "Rmodel")
    rng = np.random.default_rng(3)
    code.mean = rng.normal(0, 0.1, (20, 16)).astype(np.float32)
    code.deviation = rng.uniform(0.5, 2, (20, 16)).astype(np.float32)
    raw = content["total_power_reloc.weight1"].numpy()[:, 0]
    weight = raw * np.sqrt(16 / (raw**2).sum())
    sigma = 10 ** (-2 / 20)
    code.received_deviation = np.sqrt(weight**2 + sigma**2).astype(np.float32)
    for _ in range(3):
        bits = rng.integers(0, 2, 48, np.uint8)
        truth = bits.reshape(16, 3) @ [1, 2, 4]
        vectors, seen, draws = np.zeros((16, 46)), np.zeros((16, 20)), []
        vectors[np.arange(16), truth] = 1
        rounds = 0
        for i in range(20):
            x = (transmit(vectors, i)[:, 0] - code.mean[i]) / (code.deviation[i] + 1e-8) * weight
            noise = rng.standard_normal((1, 16), np.float32)
            wobble = rng.standard_normal((1, 16, 8), np.float32)
            draws += [noise, wobble]
            y = x + sigma * noise[0]
            seen[:, i] = y
            belief = published.softmax(receive(seen, i))
            rounds += 1
            if (belief.argmax(1) == truth).all():
                break
            if i < 19:
                vectors[:, 8 + i] = x
                vectors[:, 27 + i] = y / np.sqrt(weight**2 + sigma**2)
        setting = Setting(2, None, "transmitter", None, 0.0)
        population = evaluation.Population(code, setting, 1, Scripted(bits[None], *draws))
        while population.active.size:
            population.step()
        assert (population.symbols == rounds).all()
        np.testing.assert_allclose(population.decoder.beliefs[0], belief, atol=1e-4)


def test_slots_in_different_rounds_do_not_touch_each_other(tmp_path):
    """The same blocks staggered over one table give what they give together."""
    _, code = imported(tmp_path, "R", seed=5)
    rng = np.random.default_rng(0)
    messages = rng.integers(0, 2, (6, 48), np.uint8)
    noise = rng.standard_normal((6, 10, 16), np.float32)

    def run(groups_of_slots):
        encoder, decoder = code.encoder(6), code.decoder(6)
        seen = {slot: [] for slot in range(6)}
        for slots in groups_of_slots:
            slots = np.array(slots)
            new = slots[[not seen[slot] for slot in slots]]
            if new.size:
                encoder.start(new, messages[new])
                decoder.start(new)
            x = encoder.encode(slots)
            y = x + noise[slots, encoder.rounds[slots] - 1]
            decoded = decoder.decode(slots, y, 0.9)
            encoder.observe(slots, decoder.feedback(slots, y), decoded)
            for slot, row in zip(slots, x, strict=True):
                seen[slot].append(row)
        return np.array([seen[slot] for slot in range(6)]), decoder.beliefs

    together = run([range(6)] * 10)
    staggered = run(
        [[0, 1]] * 3 + [[0, 3], [3, 1, 2]] + [[0, 1, 2, 3]] * 6
        + [[2, 3]] * 2 + [[2, 4, 5]] + [[4, 5]] * 9
    )  # fmt: skip
    np.testing.assert_allclose(staggered[0], together[0], atol=1e-5)
    np.testing.assert_allclose(staggered[1], together[1], atol=1e-5)


@pytest.mark.statistics
def test_honest_statistics_give_unit_power():
    torch.manual_seed(1)
    module = FeedbackCode(design("R", first_decision=2))
    # Untrained beliefs are shy: let some pass.
    torch.nn.init.normal_(module.receiver.head[0].weight, std=1.0)
    code = codec.DeepvlfCode.of(module)
    rng = np.random.default_rng(0)
    setting = Setting(3, None, "receiver", log_odds(0.8))
    estimate_statistics(code, setting, 8192, rng, sent_only=True)
    result = evaluation.evaluate(code, setting, 4096, rng)
    assert 2 < result["average_rounds"] < 9.5
    assert result["mean_power"] == pytest.approx(1, abs=0.02)
    low, high = result["mean_power_interval"]
    assert low < result["mean_power"] < high < low + 0.05


def test_report_by_hand():
    torch.manual_seed(1)
    code = codec.DeepvlfCode.of(FeedbackCode(design("T")))
    # Two blocks of 16 groups, 3 and 5 rounds, energies 50 and 70, one wrong.
    counts = {
        "blocks": 2, "bits": 96, "block_errors": 1, "bit_errors": 4, "symbols": 128,
        "energy": 120.0, "rounds": 8, "stop_flags": 8, "symbols_squared": 48.0**2 + 80.0**2,
        "energy_squared": 50.0**2 + 70.0**2, "symbols_energy": 48 * 50.0 + 80 * 70.0,
        "feedback_symbols": 80, "feedback_energy": 60.0,
    }  # fmt: skip
    result = evaluation.report(code, Setting(0, None, "transmitter", None, 0.0), counts)
    assert result["average_rounds"] == 4 and result["average_block_rounds"] == 4
    assert result["rate"] == 96 / 128 and result["rate_with_stop_flag"] == 96 / 136
    assert result["mean_power"] == 120 / 128
    assert result["feedback_power"] == 0.75
    assert result["capacity"] == pytest.approx(0.5)
    assert result["real_snr_db"] == pytest.approx(10 * np.log10(120 / 128))
    assert result["capacity_at_real_snr"] == pytest.approx(0.5 * np.log2(1 + 120 / 128))
    # Standard error of the mean of 48 and 80 symbols, over 16 groups, is 1 / sqrt 2.
    half = 1.96 / 2**0.5
    assert result["average_rounds_interval"] == pytest.approx([4 - half, 4 + half])


def test_log_odds_resolve_what_probabilities_round_to_one():
    logits = np.array([[0, 20, -3, 1], [40, 0, 0, 0], [0.0, 0, 0, 0]])
    p = published.softmax(logits)
    # The rest of the mass, summed without cancellation.
    rest = np.array([np.delete(row, row.argmax()).sum() for row in p])
    np.testing.assert_allclose(codec.log_odds(logits), np.log(p.max(1) / rest))
    assert (published.softmax(logits.astype(np.float32)).max(1)[1]) == 1


def test_labels_have_the_first_bit_least_significant():
    torch.manual_seed(0)
    code = codec.DeepvlfCode.of(FeedbackCode(design("R")))
    message = np.zeros((1, 48), np.uint8)
    message[0, [0, 4, 8]] = 1
    assert code.labels(message)[0, :4].tolist() == [1, 2, 4, 0]
    rng = np.random.default_rng(0)
    messages = rng.integers(0, 2, (5, 48), np.uint8)
    np.testing.assert_array_equal(code.bits(code.labels(messages)), messages)
    for wrong in (np.zeros(48), np.zeros((1, 47)), np.full((1, 48), 2)):
        with pytest.raises(ValueError, match="48 bits"):
            code.labels(wrong)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"groups": 7}, "equal size"),
        ({"message_input": "morse"}, "message_input"),
        ({"first_decision": 11}, "first decision"),
        ({"rounds": 9}, "inputs"),
        ({"termination": "someone"}, "termination"),
    ],
)
def test_refuses_parameters_that_do_not_fit(change, reason):
    card = design("R").to_card()
    assert CodeParameters.from_card(card) == design("R")
    with pytest.raises(ValueError, match=reason):
        CodeParameters.from_card(card | change)
    with pytest.raises(ValueError, match="surprise"):
        CodeParameters.from_card(card | {"surprise": 1})


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"termination": "receiver"}, "threshold"),
        ({"termination": "receiver", "threshold": float("inf")}, "threshold"),
        ({"termination": "hybrid", "threshold": 0.9}, "transmitter threshold"),
        ({"termination": "nobody"}, "termination"),
        ({"snr_db": float("nan"), "termination": "none"}, "snr_db"),
    ],
)
def test_refuses_settings(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        Setting(**({"snr_db": 1.0} | arguments))


def test_refuses_a_termination_that_the_code_was_not_made_for():
    code = codec.DeepvlfCode.of(FeedbackCode(design("T")))
    setting = Setting(1, None, "receiver", log_odds(0.9))
    with pytest.raises(ValueError, match="'transmitter' serves"):
        evaluation.simulate(code, setting, 4, np.random.default_rng(0))
