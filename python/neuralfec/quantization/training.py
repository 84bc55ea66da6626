# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains LLR quantizers: python -m neuralfec.quantization.training qam256-15bit

The name says what is trained:

    qam256-15bit                  gain cells and their network (ours), 15 bits a symbol
    qam256-float                  the papers' autoencoder, latent not quantized
    qam256-paper-15bit            the same, latent by k-means; --split tells the bits of each
                                  latent number, --from takes the network of a float model
    qam256-joint-float            the baseline with one joint decoder
    qam256-scalar-16bit           each LLR on its own, for maximum mutual information
    qam256-interference-float     the papers' autoencoder with a known QPSK interferer
    qam256-interference-20bit     the same, latent by k-means
"""

from __future__ import annotations

import argparse
import math
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from .. import models, provenance
from . import codebook, scalar
from .data import LlrSource, divergence
from .network import BranchedAutoencoder, GainCellQuantizer, ScalarQuantizer

# Es / N0 in dB around the waterfall of a rate-1/2 code over Rayleigh fading.
SNR_DB = {4: (4, 8), 16: (8, 12), 64: (12, 16), 256: (16, 20), 1024: (20, 24)}
_INTERFERER = "qam4"
# Known, as strong as the signal and fading like it, it moves the waterfall up by so much.
_INTERFERENCE_DB = 5
_NAME = re.compile(
    r"qam(?P<order>4|16|64|256|1024)-"
    r"((?P<kind>paper|joint|scalar|interference)-)?((?P<bits>\d+)bit|float)"
)


@dataclass
class Session:
    """One training run: where it stands, on disk between pieces."""

    checkpoint: Path | None
    seconds: float
    device: str

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.seconds
        self.state: dict = {}
        if self.checkpoint and self.checkpoint.exists():
            self.state = torch.load(self.checkpoint, map_location=self.device)
            print(f"goes on from {self.checkpoint}: {sorted(self.state)}")

    def save(self) -> None:
        if self.checkpoint:
            part = self.checkpoint.with_suffix(".part")
            torch.save(self.state, part)
            part.replace(self.checkpoint)

    def keep(self, name: str, make: Callable):
        """A result that is computed once."""
        if name not in self.state:
            self.state[name] = make()
            self.save()
        return self.state[name]

    def train(
        self,
        name: str,
        module: nn.Module,
        optimizers: list[torch.optim.Optimizer],
        steps: int,
        loss: Callable[[float], torch.Tensor],
        *,
        span: tuple[float, float] = (0.0, 1.0),
        clip: float = math.inf,
        report: Callable[[], str] = str,
    ) -> None:
        """`steps` of the optimizers, their rates along a span of half a cosine, the norm of
        a gradient at most `clip`; loss is called with the part of the steps that is done, 0 .. 1.
        """
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        rates = [group["lr"] for group in groups]
        start = 0
        if name in self.state:
            module.load_state_dict(self.state[name]["module"])
            for optimizer, state in zip(optimizers, self.state[name]["optimizers"], strict=True):
                optimizer.load_state_dict(state)
            start = self.state[name]["step"]
        for step in range(start, steps + 1):
            if step == steps or time.monotonic() > self._end:
                self.state[name] = {
                    "module": module.state_dict(),
                    "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                    "step": step,
                }
                self.save()
                if step == steps:
                    break
                raise TimeoutError(f"{name}: step {step} of {steps}")
            part = span[0] + (span[1] - span[0]) * step / steps
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate * (0.5 + 0.5 * math.cos(math.pi * part)) + 1e-6
            value = loss(step / steps)
            module.zero_grad()
            value.backward()
            if clip < math.inf:
                nn.utils.clip_grad_norm_(module.parameters(), clip)
            for optimizer in optimizers:
                optimizer.step()
            if step % 1000 == 0:
                print(
                    f"{name}: step {step} of {steps}, loss {value.item():.5f} {report()}",
                    flush=True,
                )


def amsgrad(parameters: Iterable[nn.Parameter], rate: float) -> list[torch.optim.Optimizer]:
    """Reddi, Kale, Kumar, "On the Convergence of Adam and Beyond", 2018."""
    return [torch.optim.Adam(parameters, rate, amsgrad=True)]


def muon(encoder: nn.Sequential, rate: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al., 2024) of the matrices of the hidden layers, at five times the
    rate, and AMSGrad of the rest."""
    matrices = [parameter for parameter in encoder[:-1].parameters() if parameter.ndim == 2]
    others = [p for p in encoder.parameters() if all(p is not matrix for matrix in matrices)]
    return [torch.optim.Muon(matrices, 5 * rate, weight_decay=0.0), *amsgrad(others, rate)]


