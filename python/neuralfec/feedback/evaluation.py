# SPDX-License-Identifier: GPL-3.0-or-later
"""Error rate, erasures, rounds, rate and power of a feedback code over simulated channels.

Forward channel (eq. 1): y = x + w, w of variance sigma_f^2 = 10^(-SNR/10) a real symbol;
feedback channel (eq. 2): the symbol fed back plus noise of variance sigma_b^2. Masks and
stop flags arrive; ``session`` is where they are messages that can get lost. Over fading y is
divided by the channel's gain, which the receiver knows; a code with digital feedback uses the
noise variance of each symbol and tells it back, in `fading.TOLD_BITS` bits, and both ends give a
block up, where blocks may be erased, once its channel cannot carry it (`fading.hopeless`).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..simulation import Estimate, clopper_pearson
from . import fading
from .code import AskedEncoder, AskingDecoder, Code
from .setting import Setting

# Counts that only intervals are made of.
_SUMS = ("_squared", "_energy", "_estimate")


class Population:
    """Take blocks through their rounds together over simulated channels.

    Parameters
    ----------
    code, setting, blocks, rng : as of `simulate`
    apart : whether the ends share nothing, as they would at two places; `Code.pair` if not
    copies : how often a symbol is sent before something comes back; the receiver takes the mean

    Attributes
    ----------
    active : slots of the blocks that are not over
    symbols : (blocks, P) int64, sent at each place of a round
    energy : (blocks,) float64, energy of them
    checks : times that a transmitter was asked, each of which costs a stop flag on the
        forward link
    feedback_symbols, feedback_energy : of analog feedback, for the groups that go on
    told_bits : of digital feedback, that tell the noise variance of one symbol
    decided : (blocks,) bool, blocks that have been ended before the rounds were
    carried : (blocks,) float64, bits that the symbols so far could have carried, by the told
        noise variances
    given_up : (blocks,) bool, blocks that both ends have given up
    """

    def __init__(
        self,
        code: Code,
        setting: Setting,
        blocks: int,
        rng: np.random.Generator,
        apart: bool = True,
        copies: int = 1,
    ):
        code.check(setting)
        p = code.parameters
        self.code, self.setting, self.rng, self.copies = code, setting, rng, copies
        self.encoder, self.decoder = (
            (code.encoder(blocks), code.decoder(blocks)) if apart else code.pair(blocks)
        )
        self.messages = rng.integers(0, 2, (blocks, p.message_bits), np.uint8)
        self.active = np.arange(blocks)
        self.encoder.start(self.active, self.messages)
        self.decoder.start(self.active)
        self.symbols = np.zeros((blocks, p.places), np.int64)
        self.energy = np.zeros(blocks)
        self.checks = 0
        self.feedback_symbols, self.feedback_energy = 0, 0.0
        self.decided = np.zeros(blocks, bool)
        self.carried = np.zeros(blocks)
        self.given_up = np.zeros(blocks, bool)
        self.told_bits = fading.TOLD_BITS * (setting.fades and code.takes_variances)
        self.gains = (
            fading.gains(setting.channel, rng, blocks, p.rounds, p.places)
            if setting.fades
            else None
        )

    def step(self) -> None:
        """Take one round of the blocks that are not over."""
        self.transmit(self.encoder.encode(self.active))

    def transmit(self, x: np.ndarray) -> None:
        """Take the rest of a round, given the symbols of the active blocks, (n, P)."""
        p, setting, rng, active = self.code.parameters, self.setting, self.rng, self.active
        sent = self.encoder.sent[active]
        self.symbols[active] += self.copies * sent
        self.energy[active] += self.copies * np.square(x, dtype=np.float64).sum(1)
        deviation = setting.noise_deviation / math.sqrt(self.copies)
        noise = rng.standard_normal(x.shape, np.float32) * np.float32(deviation)
        known: dict[str, Any] = {}
        if self.gains is not None:
            gains = self.gains[active, self.encoder.rounds[active] - 1]
            noise /= gains
            if self.told_bits:
                known["noise_variance"] = fading.told((setting.noise_deviation / gains) ** 2)
        y = (x + noise) * sent
        threshold = setting.threshold if setting.decides_at_receiver else None
        decoded = self.decoder.decode(active, y, threshold, **known)
        feedback = back = self.decoder.feedback(active, y, **known)
        if setting.feedback_deviation:
            back = back + rng.standard_normal(x.shape, np.float32) * np.float32(
                setting.feedback_deviation
            )
        round = self.encoder.rounds[active[0]]
        hybrid = setting.termination == "hybrid"
        stopped = np.zeros(len(active), bool)
        if setting.asks_transmitter and (not hybrid or round >= p.first_decision):
            self.checks += len(active)
            # A code's own `check` has refused settings that ask others.
            assert isinstance(self.encoder, AskedEncoder)
            assert isinstance(self.decoder, AskingDecoder)
            assert setting.transmitter_threshold is not None
            samples = self.decoder.belief_samples(active)
            samples += rng.standard_normal(samples.shape, np.float32) * np.float32(
                setting.feedback_deviation
            )
            stopped = self.encoder.agrees(active, samples, setting.transmitter_threshold)
            decoded = decoded | stopped[:, None]
        self.encoder.observe(active, back, decoded, **known)
        self.decided[active] = decoded.all(1)
        over = self.decoder.over(active) | stopped
        if known and setting.fades:
            fresh = fading.capacity(known["noise_variance"])
            self.carried[active] += fresh
            left = p.rounds - self.encoder.rounds[active]
            hopeless = fading.hopeless(self.carried[active], fresh, left, p.message_bits)
            self.given_up[active] = hopeless & ~over
            over |= hopeless
        self.active = active[~over]
        if self.active.size and feedback.dtype.kind == "f":
            # `active` has become shorter, and the mask of what is stopped is the transmitter's.
            told = self.decoder.replies(active) & ~stopped[:, None]
            self.feedback_symbols += int(told.sum())
            self.feedback_energy += float(np.square(feedback[told], dtype=np.float64).sum())

    def erased(self) -> np.ndarray:
        """Return which blocks are declared lost, (blocks,) bool, of blocks that are over."""
        declared = self.decoder.erased(np.arange(len(self.messages))) | self.given_up
        setting = self.setting
        if not setting.fades or self.code.confirms or setting.termination == "none":
            return declared
        return declared | ~self.decided


def capacity(snr_db: float) -> float:
    """Return 0.5 log2(1 + SNR), bits a real symbol."""
    return 0.5 * math.log2(1 + 10 ** (snr_db / 10))


def simulate(
    code: Code,
    setting: Setting,
    blocks: int,
    rng: np.random.Generator,
    apart: bool = True,
    copies: int = 1,
) -> dict:
    """Simulate blocks and count.

    Parameters
    ----------
    code, setting : what is simulated; ValueError where they do not fit
    blocks : how many
    rng : of messages and noise
    apart : False lets the ends share what they hold alike, for the same counts in less time
    copies : how often a symbol is sent before something comes back, see `Population`

    Returns
    -------
    Sums, so that those of several calls can be added: blocks; bits of their messages;
    block_errors and bit_errors (undetected: of blocks that the receiver took for right);
    erasures (blocks that it declared lost, none of which is in block_errors); symbols really
    sent, their energy, rounds; stop_flags; feedback_symbols and feedback_energy of analog
    feedback (beliefs that a transmitter asks for are not in it); symbols_squared,
    energy_squared and symbols_energy for intervals; feedback_bits of digital feedback; and
    what the code counts besides, see `Code.counts`.
    """
    population = Population(code, setting, blocks, rng, apart, copies)
    while population.active.size:
        population.step()
    return counts(population)


def counts(population: Population) -> dict:
    """Count what `simulate` returns, of a population whose blocks are over."""
    code, blocks = population.code, len(population.messages)
    every = np.arange(blocks)
    decided = code.bits(population.decoder.decisions(every))
    erased = population.erased()
    wrong = (decided != population.messages).sum(1) * ~erased
    symbols = population.symbols.sum(1).astype(np.float64)
    energy = population.energy
    total = {
        "blocks": blocks,
        "bits": blocks * code.parameters.message_bits,
        "block_errors": int((wrong > 0).sum()),
        "bit_errors": int(wrong.sum()),
        "erasures": int(erased.sum()),
        "symbols": int(symbols.sum()),
        "energy": float(energy.sum()),
        "rounds": int(population.encoder.rounds.sum()),
        "stop_flags": population.checks,
        "feedback_symbols": population.feedback_symbols,
        "feedback_energy": population.feedback_energy,
        "symbols_squared": float((symbols**2).sum()),
        "energy_squared": float((energy**2).sum()),
        "symbols_energy": float((symbols * energy).sum()),
    }
    total |= code.counts(population.encoder, population.decoder, erased)
    if code.feedback_bits:
        bits = code.feedback_bits + population.told_bits
        total["feedback_bits"] = total["symbols"] // population.copies * bits
    return total


def evaluate(
    code: Code,
    setting: Setting,
    blocks: int,
    rng: np.random.Generator,
    batch: int = 2048,
    apart: bool = True,
) -> dict:
    """Simulate in batches and return the report on the counts, see `report`."""
    total = sum_batches(lambda size: simulate(code, setting, size, rng, apart), blocks, batch)
    return report(code, setting, total)


def sum_batches(simulate_batch: Callable[[int], dict], blocks: int, batch: int) -> dict:
    """Sum the counts of `blocks` blocks, simulated at most `batch` at once."""
    if blocks < 1:
        raise ValueError(f"expected at least 1 block, got {blocks}")
    total: dict = {}
    while (done := total.get("blocks", 0)) < blocks:
        counts = simulate_batch(min(batch, blocks - done))
        total = {name: total.get(name, 0) + value for name, value in counts.items()}
    return total


def report(code: Code, setting: Setting, counts: dict) -> dict:
    """Return what the counts of `simulate` say, with intervals of 95 %.

    rate is message bits a symbol sent, of blocks that were not erased: those are sent again.
    rate_with_stop_flag charges each check of the transmitter one more symbol. mean_power is of
    the symbols sent, average_rounds symbols sent a group. capacity is 0.5 log2(1 + SNR) at the
    nominal SNR; real_snr_db and capacity_at_real_snr count the power that was really sent.
    block_error_rate_by_posterior is by the receiver's own posterior, where the code has one.
    Intervals: Clopper-Pearson for error and erasure rates, normal ones for averages.
    """
    p, n = code.parameters, counts["blocks"]
    errors, symbols, energy = counts["block_errors"], counts["symbols"], counts["energy"]
    mean_symbols = symbols / n
    deviation = math.sqrt(max(counts["symbols_squared"] / n - mean_symbols**2, 0) / n)
    power = energy / symbols
    # Of a ratio of averages, to first order.
    power_variance = (
        counts["energy_squared"]
        - 2 * power * counts["symbols_energy"]
        + power**2 * counts["symbols_squared"]
    ) / n
    power_deviation = math.sqrt(max(power_variance, 0) / n) / mean_symbols
    kept = 1 - counts.get("erasures", 0) / n
    rounds = mean_symbols / p.groups
    rounds_half = 1.96 * deviation / p.groups
    result = {
        **{key: value for key, value in counts.items() if not key.endswith(_SUMS)},
        "block_error_rate": errors / n,
        "block_error_rate_interval": list(clopper_pearson(errors, n)[1:]),
        "erasure_rate": 1 - kept,
        "erasure_rate_interval": list(clopper_pearson(counts.get("erasures", 0), n)[1:]),
        "average_rounds": rounds,
        "average_rounds_interval": [rounds - rounds_half, rounds + rounds_half],
        "average_block_rounds": counts["rounds"] / n,
        "rate": kept * counts["bits"] / symbols,
        "rate_interval": [
            kept * p.group_bits / (rounds + rounds_half),
            kept * p.group_bits / (rounds - rounds_half),
        ],
        "rate_with_stop_flag": kept * counts["bits"] / (symbols + counts["stop_flags"]),
        "mean_power": power,
        "mean_power_interval": [power - 1.96 * power_deviation, power + 1.96 * power_deviation],
        "feedback_power": counts["feedback_energy"] / max(counts["feedback_symbols"], 1),
        "capacity": capacity(setting.snr_db),
        "real_snr_db": setting.snr_db + 10 * math.log10(power),
        "capacity_at_real_snr": capacity(setting.snr_db + 10 * math.log10(power)),
    }
    if "error_estimate" in counts:
        estimate, low, high = posterior_error_rate(counts)
        result["block_error_rate_by_posterior"] = estimate
        result["block_error_rate_by_posterior_interval"] = [low, high]
    return result


def posterior_error_rate(counts: dict) -> Estimate:
    """Return the block error rate that the receiver's posterior tells, with a normal interval."""
    n = counts["blocks"]
    mean = counts["error_estimate"] / n
    spread = 1.96 * math.sqrt(max(counts["estimate_squared"] / n - mean**2, 0) / n)
    return Estimate(mean, max(mean - spread, 0.0), mean + spread)
