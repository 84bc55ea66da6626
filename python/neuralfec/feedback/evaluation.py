# SPDX-License-Identifier: GPL-3.0-or-later
"""Error rate, rounds, rate and power of a feedback code over simulated channels.

Forward channel (eq. 1): y = x + w, w of variance sigma_f^2 = 10^(-SNR/10) a real symbol;
feedback channel (eq. 2): the fed back symbol plus noise of variance sigma_b^2. Masks and
stop flags arrive; ``session`` is where they are messages that can get lost.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from ..simulation import clopper_pearson
from . import fading
from .deepvlf.code import Code

TERMINATIONS = ("receiver", "transmitter", "hybrid", "none")
CHANNELS = ("awgn", "tdl-c")
# Counts that only intervals are made of.
_SUMS = ("_squared", "_energy", "_estimate")


@dataclasses.dataclass(frozen=True)
class Setting:
    """An operating point.

    snr_db: forward SNR 1 / sigma_f^2. feedback_snr_db: None for noiseless feedback.
    termination: "receiver" (DeepVLF-R), "transmitter" (DeepVLF-T), "hybrid" (Sec. IV-C2)
    or "none" (fixed length). threshold: gamma, of the receiver. transmitter_threshold: of
    Definition 8. channel: "awgn", or "tdl-c" for fading that the receiver equalises.
    """

    snr_db: float
    feedback_snr_db: float | None = None
    termination: str = "receiver"
    threshold: float | None = None
    transmitter_threshold: float | None = None
    channel: str = "awgn"

    def __post_init__(self):
        if self.termination not in TERMINATIONS:
            raise ValueError(f"expected a termination of {TERMINATIONS}, got {self.termination!r}")
        if self.channel not in CHANNELS:
            raise ValueError(f"expected a channel of {CHANNELS}, got {self.channel!r}")
        if self.decides_at_receiver and not (self.threshold is not None and 0 < self.threshold < 1):
            raise ValueError(
                f"termination {self.termination!r} expects a threshold in (0, 1), "
                f"got {self.threshold}"
            )
        if self.asks_transmitter and not (
            self.transmitter_threshold is not None and 0 <= self.transmitter_threshold < 1
        ):
            raise ValueError(
                f"termination {self.termination!r} expects a transmitter threshold in [0, 1), "
                f"got {self.transmitter_threshold}"
            )
        for name in ("snr_db", "feedback_snr_db"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"expected a finite {name}, got {value}")

    @property
    def decides_at_receiver(self) -> bool:
        return self.termination in ("receiver", "hybrid")

    @property
    def asks_transmitter(self) -> bool:
        return self.termination in ("transmitter", "hybrid")

    @property
    def noise_deviation(self) -> float:
        return 10 ** (-self.snr_db / 20)

    @property
    def feedback_deviation(self) -> float:
        return 0.0 if self.feedback_snr_db is None else 10 ** (-self.feedback_snr_db / 20)


def published_threshold(termination: str, feedback_snr_db: float | None) -> float | None:
    """The published choice: any belief will do without noise; 0.7 (T) or 0.9 (hybrid) with it."""
    if termination == "hybrid":
        return 0.9
    if termination == "transmitter":
        return 0.0 if feedback_snr_db is None else 0.7
    return None


def override(
    setting: Setting,
    *,
    snr_db: float | None = None,
    feedback_snr_db: float | None = None,
    termination: str | None = None,
    threshold: float | None = None,
    transmitter_threshold: float | None = None,
    channel: str | None = None,
) -> Setting:
    """The setting with what is given in place of its own; an infinite feedback SNR is noiseless.

    A new termination or feedback SNR takes the published transmitter threshold with it.
    """
    termination = termination or setting.termination
    back = setting.feedback_snr_db if feedback_snr_db is None else feedback_snr_db
    back = None if back == math.inf else back
    if transmitter_threshold is None:
        same = (termination, back) == (setting.termination, setting.feedback_snr_db)
        transmitter_threshold = (
            setting.transmitter_threshold if same else published_threshold(termination, back)
        )
    return Setting(
        snr_db=setting.snr_db if snr_db is None else snr_db,
        feedback_snr_db=back,
        termination=termination,
        threshold=setting.threshold if threshold is None else threshold,
        transmitter_threshold=transmitter_threshold,
        channel=channel or setting.channel,
    )


def check(code: Code, setting: Setting) -> None:
    """ValueError if the code was not made for this termination."""
    trained = code.parameters.termination
    served = {
        "receiver": ("receiver", "hybrid"),
        "transmitter": ("transmitter", "none"),
        "none": ("none",),
    }[trained]
    if setting.termination not in served:
        raise ValueError(
            f"a code trained for termination by {trained!r} serves {served}, "
            f"got {setting.termination!r}"
        )
    # What only some kinds of code ask for.
    if hasattr(code, "check"):
        code.check(setting)


class Population:
    """Blocks that go through their rounds together over simulated channels.

    step() is one round of those that are not finished. active: their slots. group_rounds:
    (blocks, Q) rounds in which a symbol of the group was sent. checks: transmitter checks,
    each of which costs a stop flag on the forward link. feedback_symbols, feedback_energy: of
    analog feedback, for the groups that go on.
    """

    def __init__(self, code: Code, setting: Setting, blocks: int, rng: np.random.Generator):
        check(code, setting)
        p = code.parameters
        self.code, self.setting, self.rng = code, setting, rng
        self.encoder, self.decoder = code.encoder(blocks), code.decoder(blocks)
        self.messages = rng.integers(0, 2, (blocks, p.message_bits), np.uint8)
        self.active = np.arange(blocks)
        self.encoder.start(self.active, self.messages)
        self.decoder.start(self.active)
        self.group_rounds = np.zeros((blocks, p.groups), np.int64)
        self.energy = np.zeros(blocks)
        self.checks = 0
        self.feedback_symbols, self.feedback_energy = 0, 0.0
        self.gains = (
            fading.gains(rng, blocks, p.rounds, p.groups) if setting.channel == "tdl-c" else None
        )

    def step(self) -> None:
        self.transmit(self.encoder.encode(self.active))

    def transmit(self, x: np.ndarray) -> None:
        """The rest of a round, given the symbols of the active blocks, (n, Q)."""
        p, setting, rng, active = self.code.parameters, self.setting, self.rng, self.active
        sent = ~self.encoder.decoded[active]
        self.group_rounds[active] += sent
        self.energy[active] += np.square(x, dtype=np.float64).sum(1)
        noise = rng.standard_normal(x.shape, np.float32) * np.float32(setting.noise_deviation)
        if self.gains is not None:
            noise /= self.gains[active, self.encoder.rounds[active] - 1]
        y = (x + noise) * sent
        threshold = setting.threshold if setting.decides_at_receiver else None
        decoded = self.decoder.decode(active, y, threshold)
        feedback = back = self.decoder.feedback(active, y)
        if setting.feedback_deviation:
            back = back + rng.standard_normal(x.shape, np.float32) * np.float32(
                setting.feedback_deviation
            )
        round = self.encoder.rounds[active[0]]
        hybrid = setting.termination == "hybrid"
        if setting.asks_transmitter and (not hybrid or round >= p.first_decision):
            self.checks += len(active)
            samples = self.decoder.belief_samples(active)
            samples += rng.standard_normal(samples.shape, np.float32) * np.float32(
                setting.feedback_deviation
            )
            stop = self.encoder.agrees(active, samples, setting.transmitter_threshold)
            decoded = decoded | stop[:, None]
        self.encoder.observe(active, back, decoded)
        self.active = active[~decoded.all(1)] if round < p.rounds else active[:0]
        if self.active.size and feedback.dtype.kind == "f":
            self.feedback_symbols += int((~decoded).sum())
            self.feedback_energy += float(np.square(feedback[~decoded], dtype=np.float64).sum())


def simulate(code: Code, setting: Setting, blocks: int, rng: np.random.Generator) -> dict:
    """Counts of `blocks` blocks.

    Returns blocks, bits, block_errors, bit_errors, symbols (really sent), energy (of them),
    rounds (the longest of each block, summed), stop_flags (transmitter checks),
    feedback_symbols and feedback_energy (of analog feedback; beliefs that a transmitter asks
    for are not in it), and sums of squares for intervals: symbols_squared, energy_squared,
    symbols_energy. Of a code with digital feedback also feedback_bits, and of belief-driven
    ones those of ``BeliefCode.posterior_counts``.
    """
    population = Population(code, setting, blocks, rng)
    while population.active.size:
        population.step()
    return counts(population)


def counts(population: Population) -> dict:
    """What ``simulate`` returns, of a population that is through its rounds."""
    code, blocks = population.code, len(population.messages)
    decided = code.bits(population.decoder.decisions(np.arange(blocks)))
    wrong = (decided != population.messages).sum(1)
    symbols = population.group_rounds.sum(1).astype(np.float64)
    energy = population.energy
    total = {
        "blocks": blocks,
        "bits": blocks * code.parameters.message_bits,
        "block_errors": int((wrong > 0).sum()),
        "bit_errors": int(wrong.sum()),
        "symbols": int(symbols.sum()),
        "energy": float(energy.sum()),
        "rounds": int(population.group_rounds.max(1).sum()),
        "stop_flags": population.checks,
        "feedback_symbols": population.feedback_symbols,
        "feedback_energy": population.feedback_energy,
        "symbols_squared": float((symbols**2).sum()),
        "energy_squared": float((energy**2).sum()),
        "symbols_energy": float((symbols * energy).sum()),
    }
    # What only a code that knows the receiver's posterior can say.
    if hasattr(code, "posterior_counts"):
        total |= code.posterior_counts(population.encoder, population.decoder)
    if getattr(code, "payload_bytes", 0):
        total["feedback_bits"] = total["symbols"] * code.parameters.feedback_bits
    return total


def evaluate(
    code: Code, setting: Setting, blocks: int, rng: np.random.Generator, batch: int = 2048
) -> dict:
    """``simulate`` over batches, with the rates made of its counts: see ``report``."""
    total = sum_batches(lambda size: simulate(code, setting, size, rng), blocks, batch)
    return report(code, setting, total)


def sum_batches(simulate_batch: Callable[[int], dict], blocks: int, batch: int) -> dict:
    """Counts of `blocks` blocks, simulated at most `batch` at once."""
    if blocks < 1:
        raise ValueError(f"expected at least 1 block, got {blocks}")
    total: dict = {}
    while (done := total.get("blocks", 0)) < blocks:
        counts = simulate_batch(min(batch, blocks - done))
        total = {name: total.get(name, 0) + value for name, value in counts.items()}
    return total


def report(code: Code, setting: Setting, counts: dict) -> dict:
    """What the counts of ``simulate`` say, intervals of 95 %.

    average_rounds: symbols sent a group. rate: message bits a symbol sent; the one with stop
    flag charges each check of the transmitter one more symbol of the forward link. mean_power:
    of the symbols sent; feedback_power: of analog feedback. capacity: 0.5 log2(1 + SNR) at the
    nominal SNR; real_snr_db and capacity_at_real_snr count the power that was really sent.
    block_error_rate_by_posterior: see ``BeliefCode.posterior_counts``. Intervals:
    Clopper-Pearson for error rates, normal ones for averages.
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
    snr = 10 ** (setting.snr_db / 10)
    rounds = mean_symbols / p.groups
    rounds_half = 1.96 * deviation / p.groups
    result = {
        **{key: value for key, value in counts.items() if not key.endswith(_SUMS)},
        "block_error_rate": errors / n,
        "block_error_rate_interval": list(clopper_pearson(errors, n)[1:]),
        "average_rounds": rounds,
        "average_rounds_interval": [rounds - rounds_half, rounds + rounds_half],
        "average_block_rounds": counts["rounds"] / n,
        "rate": counts["bits"] / symbols,
        "rate_interval": [
            p.group_bits / (rounds + rounds_half),
            p.group_bits / (rounds - rounds_half),
        ],
        "rate_with_stop_flag": counts["bits"] / (symbols + counts["stop_flags"]),
        "mean_power": power,
        "mean_power_interval": [power - 1.96 * power_deviation, power + 1.96 * power_deviation],
        "feedback_power": counts["feedback_energy"] / max(counts["feedback_symbols"], 1),
        "capacity": 0.5 * math.log2(1 + snr),
        "real_snr_db": setting.snr_db + 10 * math.log10(power),
        "capacity_at_real_snr": 0.5 * math.log2(1 + snr * power),
    }
    if "error_estimate" in counts:
        estimate = counts["error_estimate"] / n
        spread = 1.96 * math.sqrt(max(counts["estimate_squared"] / n - estimate**2, 0) / n)
        result["block_error_rate_by_posterior"] = estimate
        result["block_error_rate_by_posterior_interval"] = [
            max(estimate - spread, 0.0),
            estimate + spread,
        ]
    return result


