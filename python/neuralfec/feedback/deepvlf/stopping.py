# SPDX-License-Identifier: GPL-3.0-or-later
"""The transmitter's learned rule to stop: ``python -m neuralfec.feedback.deepvlf.stopping``.

DeepVLF-T stops when every belief, as it came back through noise, has its largest entry at the
true pattern and above a fixed threshold (Definition 8); Sec. IV-B leaves a learned rule open.
Here a small network reads, of each group, what came back in this round and the two before:
belief in the true pattern, and the largest in another. Its output is the log-odds that the
receiver would decide the group rightly, and the transmitter stops when

    sum_q log sigmoid(o_q) > log(eta)

eta, the probability of a right block, takes the place of the threshold. The network is trained
by the cross-entropy of what the receiver's decision really was, a proper score, over rounds
of blocks that the fixed rule ends late; the code's networks stay as they are.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ... import models, provenance
from .. import evaluation
from ..setting import Setting
from . import model
from .code import DeepvlfCode, DeepvlfEncoder
from .network import FeedbackCode, StoppingNetwork
from .power import estimate_statistics
from .witness import INPUTS, Witness

# How codes run whose transmitter is asked, by whom they were trained to be stopped.
ASKED = {"transmitter": "transmitter", "receiver": "hybrid"}


def collect(
    code: DeepvlfCode, setting: Setting, blocks: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Collect inputs (n, 7) and whether decisions were right, (n,), of all groups in all rounds.

    The fixed rule ends the blocks, at setting.transmitter_threshold.
    """
    population = evaluation.Population(code, setting, blocks, rng)
    encoder, decoder = population.encoder, population.decoder
    assert isinstance(encoder, DeepvlfEncoder)
    witness = Witness(blocks, code.parameters.groups)
    inputs, right = [], []
    fixed = encoder.agrees_above

    def recording(slots: np.ndarray, samples: np.ndarray, threshold: float) -> np.ndarray:
        labels = encoder.labels[slots]
        beliefs = encoder.beliefs_of(samples)
        seen = witness.observe(slots, beliefs, labels, encoder.rounds[slots])
        inputs.append(seen.reshape(-1, INPUTS))
        right.append((decoder.decisions(slots) == labels).ravel())
        return fixed(slots, samples, threshold)

    encoder.agrees = recording  # type: ignore[method-assign]
    while population.active.size:
        population.step()
    return np.concatenate(inputs), np.concatenate(right)


def train(
    network: StoppingNetwork,
    inputs: np.ndarray,
    right: np.ndarray,
    steps: int,
    seed: int,
    batch: int = 8192,
) -> float:
    """Minimise the cross-entropy by Adam, cosine to 0; returns its mean over the last tenth."""
    generator = torch.Generator().manual_seed(seed)
    x, target = torch.from_numpy(inputs), torch.from_numpy(right).float()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    last = []
    for step in range(steps):
        chosen = torch.randint(len(x), (batch,), generator=generator)
        loss = nn.functional.binary_cross_entropy_with_logits(network(x[chosen]), target[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step >= steps - max(1, steps // 10):
            last.append(loss.item())
    return float(np.mean(last))


def main(argv: list[str] | None = None) -> int:
    """Train a rule by a command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", help="code of DeepVLF-T, or -R, which then runs as the hybrid")
    parser.add_argument("output", type=Path, help="model file to write: the code with this rule")
    parser.add_argument("--feedback-snr", type=float, default=20.0, help="in dB")
    parser.add_argument("--probability", type=float, default=0.999, help="eta to use unless told")
    parser.add_argument("--blocks", type=int, default=16384)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--statistics-blocks", type=int, default=32768)
    parser.add_argument("--evaluation-blocks", type=int, default=16384)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    start = time.monotonic()
    try:
        module, card = model.load_module(arguments.model)
        made_for = Setting.from_card(card.parameters["setting"])
        if module.code.termination == "none":
            raise ValueError(f"{arguments.model} is of a fixed length")
        setting = made_for.with_(
            feedback_snr_db=arguments.feedback_snr,
            termination=ASKED[module.code.termination],
            transmitter_threshold=0.9,
        )
        rng = np.random.default_rng(arguments.seed)
        code = DeepvlfCode.of(module)
        parts = [
            collect(code, setting, min(2048, arguments.blocks - done), rng)
            for done in range(0, arguments.blocks, 2048)
        ]
        inputs, right = (np.concatenate(part) for part in zip(*parts, strict=True))
        torch.manual_seed(arguments.seed)
        network = StoppingNetwork(arguments.hidden)
        loss = train(network, inputs, right, arguments.steps, arguments.seed)
        print(f"{len(right)} decisions, {(~right).sum()} wrong; cross-entropy {loss:.3e}")
        p = dataclasses.replace(module.code, termination_hidden=arguments.hidden)
        whole = FeedbackCode(p)
        whole.load_state_dict(module.state_dict(), strict=False)
        whole.termination.load_state_dict(network.state_dict())
        setting = dataclasses.replace(setting, transmitter_threshold=arguments.probability)
        code = DeepvlfCode.of(whole.eval())
        # Other blocks go on than by the old rule, and power is of the symbols sent.
        estimate_statistics(code, setting, arguments.statistics_blocks, rng, sent_only=True)
        whole.set_statistics(code.statistics())
        measured = evaluation.evaluate(code, setting, arguments.evaluation_blocks, rng)
        model.save(
            arguments.output,
            whole,
            setting,
            name=arguments.output.stem,
            statistics_blocks=arguments.statistics_blocks,
            statistics_over="symbols sent",
            training=models.Training(
                command=provenance.command(),
                commit=provenance.commit(),
                seed=arguments.seed,
                steps=arguments.steps,
                device=f"cpu, {(time.monotonic() - start) / 60:.1f} minutes; the code itself: "
                f"{card.training.command}, {card.training.device}",
            ),
            measured=measured,
        )
    except (ValueError, OSError) as error:
        print(f"stopping: {error}", file=sys.stderr)
        return 1
    low, high = measured["block_error_rate_interval"]
    print(
        f"{arguments.output}: eta {arguments.probability}: BLER "
        f"{measured['block_error_rate']:.2e} [{low:.1e}, {high:.1e}], "
        f"{measured['average_rounds']:.3f} rounds"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