def soft_cost(
    module: GainCellQuantizer, latent: torch.Tensor, p: torch.Tensor, width: float
) -> torch.Tensor:
    """Expected cross entropy in nats (N,) between p (N, 2, K/2), folded, and the codeword,
    when noise uniform over `width` steps is added to the latent's position among cells and
    levels. Differentiable in the latent; as width goes to 0 it becomes the quantizer's."""

    def neighbours(position: torch.Tensor, count: torch.Tensor):
        # The step between two numbers, and how much of the noise lies above it.
        step = position.detach().round()
        above = ((position - step) / width + 0.5).clamp(0, 1)
        last = count - 1
        pair = (step[..., None] + ends).long().clamp_min(0)
        return torch.minimum(pair, last[..., None]), above[..., None] * (2 * ends + 1) - ends

    ends = torch.tensor([-1, 0], device=latent.device)
    table = module.table
    constant = nn.functional.softplus(table).sum(1)
    cells = torch.tensor(len(module.levels), device=latent.device)
    cell, cell_weight = neighbours(latent[:, 0] * cells, cells.expand(len(latent)))
    count = module.levels[cell][:, :, None].expand(-1, -1, 2)
    level, level_weight = neighbours(latent[:, None, 1:] * count, count)
    with torch.no_grad():
        row = module.starts[cell][:, :, None, None] + level
        cost = constant[row] - (table[row] * p[:, None, :, None]).sum(-1)
    return (cell_weight * (level_weight * cost).sum((2, 3))).sum(1)


def train_gain_cells(session: Session, arguments: argparse.Namespace, source: LlrSource):
    """Regression, then the divergence, from a model's network the latter alone; then the table."""
    torch.manual_seed(arguments.seed)
    hidden, done, start = tuple(arguments.hidden), 0, None
    if arguments.start:
        expect = {"quantizer": "GainCellQuantizer", "bits": arguments.bits}
        _, of_network = models.load(arguments.start, expect | {"constellation": source.spec})
        start, done = models.state_dict(arguments.start), of_network.training.steps
        book = {name: start[name].to(session.device) for name in ("levels", "table")}
    else:
        book = session.keep("codebook", lambda: vars(codebook.design(source, arguments.bits)))
    module = GainCellQuantizer(arguments.bits, book["levels"], book["table"], hidden)
    module = module.to(session.device)
    if start:
        module.load_state_dict(start)
    else:
        with torch.no_grad():
            # Starts in the middle, where no output is cut off.
            module.encoder[-1].weight.mul_(0.1)
            module.encoder[-1].bias.fill_(0.5)

    llrs = session.keep("llrs", lambda: source.llrs(1_000_000))
    p = torch.sigmoid(codebook.fold(llrs))
    if not start:
        cell, level = session.keep(
            "targets", lambda: codebook.assign(llrs, module.bits, module.levels, module.table)
        )
        count = module.levels[cell][:, None]
        u, v = (cell + 0.5) / len(module.levels), (level + 0.5) / count
    check = LlrSource(source.spec, source.snr_db, seed=arguments.seed + 1000, device=session.device)
    unseen = check.llrs(50_000)

    def report() -> str:
        with torch.no_grad():
            return f"D {mean_divergence(module, unseen):.4f} bits/symbol"

    def sample() -> torch.Tensor:
        return torch.randint(len(llrs), (arguments.batch,), device=session.device)

    def regression(_: float) -> torch.Tensor:
        at = sample()
        latent = module.folded(llrs[at])
        wrong_cells = (latent[:, 0] - u[at]).square() * len(module.levels)
        wrong_levels = ((latent[:, 1:] - v[at]) * count[at]).square()
        return wrong_cells.mean() + 0.1 * wrong_levels.mean()

    def quantized(part: float) -> torch.Tensor:
        at = sample()
        latent = module.folded(llrs[at])
        outside = (latent - latent.clamp(0.02, 0.98)).square().mean()
        return soft_cost(module, latent, p[at], 1 - 0.7 * part).mean() + 0.1 * outside

    steps = arguments.steps or 4000
    stages = [("quantized", 3 * steps, 1e-3, quantized)]
    if not start:
        stages.insert(0, ("regression", steps, 3e-3, regression))
    for stage, length, rate, loss in stages:
        optimizers = muon(module.encoder, rate)
        session.train(stage, module, optimizers, length, loss, report=report)
        done += length
    fit_table(module, llrs)
    return module, done


