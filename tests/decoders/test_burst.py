# SPDX-License-Identifier: GPL-3.0-or-later
"""The decoder that learns bursts of noise; its kernel's test sums over all paths."""

import numpy as np
import pytest
from gnuradio.neuralfec import codes, decoders
from gnuradio.neuralfec.decoders.burst import BurstBcjrDecoder, NoiseChain
from gnuradio.neuralfec.phy.impulsive import Pulses, gaussian_llrs

CODE = codes.code("conv:7,5:100:zero")


def received(code, snr_db, frames, seed, pulses=None):
    rng = np.random.default_rng(seed)
    messages = rng.integers(0, 2, (frames, code.k), dtype=np.uint8)
    sent = 2 * code.encode(messages).astype(np.float32) - 1
    noise_var = np.full(sent.shape, 10 ** (-snr_db / 10), np.float32)
    if pulses:
        noise_var = pulses.variances(rng, sent.shape, noise_var)
    y = sent + np.sqrt(noise_var) * rng.standard_normal(sent.shape, dtype=np.float32)
    return messages, y.astype(np.float32)


def error_rate(decoder, messages, llrs):
    decided, stats = decoder.decode(llrs)
    assert stats["frames"] == len(messages)
    return np.mean(decided != messages)


@pytest.mark.statistics
def test_it_learns_pulses_and_reaches_its_goal():
    """A bit error rate of 1e-3 at 7 dB, where the pulses have 3 % of the symbols."""
    messages, y = received(CODE, 7, 4000, 1, Pulses())
    llrs = gaussian_llrs(y, 10**-0.7)
    decoder = decoders.decoder("bcjr-burst", CODE)
    # 370 errors in bursts of two: one deviation is 8 %.
    assert error_rate(decoder, messages, llrs) < 1.2e-3
    assert error_rate(decoders.decoder("viterbi", CODE), messages, llrs) > 8e-3
    noise = decoder.learn(llrs)
    variances = noise.variance / noise.amplitude**2
    np.testing.assert_allclose(variances, [10**-0.7, 10 + 10**-0.7], rtol=0.15)
    assert noise.stationary()[1] == pytest.approx(0.03, abs=0.006)
    # Alone, a frame tells less, but enough.
    alone = [decoder.decode(llrs[i : i + 1])[0][0] for i in range(1000)]
    assert np.mean(np.array(alone) != messages[:1000]) < 2.2e-3


@pytest.mark.statistics
def test_it_loses_nothing_over_white_noise():
    messages, y = received(CODE, 3, 5000, 2)
    llrs = gaussian_llrs(y, 10**-0.3)
    burst = error_rate(decoders.decoder("bcjr-burst", CODE), messages, llrs)
    assert burst < 1.02 * error_rate(decoders.decoder("bcjr", CODE), messages, llrs)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_posteriors_are_those_of_the_plain_joint_recursion(length):
    """With the right chain, against the trainer's: written by other hands, in torch."""
    torch = pytest.importorskip("torch")
    from gnuradio.neuralfec.sequence.trellis import Trellis

    pulses, code = Pulses(0.1, length, 6.0), codes.code("conv:7,5:30")
    _, y = received(code, 3, 40, 3, pulses)
    chain, stationary = (a.astype(float) for a in pulses.chain())
    variance = 10**-0.3 + pulses.power * (np.arange(length + 1) > 0)
    # Theirs starts with the state of the first symbol, after a step from the stationary one.
    noise = NoiseChain(1.0, variance, stationary, chain)
    found, _ = BurstBcjrDecoder(code, length + 1).posteriors(y, noise)
    memory = 2
    padded = np.full((len(y), 30 + memory, 2), -1, dtype=np.float32)
    padded[:, memory:] = y.reshape(len(y), 30, 2)
    known = torch.zeros(1, 30 + memory, 1, dtype=torch.bool)
    known[:, :memory] = True
    expected = Trellis([0o7, 0o5], None).posterior_in_pulses(
        torch.from_numpy(padded),
        torch.full((len(y), 1, 1), float(np.float32(10**-0.3))),
        known.expand(len(y), -1, 1),
        pulses,
    )
    np.testing.assert_allclose(
        1 / (1 + np.exp(-found.astype(float))), expected[:, memory:], atol=2e-4
    )


def test_the_scale_does_not_matter():
    messages, y = received(CODE, 5, 100, 4, Pulses())
    decoder = decoders.decoder("bcjr-burst:3", CODE)
    decided, _ = decoder.decode(y)
    for scale in (2e-4, 8.0, 3e5):
        assert np.mean(decoder.decode(scale * y)[0] != decided) < 1e-3
    assert np.mean(decided != messages) < 0.02


@pytest.mark.parametrize(
    "values",
    [np.zeros, lambda shape: np.full(shape, np.nan), lambda shape: np.full(shape, 3e38)],
    ids=["zeros", "NaN", "huge"],
)
def test_frames_without_a_meaning(values):
    llrs = values((3, CODE.n)).astype(np.float32)
    posteriors, stats = BurstBcjrDecoder(CODE).posteriors(llrs)
    assert np.isfinite(posteriors).all()
    assert stats["bad_samples"] == np.count_nonzero(~np.isfinite(llrs))
    assert BurstBcjrDecoder(CODE).decode(llrs[:0])[0].shape == (0, 100)


def test_refuses():
    for spec in ("bcjr-burst:1", "bcjr-burst:5", "bcjr-burst:two"):
        with pytest.raises(ValueError, match="2, 3 or 4 states"):
            decoders.decoder(spec, CODE)
    with pytest.raises(ValueError, match="none or zero"):
        decoders.decoder("bcjr-burst", codes.code("conv:7,5:100:tail-biting"))
    with pytest.raises(ValueError, match="convolutional code"):
        decoders.decoder("bcjr-burst", codes.code("bch:31,16"))
    with pytest.raises(ValueError, match="shape"):
        decoders.decoder("bcjr-burst", CODE).decode(np.zeros((2, 203), np.float32))
    with pytest.raises(ValueError, match="variances above 0"):
        noise = NoiseChain(1.0, np.array([0.0, 1.0]), np.array([0.5, 0.5]), np.full((2, 2), 0.5))
        BurstBcjrDecoder(CODE).posteriors(np.zeros((1, 204)), noise)
