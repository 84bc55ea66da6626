#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether two processes on different SIMD targets hold the same beliefs, bit for bit.

The receiver runs in this process on the best target, the transmitter in another that is held
to each target in turn; symbols and feedback pass through pipes. After every round both ends'
whole tables (log-ratios, classes, candidates, odds, decisions) are compared by their SHA-256.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/belief_agreement.py
"""

import argparse
import hashlib
import os
import subprocess
import sys
import time

import numpy as np
from gnuradio.neuralfec import _kernels, provenance
from gnuradio.neuralfec.feedback.belief import model as belief_model
from gnuradio.neuralfec.feedback.belief.digital import End


def digest(end: End) -> bytes:
    state = hashlib.sha256()
    table = end.table
    parts = [table.log_ratios, table.classes, table.candidates, table.odds, table.decided]
    if end.ledger is not None:
        parts += [end.ledger.places, end.ledger.covered, end.ledger.against, end.ledger.accepted]
    for part in parts:
        state.update(part.tobytes())
    return state.digest()


def transmit(model: str, blocks: int, seed: int, error_target: float) -> None:
    """The child: symbols and digests to stdout, levels from stdin."""
    code, _, _ = belief_model.load(model, error_target=error_target or None)
    p = code.parameters
    out, back = sys.stdout.buffer, sys.stdin.buffer
    encoder = code.encoder(blocks)
    active = np.arange(blocks)
    rng = np.random.default_rng(seed)
    encoder.start(active, rng.integers(0, 2, (blocks, p.message_bits), np.uint8))
    out.write(_kernels.simd_target().encode().ljust(16))
    while active.size:
        x = encoder.encode(active)
        out.write(x.tobytes())
        out.flush()
        levels = np.frombuffer(back.read(x.size), np.uint8).reshape(x.shape)
        encoder.observe(active, levels)
        out.write(digest(encoder))
        # The receiver's rule; a decoder's `over` asks the same of the same state.
        decided = encoder.decoded[active].all(1)
        if encoder.ledger is not None:
            decided = encoder.ledger.accepted[active]
        active = active[~decided & (encoder.rounds[active] < p.rounds)]


def agreement(
    model: str, target: str, blocks: int, seed: int = 1, error_target: float = 0.0
) -> tuple[int, int]:
    """Block rounds and symbols over which the ends agreed; AssertionError where they do not."""
    code, _, _ = belief_model.load(model, error_target=error_target or None)
    p = code.parameters
    child = subprocess.Popen(
        [sys.executable, __file__, "--transmit", model, str(blocks), str(seed), str(error_target)],
        env=os.environ | {"NEURALFEC_SIMD": target},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout.read(16).decode().strip() == target
        decoder = code.decoder(blocks)
        rng = np.random.default_rng(seed + 1)
        deviation = np.float32(p.noise_variance**0.5)
        active = np.arange(blocks)
        decoder.start(active)
        rounds = symbols = 0
        while active.size:
            x = np.frombuffer(child.stdout.read(4 * active.size * p.places), np.float32)
            x = x.reshape(-1, p.places)
            rounds += len(active)
            y = x + deviation * rng.standard_normal(x.shape, np.float32)
            decoder.decode(active, y)
            symbols += x.size
            child.stdin.write(decoder.feedback(active, y).tobytes())
            child.stdin.flush()
            assert child.stdout.read(32) == digest(decoder), f"{target} differs"
            active = active[~decoder.over(active)]
    finally:
        child.kill()
        child.wait()
    return rounds, symbols


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="feedback/belief-4bit-1dB")
    parser.add_argument("--blocks", type=int, default=104_000)
    parser.add_argument("--batch", type=int, default=8000)
    parser.add_argument("--error-target", type=float, default=0.0, help="confirm blocks")
    parser.add_argument("--transmit", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.transmit:
        model, blocks, seed, error_target = arguments.transmit
        transmit(model, int(blocks), int(seed), float(error_target))
        return
    print(f"{provenance.cpu()}; receiver on {_kernels.simd_target()}; {arguments.model}")
    for target in _kernels.simd_targets():
        start = time.monotonic()
        total = np.zeros(2, np.int64)
        for seed in range(0, arguments.blocks, arguments.batch):
            total += agreement(
                arguments.model, target, arguments.batch, seed, arguments.error_target
            )
        print(
            f"transmitter on {target:8} the same bits in {total[0]} block rounds, {total[1]} "
            f"symbols ({time.monotonic() - start:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()