@torch.no_grad()
def fit_table(module: GainCellQuantizer, llrs: torch.Tensor) -> None:
    """The table of least divergence in sum over the network's codewords and those of search."""
    latent = torch.cat([module(part) for part in llrs.split(1 << 16)])
    by_search = codebook.assign(llrs, module.bits, module.levels, module.table)
    row = [
        module.starts[cell][:, None] + level for cell, level in (module.cells(latent), by_search)
    ]
    p = torch.sigmoid(codebook.fold(llrs)).repeat(2, 1, 1)
    module.table.copy_(codebook.centroids(p, torch.cat(row), module.levels))


def sample_weighted_loss(reconstructed: torch.Tensor, soft_bits: torch.Tensor) -> torch.Tensor:
    """Equation (12), elementwise: |difference|^2 / (|Lambda| + 1e-6)."""
    return (reconstructed - soft_bits).square() / (soft_bits.abs() + 1e-6)


def train_autoencoder(session: Session, arguments: argparse.Namespace, source: LlrSource):
    """Algorithm 1, with latent noise of standard deviation 1e-3."""
    bits_per_symbol = int(math.log2(arguments.order))
    torch.manual_seed(arguments.seed)
    interferers = int(source.interferer is not None)
    joint = arguments.kind == "joint"
    module = BranchedAutoencoder(bits_per_symbol, 3 + 2 * interferers, joint)
    module, done = module.to(session.device), 0
    if arguments.start:
        _, of_network = models.load(arguments.start, {"constellation": source.spec})
        module.load_state_dict(models.state_dict(arguments.start))
        done = of_network.training.steps
    soft_bits = session.keep("soft bits", lambda: torch.tanh(source.llrs(3_240_000) / 2))
    weights = torch.full((bits_per_symbol,), 1 / bits_per_symbol, device=session.device)

    def reconstruct(batch: torch.Tensor) -> torch.Tensor:
        latent = module.latent(batch)
        return module.soft_bits(latent + 1e-3 * torch.randn_like(latent))

    def sample() -> torch.Tensor:
        at = torch.randint(len(soft_bits), (arguments.batch,), device=session.device)
        return soft_bits[at]

    def loss(_: float) -> torch.Tensor:
        batch = sample()
        return sample_weighted_loss(reconstruct(batch), batch).mean(0) @ weights

    def errors() -> torch.Tensor:
        with torch.no_grad():
            part = soft_bits[:400_000]
            return sample_weighted_loss(reconstruct(part), part).mean(0)

    steps = arguments.steps or 8000
    rounds = 4
    # (12) divides by |Lambda|: the rare soft bit near 0 gives a gradient thousands of times the
    # common one, which drowns it, and AMSGrad scales every later step by the largest.
    clip = 1 / bits_per_symbol
    for r in range(rounds):
        # The joint baseline has no weights, equation (13): its rounds are one.
        session.train(
            f"stage 1, round {r}", module, amsgrad(module.parameters(), 3e-3), steps // rounds,
            loss, span=(r / rounds, (r + 1) / rounds), clip=clip,
        )  # fmt: skip
        if not joint:
            error = session.keep(f"weights {r}", errors)
            weights = error / error.sum()  # (16)
            print("weights", [round(w, 4) for w in weights.tolist()], flush=True)

    def decoders(_: float) -> torch.Tensor:
        batch = sample()
        with torch.no_grad():
            latent = module.latent(batch)
        noisy = latent + 1e-3 * torch.randn_like(latent)
        # Each decoder has its own parameters: the sum trains each by its own loss.
        return sample_weighted_loss(module.soft_bits(noisy), batch).mean(0).sum()

    if not joint:
        alone = amsgrad(module.decoders.parameters(), 1e-3)
        session.train("stage 2", module, alone, steps // 2, decoders, clip=1.0)
    return module, done + steps + (0 if joint else steps // 2)


def add_k_means(module: BranchedAutoencoder, llrs: torch.Tensor, split: list[int], seed: int):
    """Codebook of each latent number by mini-batch k-means; thresholds halfway, as (15)."""
    from sklearn.cluster import MiniBatchKMeans

    with torch.inference_mode():
        latent = torch.cat([module(part) for part in llrs.split(1 << 16)]).cpu()
    levels, thresholds = [], []
    for number, bits in zip(latent.T, split, strict=True):
        means = MiniBatchKMeans(1 << bits, batch_size=8192, n_init=3, random_state=seed)
        means.fit(number[:, None].numpy())
        level = torch.tensor(means.cluster_centers_[:, 0]).sort().values
        levels.append(level)
        thresholds.append((level[1:] + level[:-1]) / 2)
    module.set_codebook(levels, thresholds)


def even_split(bits: int, numbers: int) -> list[int]:
    """Bits of each latent number; a spare one goes to the middle, as in the papers."""
    split = [bits // numbers] * numbers
    order = sorted(range(numbers), key=lambda i: abs(i - numbers // 2))
    for i in order[: bits % numbers]:
        split[i] += 1
    return split


@torch.no_grad()
def mean_divergence(module: nn.Module, llrs: torch.Tensor) -> float:
    """D in bits a symbol of what index and codeword make of LLRs (N, K)."""
    total = 0.0
    for part in llrs.split(1 << 16):
        latent = module(part)
        if module.bits:
            latent = module.codeword(module.index(latent))
        total += divergence(part, module.decode(latent)).sum().item()
    return total / len(llrs)


def card(module: nn.Module, arguments: argparse.Namespace, source: LlrSource, steps: int):
    bits_per_symbol = int(math.log2(arguments.order))
    llrs, latent = (None, bits_per_symbol), (None, _latent_size(module, bits_per_symbol))
    check = LlrSource(
        source.spec, source.snr_db, source.interferer, seed=arguments.seed + 1000,
        device=arguments.device,
    )  # fmt: skip
    unseen = check.llrs(200_000)
    figure = "divergence_bits_per_symbol"
    measured = {figure: round(mean_divergence(module, unseen), 5)}
    parameters = {
        "bits_per_symbol": bits_per_symbol,
        "bits": module.bits,
        "constellation": source.spec,
        "quantizer": type(module).__name__,
    }
    if isinstance(module, GainCellQuantizer):
        cell, level = codebook.assign(unseen, module.bits, module.levels, module.table)
        rails = module.table[module.starts[cell][:, None] + level]
        best = divergence(codebook.fold(unseen), rails).sum(1).mean().item()
        measured[f"{figure}_with_search"] = round(best, 5)
    if source.interferer:
        parameters["interferer"] = source.interferer
    if isinstance(module, ScalarQuantizer | BranchedAutoencoder):
        parameters["split"] = module.dimension_bits
    low, high = source.snr_db
    return models.Card(
        system="quantization",
        name=arguments.name,
        methods={
            "forward": models.Method({"llrs": llrs}, {"latent": latent}),
            "decode": models.Method({"latent": latent}, {"llrs": llrs}),
            **(
                {
                    "index": models.Method({"latent": latent}, {"index": (None,)}),
                    "codeword": models.Method({"index": (None,)}, {"latent": latent}),
                }
                if module.bits
                else {}
            ),
        },
        operating_point=f"i.i.d. Rayleigh fading, Es/N0 {low:g} to {high:g} dB, exact LLRs",
        training=models.Training(
            provenance.command(), provenance.commit(), arguments.seed, steps, arguments.device
        ),
        measured=measured,
        parameters=parameters,
    )


def _latent_size(module: nn.Module, bits_per_symbol: int) -> int:
    with torch.no_grad():
        device = next(iter(module.state_dict().values())).device
        return module(torch.zeros(1, bits_per_symbol, device=device)).shape[1]


def train(arguments: argparse.Namespace) -> Path:
    device = arguments.device
    session = Session(arguments.checkpoint, arguments.seconds, device)
    snr_db = arguments.snr_db or SNR_DB[arguments.order]
    if arguments.kind == "interference" and not arguments.snr_db:
        snr_db = tuple(snr + _INTERFERENCE_DB for snr in snr_db)
    source = LlrSource(
        f"qam{arguments.order}",
        snr_db,
        _INTERFERER if arguments.kind == "interference" else None,
        seed=arguments.seed,
        device=device,
    )
    numbers = {"scalar": int(math.log2(arguments.order)), "interference": 5}
    split = arguments.split or even_split(arguments.bits, numbers.get(arguments.kind, 3))
    if arguments.kind == "scalar":
        llrs = source.llrs(2_000_000)
        designs = [scalar.design(llrs[:, k], 1 << b) for k, b in enumerate(split)]
        module, steps = ScalarQuantizer(), 0
        module.set_codebook(*map(list, zip(*designs, strict=True)))
    elif arguments.kind is None and arguments.bits:
        module, steps = train_gain_cells(session, arguments, source)
    else:
        if arguments.start and arguments.bits:
            _, of_network = models.load(arguments.start, {"system": "quantization"})
            latent = of_network.methods["forward"].outputs["latent"][1]
            module = BranchedAutoencoder(of_network.parameters["bits_per_symbol"], latent)
            module.load_state_dict(models.state_dict(arguments.start))
            module, steps = module.to(device), of_network.training.steps
        else:
            module, steps = train_autoencoder(session, arguments, source)
        if arguments.bits:
            add_k_means(module, source.llrs(1_000_000), split, arguments.seed)
    module = module.to(device)
    about = card(module, arguments, source, steps)
    file = Path(arguments.directory, f"{arguments.name}.pt")
    models.save(file, module, about)
    print(f"{file}: {about.measured}")
    return file


def _range(text: str) -> tuple[float, float]:
    low, high = (float(part) for part in text.split(":"))
    return low, high


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m neuralfec.quantization.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help="of the model, see above")
    parser.add_argument("--directory", default=".", help="where to write NAME.pt")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, help="of the first stage")
    parser.add_argument("--batch", type=int, help="symbols of one step")
    parser.add_argument("--snr-db", type=_range, metavar="LOW:HIGH", help="Es/N0 of the data")
    parser.add_argument(
        "--hidden", type=_numbers, default=[24, 24, 24], help="a rail's widths, ours"
    )
    parser.add_argument("--split", type=_numbers, help="bits of each latent number")
    parser.add_argument("--from", dest="start", help="model whose network to take on")
    parser.add_argument("--checkpoint", type=Path, help="file to stop in and to go on from")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="stop after, to go on later"
    )
    arguments = parser.parse_args(argv)
    name = _NAME.fullmatch(arguments.name)
    if not name:
        parser.error(f"expected a name as above, got {arguments.name!r}")
    arguments.order, arguments.kind = int(name["order"]), name["kind"]
    arguments.bits = int(name["bits"] or 0)
    arguments.batch = arguments.batch or (
        4096 if arguments.kind is None and arguments.bits else 65536
    )
    try:
        train(arguments)
    except TimeoutError as stop:
        print(f"stopped at {stop}; the same command goes on")
        return 75
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
