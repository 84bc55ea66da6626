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
from torch import Tensor, nn

# Rounds looked back on, this one included, and numbers a group and round.
ROUNDS, NUMBERS = 3, 2
INPUTS = ROUNDS * NUMBERS + 1
# How codes run whose transmitter is asked, by whom they were trained to be stopped.
ASKED = {"transmitter": "transmitter", "receiver": "hybrid"}


class TerminationNetwork(nn.Module):
    """Inputs (n, 7) of a group to log-odds (n,) that its decision is right.

    Inputs: (belief in the true pattern, largest in another) of this round and the two before,
    0 before the first; round / 10.
    """

    def __init__(self, hidden: int):
        super().__init__()
        self.layer1 = nn.Linear(INPUTS, hidden)
        self.layer2 = nn.Linear(hidden, hidden)
        self.layer3 = nn.Linear(hidden, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        h = torch.relu(self.layer2(torch.relu(self.layer1(inputs))))
        return self.layer3(h)[:, 0]


class Witness:
    """What the transmitter remembers of the beliefs that came back, a row a block."""

    def __init__(self, capacity: int, groups: int):
        self.history = np.zeros((capacity, groups, ROUNDS * NUMBERS), np.float32)

    def start(self, slots: np.ndarray) -> None:
        self.history[slots] = 0

    def observe(
        self, slots: np.ndarray, beliefs: np.ndarray, labels: np.ndarray, rounds: np.ndarray
    ) -> np.ndarray:
        """Beliefs (n, Q, 2^m) of the rounds just sent, (n,), to inputs (n, Q, 7)."""
        true = np.take_along_axis(beliefs, labels[:, :, None], 2)
        others = beliefs.copy()
        np.put_along_axis(others, labels[:, :, None], -np.inf, 2)
        seen = np.concatenate((true, others.max(2, keepdims=True)), 2)
        history = np.concatenate((seen, self.history[slots][:, :, :-NUMBERS]), 2)
        self.history[slots] = history
        clock = np.broadcast_to(np.float32(rounds / 10)[:, None, None], (*labels.shape, 1))
        return np.concatenate((history, clock), 2)


def log_probability(network: TerminationNetwork, inputs: np.ndarray) -> np.ndarray:
    """Log-probability (n,) that all decisions of a block are right; inputs (n, Q, 7)."""
    with torch.inference_mode():
        odds = network(torch.from_numpy(inputs.reshape(-1, INPUTS))).double()
        return nn.functional.logsigmoid(odds).reshape(inputs.shape[:2]).sum(1).numpy()


def collect(code, setting, blocks: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, 7) and whether the decision was right, (n,), of all groups in all rounds of
    blocks that the fixed rule ends at setting.transmitter_threshold."""
    from ..evaluation import Population

    population = Population(code, setting, blocks, rng)
    encoder, decoder = population.encoder, population.decoder
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

    encoder.agrees = recording
    while population.active.size:
        population.step()
    return np.concatenate(inputs), np.concatenate(right)


def train(
    network: TerminationNetwork,
    inputs: np.ndarray,
    right: np.ndarray,
    steps: int,
    seed: int,
    batch: int = 8192,
) -> float:
    """Minimises the cross-entropy by Adam, cosine to 0; returns its mean over the last tenth."""
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
    from ... import models, provenance
    from .. import evaluation, files
    from .code import Code
    from .network import FeedbackCode

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
        module, card = files.load_module(arguments.model)
        made_for = evaluation.Setting(**card.parameters["setting"])
        if module.code.termination == "none":
            raise ValueError(f"{arguments.model} is of a fixed length")
        setting = evaluation.override(
            made_for,
            feedback_snr_db=arguments.feedback_snr,
            termination=ASKED[module.code.termination],
            transmitter_threshold=0.9,
        )
        rng = np.random.default_rng(arguments.seed)
        code = Code(module, files.default_engine())
        parts = [
            collect(code, setting, min(2048, arguments.blocks - done), rng)
            for done in range(0, arguments.blocks, 2048)
        ]
        inputs, right = (np.concatenate(part) for part in zip(*parts, strict=True))
        torch.manual_seed(arguments.seed)
        network = TerminationNetwork(arguments.hidden)
        loss = train(network, inputs, right, arguments.steps, arguments.seed)
        print(f"{len(right)} decisions, {(~right).sum()} wrong; cross-entropy {loss:.3e}")
        p = dataclasses.replace(module.code, termination_hidden=arguments.hidden)
        whole = FeedbackCode(p)
        whole.load_state_dict(module.state_dict(), strict=False)
        whole.termination.load_state_dict(network.state_dict())
        setting = dataclasses.replace(setting, transmitter_threshold=arguments.probability)
        code = Code(whole.eval(), files.default_engine())
        # Other blocks go on than by the old rule, and power is of the symbols sent.
        evaluation.estimate_statistics(
            code, setting, arguments.statistics_blocks, rng, sent_only=True
        )
        code.store_statistics(whole)
        measured = evaluation.evaluate(code, setting, arguments.evaluation_blocks, rng)
        files.save(
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
        print(f"termination: {error}", file=sys.stderr)
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