def estimate_statistics(
    code: Code, setting: Setting, blocks: int, rng: np.random.Generator, sent_only: bool
) -> None:
    """Sets the statistics of the power normalisation in `code`, per round and position.

    All `blocks` blocks take each round together: its statistics are taken first, and the
    symbols that they give go on to the next. Below 32 thousand blocks the estimates are so
    rough that the code gets longer. sent_only: over the symbols that are sent, which is
    eq. 6; else over all groups, the decoded ones too, as the published networks were made.
    """
    if blocks < 2:
        raise ValueError(f"expected at least 2 blocks to estimate from, got {blocks}")
    # The published statistics of a code that its transmitter stops are of blocks that go on.
    if setting.termination == "transmitter" and not sent_only:
        setting = dataclasses.replace(setting, termination="none", transmitter_threshold=None)
    every = np.arange(blocks)
    population = Population(code, setting, blocks, rng)
    encoder = population.encoder
    code.received_deviation = np.hypot(code.weight, np.float32(setting.noise_deviation))
    for round in range(code.parameters.rounds):
        active = population.active if sent_only else every
        if active.size == 0:
            break
        outputs = np.full((blocks, code.parameters.groups), np.nan, np.float32)
        outputs[active] = encoder.outputs(active)
        counted = outputs.astype(np.float64)
        if sent_only:
            counted[encoder.decoded] = np.nan
        number = (~np.isnan(counted)).sum(0)
        for q in range(code.parameters.groups):
            # A deviation of a handful of samples may be near 0 and the symbols then huge: what
            # the round before had is the better estimate.
            if number[q] >= 64 or (round == 0 and number[q] > 1):
                column = counted[~np.isnan(counted[:, q]), q]
                code.mean[round, q] = column.mean()
                code.deviation[round, q] = column.std(ddof=1)
            elif round:
                code.mean[round, q] = code.mean[round - 1, q]
                code.deviation[round, q] = code.deviation[round - 1, q]
        if population.active.size:
            population.transmit(encoder.normalise(population.active, outputs[population.active]))
