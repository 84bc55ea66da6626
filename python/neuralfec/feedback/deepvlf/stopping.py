# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains the transmitter's rule to stop, for a code of DeepVLF that is there.

    neuralfec train feedback.deepvlf.stopping learned.pt --init feedback/deepvlf-t-1dB

DeepVLF-T stops when every belief, as it came back through noise, has its largest entry at the
true pattern and above a fixed threshold (Definition 8); Sec. IV-B leaves a learned rule open.
Here a small network reads, of each group, what came back in this round and the two before:
belief in the true pattern, and the largest in another. Its output is the log-odds that the
receiver would decide the group rightly, and the transmitter stops when

    sum_q log sigmoid(o_q) > log(eta)

eta, the probability of a right block, takes the place of the threshold. The network is trained
by the cross-entropy of what the receiver's decision really was, a proper score, over rounds
of blocks that the fixed rule ends late; the code's networks stay as they are. A code of
DeepVLF-R then runs as the hybrid.
"""

import argparse
import dataclasses
import sys

import numpy as np
import torch
from torch import nn

from ...training import Run, parser
from ...training import main as run_main
from .. import evaluation
from ..setting import Setting
from . import model
from .code import DeepvlfCode, DeepvlfEncoder
from .network import FeedbackCode, StoppingNetwork
from .training import add_measuring, export
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


def fit(
    network: StoppingNetwork,
    inputs: np.ndarray,
    right: np.ndarray,
    run: Run,
    options: argparse.Namespace,
    generator: torch.Generator,
) -> None:
    """Minimise the cross-entropy of decisions, of `collect`, by Adam; the rate falls to 0."""
    x, target = torch.from_numpy(inputs), torch.from_numpy(right).float()
    optimizer = torch.optim.Adam(network.parameters(), options.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    for _ in run.steps(options.steps, parts):
        chosen = torch.randint(len(x), (options.batch,), generator=generator)
        loss = nn.functional.binary_cross_entropy_with_logits(network(x[chosen]), target[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        run.report(loss=loss.item())


def train(options: argparse.Namespace) -> None:
    """Train a rule for the code that the options name, and write the code with it."""
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    if options.init is None:
        raise ValueError("expected --init MODEL, the code to train a rule for")
    if options.device != "cpu":
        raise ValueError(f"expected --device cpu, where the code runs, got {options.device}")
    module, card = model.load_module(options.init)
    if module.code.termination == "none":
        raise ValueError(f"{options.init} is of a fixed length")
    setting = Setting.from_card(card.parameters["setting"]).with_(
        feedback_snr_db=options.feedback_snr,
        termination=ASKED[module.code.termination],
        transmitter_threshold=0.9,
    )
    network = StoppingNetwork(options.hidden)
    generator = torch.Generator().manual_seed(options.seed)
    run = Run.of(options, generators={"batches": generator})
    code = DeepvlfCode.of(module)

    def decisions() -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([options.seed, 0])
        parts = [
            collect(code, setting, min(2048, options.blocks - done), rng)
            for done in range(0, options.blocks, 2048)
        ]
        inputs, right = (np.concatenate(part) for part in zip(*parts, strict=True))
        print(f"{len(right)} decisions, {(~right).sum()} wrong", flush=True)
        return {"inputs": torch.from_numpy(inputs), "right": torch.from_numpy(right)}

    known = run.keep("decisions", decisions)
    fit(network, known["inputs"].numpy(), known["right"].numpy(), run, options, generator)
    whole = FeedbackCode(dataclasses.replace(module.code, termination_hidden=options.hidden))
    whole.load_state_dict(module.state_dict(), strict=False)
    whole.termination.load_state_dict(network.state_dict())
    setting = dataclasses.replace(setting, transmitter_threshold=options.probability)
    record = run.record()
    record = dataclasses.replace(
        record,
        device=f"{record.device}; the code itself: {card.training.command}, {card.training.device}",
    )
    # Other blocks go on than by the old rule: the statistics are taken anew.
    export(whole, setting, record, options)


def options_of_stopping() -> argparse.ArgumentParser:
    """Make the parser of this trainer's command line."""
    made = parser(
        __doc__, steps=3000, batch=8192, rate=3e-3, prog="neuralfec train feedback.deepvlf.stopping"
    )
    made.add_argument("--feedback-snr", type=float, default=20.0, help="in dB (default 20)")
    made.add_argument(
        "--probability", type=float, default=0.999, help="eta to use unless told (default 0.999)"
    )
    made.add_argument("--blocks", type=int, default=16384, help="to learn from (default 16384)")
    made.add_argument("--hidden", type=int, default=32, help="width of the rule's network")
    add_measuring(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """Train a rule by a command line; return the exit status, see ``training.main``."""
    return run_main(train, options_of_stopping(), argv)


if __name__ == "__main__":
    sys.exit(main())
