#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count and draw figures 4 to 8 of the DeepVLF paper for any feedback codes.

`measure` adds counts of each pair of SNR and threshold to feedback-NAME.csv in the folder of the
counts; `symbols` histograms of the first group's symbols by round and pattern; `draw` takes all
that its feedback-*.csv have. --results results takes the counts of the project's source. Filled
markers are counted, with intervals of 95 %; open ones are estimates by the receiver's posterior,
for points with fewer than 20 errors; arrows are upper ends of intervals where no error was counted.
Dotted lines are capacities.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import csv
import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from gnuradio.neuralfec import app
from gnuradio.neuralfec.feedback import evaluation, files, points
from gnuradio.neuralfec.feedback.belief.digital import DigitalBeliefCode
from gnuradio.neuralfec.feedback.deepvlf.code import DeepvlfCode
from gnuradio.neuralfec.feedback.deepvlf.power import estimate_statistics
from gnuradio.neuralfec.feedback.evaluation import capacity
from gnuradio.neuralfec.feedback.points import Point
from gnuradio.neuralfec.feedback.setting import CHANNELS, TERMINATIONS, log_odds
from gnuradio.neuralfec.simulation.options import add_results, add_workers, simulate

ROUNDS = (1, 2, 4, 6)
EDGES = np.linspace(-5, 5, 201)
SYMBOLS = ["scheme", "round", "pattern", "bin", "count"]
MARKERS = "osD^vP*X<>ph"
COUNTED = 20
SPARSE = ", feedback every {} symbols"


def load(
    arguments: argparse.Namespace,
    snr_db: float | None,
    threshold: float | None,
    error_target: float | None = None,
    copies: int = 1,
):
    """Code, setting and card of what the command line asks for."""
    code, made_for, card = files.load(
        arguments.model, threshold, snr_db, error_target=error_target, copies=copies
    )
    setting = made_for.with_(
        feedback_snr_db=arguments.feedback_snr,
        termination=arguments.termination,
        transmitter_threshold=arguments.transmitter_threshold,
        channel=arguments.channel,
    )
    return code, setting, card


def operating_points(arguments: argparse.Namespace) -> list[tuple[float | None, float | None]]:
    """Pairs of a threshold, as log-odds, and an error target."""
    thresholds = [*(arguments.log_odds or ()), *map(log_odds, arguments.threshold or ())]
    targets = getattr(arguments, "error_target", None) or []
    pairs = [(theta, None) for theta in thresholds] + [(None, target) for target in targets]
    return pairs or [(None, None)]


def csv_file(arguments: argparse.Namespace, name: str) -> Path:
    arguments.results.mkdir(parents=True, exist_ok=True)
    return arguments.results / f"feedback-{name}.csv"


class Link:
    """A chunk of blocks of one operating point, see `simulation.run`.

    Codes do not travel to other processes: each loads its own.
    """

    def __init__(
        self,
        arguments: argparse.Namespace,
        snr_db: float | None,
        threshold: float | None,
        error_target: float | None,
        copies: int,
    ) -> None:
        self._made_of = arguments, snr_db, threshold, error_target, copies
        self.copies = copies
        self.code, self.setting, self.card = load(*self._made_of)
        if arguments.statistics_blocks:
            rng = np.random.default_rng([arguments.seed, 1])
            blocks = arguments.statistics_blocks
            if isinstance(self.code, DeepvlfCode):
                estimate_statistics(self.code, self.setting, blocks, rng, sent_only=True)
            elif isinstance(self.code, DigitalBeliefCode):
                # The peak bends what a gain does, the more so the fewer rounds there are.
                for _ in range(1 if copies == 1 else 4):
                    found = evaluation.simulate(
                        self.code, self.setting, blocks, rng, apart=False, copies=copies
                    )
                    power = found["energy"] / found["symbols"]
                    self.code = self.code.scaled(power**-0.5)

    def __reduce__(self) -> tuple:
        return Link, self._made_of

    def __call__(self, rng: np.random.Generator, snr_db: float, blocks: int) -> dict:
        return evaluation.simulate(self.code, self.setting, blocks, rng, copies=self.copies)


def measure(arguments: argparse.Namespace) -> None:
    """Add counts of each SNR and threshold."""
    for snr_db, copies in itertools.product(arguments.snr or [None], arguments.feedback_every):
        scheme = arguments.scheme
        if copies != 1:
            scheme += SPARSE.format(copies)
        for threshold, error_target in operating_points(arguments):
            link = Link(arguments, snr_db, threshold, error_target, copies)
            p, snr = link.code.parameters, link.setting.snr_db
            results = simulate(
                arguments,
                link,
                [snr],
                name=f"{arguments.name}, {link.setting}",
                parameters={},
                chunk_blocks=arguments.batch,
                store=False,
            )
            counts = {key: n for key, n in results.counts(snr).items() if key != "chunks"}
            point = Point(
                scheme,
                link.card.name,
                link.setting,
                error_target,
                arguments.seed,
                p.groups,
                p.group_bits,
                counts,
            )
            points.add(csv_file(arguments, arguments.name), [point])
            print(told(point), flush=True)


def told(point: Point) -> str:
    value, low, high = point.block_error_rate
    text = (
        f"{point.scheme}: {point.setting.snr_db:g} dB, threshold {point.setting.threshold}: "
        f"rate {point.rate:.4f}, power {point.power:.4f}, {point.counts['block_errors']} of "
        f"{point.counts['blocks']} wrong, {value:.2e} [{low:.1e}, {high:.1e}], "
        f"{point.counts.get('erasures', 0)} erased, "
        f"{point.counts['rounds'] / point.counts['blocks']:.2f} rounds a block"
    )
    estimate = point.posterior_error_rate
    if estimate is not None:
        text += f", by the posterior {estimate.value:.2e} [{estimate.low:.1e}, {estimate.high:.1e}]"
    return text


def symbols(arguments: argparse.Namespace) -> None:
    """Add histograms of the first group's symbols.

    Its pattern is given, the others and the noise vary."""
    snr_db = arguments.snr[0] if arguments.snr else None
    code, setting, _ = load(arguments, snr_db, operating_points(arguments)[0][0])
    rng = np.random.default_rng(arguments.seed)
    histogram = np.zeros((len(ROUNDS), code.parameters.patterns, len(EDGES) - 1), np.int64)
    for start in range(0, arguments.blocks, arguments.batch):
        size = min(arguments.batch, arguments.blocks - start)
        population = evaluation.Population(code, setting, size, rng)
        labels = code.labels(population.messages)[:, 0]
        for number in range(1, ROUNDS[-1] + 1):
            x = population.encoder.encode(population.active)
            sent = population.encoder.sent[population.active, 0]
            if number in ROUNDS:
                # What is beyond the ends counts at them.
                place = np.searchsorted(EDGES[1:-1], x[sent, 0], side="right")
                where = ROUNDS.index(number), labels[population.active[sent]], place
                np.add.at(histogram, where, 1)
            population.transmit(x)
    file = csv_file(arguments, arguments.name)
    kept = [row for row in symbol_rows(file) if row[0] != arguments.scheme]
    fresh = [
        (arguments.scheme, ROUNDS[r], pattern, round(EDGES[place], 3), histogram[r, pattern, place])
        for r, pattern, place in zip(*np.nonzero(histogram), strict=True)
    ]
    with open(file, "w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([SYMBOLS, *kept, *fresh])
    points.note_run(file)
    print(f"{arguments.scheme}: {histogram.sum()} symbols")


def symbol_rows(file: Path) -> list[list[str]]:
    """Rows of a file of histograms; none of a file that is not there or of something else."""
    if not file.exists():
        return []
    with open(file, newline="") as stream:
        rows = list(csv.reader(stream))
    return rows[1:] if rows and rows[0] == SYMBOLS else []


def draw(arguments: argparse.Namespace) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    everything: list[Point] = []
    histograms: list[list[str]] = []
    for file in sorted(arguments.results.glob("feedback-*.csv")):
        rows = symbol_rows(file)
        histograms += rows
        if not rows:
            everything += points.load(file)
    # Sparse feedback is a table's, not a code's curve.
    sparse = SPARSE.partition("{}")[0]
    everything = [point for point in points.combined(everything) if sparse not in point.scheme]
    if not everything and not histograms:
        raise ValueError(f"no counts in {arguments.results}/feedback-*.csv")
    names = list(dict.fromkeys(point.scheme for point in everything))
    style = {
        name: {"color": f"C{i % 10}", "marker": MARKERS[i % len(MARKERS)]}
        for i, name in enumerate(sorted(names))
    }
    awgn, tdl_c, cdl_c = (
        [point for point in everything if point.setting.channel == channel] for channel in CHANNELS
    )
    for number, make in (
        (4, lambda: differential(pyplot, awgn, style)),
        (5, lambda: fixed_snr(pyplot, awgn, style)),
        (6, lambda: all_snrs(pyplot, "AWGN", awgn)),
        (7, lambda: all_snrs(pyplot, "TDL-C", tdl_c)),
        ("7-cdl-c", lambda: all_snrs(pyplot, "CDL-C", cdl_c)),
        (8, lambda: evolution(pyplot, histograms)),
        ("snr", lambda: over_snr(pyplot, awgn)),
        ("termination", lambda: terminations(pyplot, awgn, style)),
        ("training", lambda: progress(pyplot, arguments.results)),
    ):
        figure = make()
        if figure is None:
            print(f"figure {number}: no counts")
            continue
        name = f"feedback-figure-{number}.png"
        with arguments.figures.file(name) as path:
            figure.savefig(path, dpi=90)
        pyplot.close(figure)
        print(Path(arguments.figures, name))


def noisy(point: Point) -> bool:
    return point.setting.feedback_snr_db is not None


def feedback(point: Point) -> str:
    if noisy(point):
        return f"{point.setting.feedback_snr_db:g} dB feedback"
    bits = point.counts.get("feedback_bits", 0) / point.counts["symbols"]
    return f"{bits:.3g}-bit feedback" if point.digital else "noiseless feedback"


def curves(selected: Iterable[Point]) -> dict[tuple, list[Point]]:
    """Points that differ in nothing but their thresholds, by falling error rate."""
    found: dict[tuple, list[Point]] = {}
    for point in selected:
        rest = dataclasses.replace(
            point.setting, threshold=0.0, transmitter_threshold=point.setting.asks_transmitter / 2
        )
        confirmed = point.error_target is not None
        found.setdefault((point.scheme, point.model, rest, confirmed), []).append(point)
    for line in found.values():
        line.sort(key=lambda point: point.rate)
    return found


def plot(axes, line: list[Point], across: Callable[[Point], float], label: str, **style) -> None:
    """Block error rate of a curve's points, and how it is known."""
    known = []
    for point in line:
        counted, estimate = point.block_error_rate, point.posterior_error_rate
        open_marker = point.counts["block_errors"] < COUNTED and estimate is not None
        value, low, high = estimate if open_marker else counted
        limit = value == 0
        value = high if limit else value
        low = value if limit else max(low, value / 30)
        known.append((across(point), value))
        axes.errorbar(
            across(point),
            value,
            yerr=[[value / 2 if limit else value - low], [0 if limit else high - value]],
            uplims=limit,
            fmt=style["marker"],
            color=style["color"],
            markerfacecolor="white" if open_marker else style["color"],
            markersize=5,
            elinewidth=1,
        )
    axes.plot(*zip(*known, strict=True), color=style["color"], linewidth=1)
    axes.plot([], [], color=style["color"], marker=style["marker"], markersize=5, label=label)


def finish(axes, title: str, xlabel: str) -> None:
    axes.set(yscale="log", title=title, xlabel=xlabel, ylabel="block error rate")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        # Below, where no curve is.
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=6)


def described(point: Point) -> str:
    """Legend of a scheme that holds its power, or what it really takes."""
    text = f"{point.scheme}, {feedback(point)}"
    if abs(point.real_snr_db - point.setting.snr_db) > 0.1:
        text += f", really {point.real_snr_db:.2f} dB"
    return text


def differential(pyplot, everything: list[Point], style: dict):
    """Figure 4: what groups gain that end by themselves."""
    lines = [
        line
        for line in curves(
            point for point in everything if point.setting.decides_at_receiver
        ).values()
        if len(line) > 1 and line[0].setting.snr_db == 1
    ]
    if not lines:
        return None
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for line in lines:
        look = style[line[0].scheme]
        plot(left, line, lambda point: point.differential_rate, described(line[0]), **look)
        right.plot(
            [1 - point.setting.gamma for point in line],
            [point.differential_rate for point in line],
            label=described(line[0]),
            markersize=5,
            linewidth=1,
            **look,
        )
    finish(left, "Figure 4, 1 dB", "differential rate $R_d$, bit/symbol")
    right.set(
        xscale="log",
        xlabel=r"$1 - \gamma$",
        ylabel="differential rate $R_d$, bit/symbol",
        title=r"$R_d$ against $\gamma$",
    )
    right.invert_xaxis()
    right.grid(alpha=0.3)
    return figure


def fixed_snr(pyplot, everything: list[Point], style: dict):
    """Figure 5: error rate against rate at one nominal SNR, capacities at the real ones."""
    panels = [
        (f"Figure 5({letter}), {snr_db} dB" + (", noisy feedback" if back else ""), snr_db, back)
        for letter, snr_db, back in (("a", 1, False), ("b", 0, False), ("c", 1, True))
    ]
    if not everything:
        return None
    figure, axes = pyplot.subplots(1, 3, figsize=(15, 8), layout="constrained", sharey=True)
    for place, (title, snr_db, back) in zip(axes, panels, strict=True):
        theirs = [
            point for point in everything if point.setting.snr_db == snr_db and noisy(point) == back
        ]
        # Those that hold their power, also at the SNR that others really take.
        real = [point.real_snr_db for point in theirs if point.power > 1.02]
        same = [
            point
            for point in everything
            if not noisy(point)
            and point.setting.snr_db != snr_db
            and any(abs(point.setting.snr_db - snr) < 0.03 for snr in real)
        ]
        place.axvline(capacity(snr_db), color="black", linestyle=":")
        for line in curves(theirs + same).values():
            look = style[line[0].scheme]
            label = described(line[0])
            if line[0].setting.snr_db != snr_db:
                label += f" at {line[0].setting.snr_db:g} dB"
                look = look | {"color": "gray"}
            elif line[0].power > 1.02:
                place.axvline(capacity(line[0].real_snr_db), color=look["color"], linestyle=":")
            plot(place, line, lambda point: point.rate, label, **look)
        finish(place, title, "rate, bit/symbol")
        place.set_visible(bool(theirs))
    return figure


def all_snrs(pyplot, name: str, everything: list[Point]):
    """Figures 6 and 7: error rate against rate, a colour for each nominal SNR."""
    sides = [
        (f"{name}, {words} feedback", [point for point in everything if noisy(point) == back])
        for words, back in (("noiseless or digital", False), ("noisy", True))
    ]
    sides = [side for side in sides if side[1]]
    if not sides:
        return None
    figure, axes = pyplot.subplots(
        1, len(sides), figsize=(7.5 * len(sides), 5.5), layout="constrained", squeeze=False
    )
    shades = pyplot.get_cmap("viridis")
    for place, (title, selected) in zip(axes[0], sides, strict=True):
        # At whole dB; the others belong to figure 5.
        selected = [
            point for point in selected if point.setting.snr_db == round(point.setting.snr_db)
        ]
        for snr_db in sorted({point.setting.snr_db for point in selected}):
            colour = shades((snr_db + 1) / 6.5)
            place.axvline(capacity(snr_db), color=colour, linestyle=":")
            place.plot([], [], color=colour, linewidth=3, label=f"{snr_db:g} dB")
        schemes = sorted({point.scheme for point in selected})
        markers = dict(zip(schemes, itertools.cycle(MARKERS), strict=False))
        for line in curves(selected).values():
            look = {
                "marker": markers[line[0].scheme],
                "color": shades((line[0].setting.snr_db + 1) / 6.5),
            }
            plot(place, line, lambda point: point.rate, "", **look)
        finish(place, title, "rate, bit/symbol")
        handles, labels = place.get_legend_handles_labels()
        shown = {label: handle for label, handle in zip(labels, handles, strict=True) if label}
        for scheme in schemes:
            power = [point.power for point in selected if point.scheme == scheme]
            text = f"{scheme}, power {min(power):.2f} to {max(power):.2f}"
            (shown[text],) = place.plot([], [], color="gray", linestyle="", marker=markers[scheme])
        place.legend(
            shown.values(), shown.keys(), fontsize=7, loc="upper left", bbox_to_anchor=(1, 1)
        )
    return figure


def over_snr(pyplot, everything: list[Point]):
    """What codes that confirm their blocks have of capacity, and what is lost, over the SNR."""
    lines: dict[str, list[Point]] = {}
    for point in everything:
        if point.error_target is not None:
            label = f"{point.scheme}, {feedback(point)}, target {point.error_target:g}"
            lines.setdefault(label, []).append(point)
    if not lines:
        return None
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for number, (label, line) in enumerate(sorted(lines.items())):
        line.sort(key=lambda point: point.setting.snr_db)
        snrs = [point.setting.snr_db for point in line]
        shares = [point.rate / capacity(point.setting.snr_db) for point in line]
        look = {"color": f"C{number % 10}", "linewidth": 1, "markersize": 5}
        left.plot(snrs, shares, marker="o", label=label, **look)
        erased = [point.counts.get("erasures", 0) / point.counts["blocks"] for point in line]
        right.plot(snrs, erased, marker="s", linestyle=":", label=f"erasures, {label}", **look)
        right.plot([], [], marker="o", label=f"undetected, {label}", **look)
        for point in line:
            value, low, high = point.block_error_rate
            right.errorbar(
                point.setting.snr_db,
                value or high,
                yerr=[[value - low if value else high / 2], [high - value if value else 0]],
                uplims=not value,
                fmt="o",
                color=look["color"],
                markersize=5,
            )
    left.axhline(0.9, color="gray", linewidth=0.8)
    left.set(xlabel="SNR in dB", ylabel="rate / capacity", title="rate, erasures resent")
    right.set(xlabel="SNR in dB", ylabel="of blocks", yscale="log", title="counted, 95 % intervals")
    for axes, place in ((left, "lower center"), (right, "lower left")):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, loc=place)
    return figure


def evolution(pyplot, rows: list[list[str]]):
    """Figure 8: densities of the first group's symbols by round, a colour for each pattern."""
    if not rows:
        return None
    schemes = list(dict.fromkeys(row[0] for row in rows))
    figure, axes = pyplot.subplots(
        len(schemes),
        len(ROUNDS),
        figsize=(13, 2.6 * len(schemes)),
        layout="constrained",
        squeeze=False,
        sharex=True,
    )
    width = EDGES[1] - EDGES[0]
    for line, scheme in zip(axes, schemes, strict=True):
        for place, number in zip(line, ROUNDS, strict=True):
            mine = [row for row in rows if row[0] == scheme and int(row[1]) == number]
            patterns = 1 + max((int(row[2]) for row in mine), default=0)
            density = np.zeros((patterns, len(EDGES) - 1))
            for _, _, pattern, low, count in mine:
                density[int(pattern), round((float(low) - EDGES[0]) / width)] += int(count)
            density /= np.maximum(density.sum(1, keepdims=True), 1) * width
            shades = pyplot.get_cmap("turbo")
            for pattern, values in enumerate(density):
                place.stairs(values, EDGES, color=shades((pattern + 0.5) / patterns))
            place.set(title=f"{scheme}, round {number}", ylim=(0, 3), yticks=[])
            place.title.set_fontsize(9)
    for place in axes[-1]:
        place.set_xlabel("symbol of the first group")
    return figure


def terminations(pyplot, everything: list[Point], style: dict):
    """Codes that their transmitter stops by what comes back through noise, over its threshold."""
    lines = curves(point for point in everything if point.setting.asks_transmitter and noisy(point))
    if not lines:
        return None
    figure, axes = pyplot.subplots(figsize=(7, 4.8), layout="constrained")
    for line in lines.values():
        label = f"{described(line[0])}, {line[0].setting.snr_db:g} dB"
        plot(axes, line, lambda point: point.rate, label, **style[line[0].scheme])
    finish(axes, "Rules of the transmitter to stop", "rate, bit/symbol (no stop flag)")
    return figure


def progress(pyplot, results: Path):
    """What trainings reached on their way, from results/training-deepvlf-*.csv."""
    trainings = sorted(results.glob("training-deepvlf-*.csv"))
    if not trainings:
        return None
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for file in trainings:
        with open(file, newline="") as stream:
            rows = list(csv.DictReader(stream))
        minutes = [float(row["minutes"]) for row in rows]
        label = file.stem.removeprefix("training-deepvlf-")
        for place, name in zip(axes, ("block_error_rate", "rate"), strict=True):
            values = [float(row[name]) for row in rows]
            place.plot(minutes, values, marker=".", label=label)
    finish(axes[0], "Training of the networks, 1 dB, feedback 20 dB", "minutes of one core")
    axes[1].set(xlabel="minutes of one core", ylabel="rate, bit/symbol")
    axes[1].grid(alpha=0.3)
    return figure


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec curves feedback measure belief --scheme 'belief, 4 bits' "
        "--model feedback/belief-4bit-1dB --log-odds 6 8 --blocks 4000",
        "neuralfec curves feedback draw --figures figures",
    )
    commands = made.add_subparsers(
        required=True, dest="action", metavar="ACTION", help="what to do"
    )
    for name, work, blocks in (("measure", measure, 20000), ("symbols", symbols, 100_000)):
        command = commands.add_parser(
            name, help=(work.__doc__ or "").split("\n")[0], formatter_class=app.Formatter
        )
        command.set_defaults(work=work)
        command.add_argument("name", help="of the counts, feedback-NAME.csv")
        command.add_argument("--scheme", required=True, help="its name in the legends")
        command.add_argument("--model", required=True, help="model file, or name of a shipped one")
        command.add_argument("--snr", type=float, nargs="+", help="forward SNR in dB")
        command.add_argument("--feedback-snr", type=float, help="in dB; inf: noiseless")
        command.add_argument("--termination", choices=TERMINATIONS, help="who ends a block")
        command.add_argument("--threshold", type=float, nargs="+", help="gamma of the receiver")
        command.add_argument("--log-odds", type=float, nargs="+", help="log(gamma / (1 - gamma))")
        command.add_argument("--transmitter-threshold", type=float, help="of its check")
        command.add_argument("--channel", choices=CHANNELS, help="noise or fading")
        command.add_argument("--blocks", type=int, default=blocks, help="most blocks of a point")
        command.add_argument("--batch", type=int, default=2048, help="blocks at once")
        command.add_argument("--seed", type=int, default=0, help="of messages and noise")
        add_results(command)
        app.add_quiet(command)
    add_workers(commands.choices["measure"])
    commands.choices["measure"].add_argument(
        "--error-target",
        type=float,
        nargs="+",
        help="undetected block error rates, by confirmed blocks",
    )
    commands.choices["measure"].add_argument(
        "--feedback-every",
        type=int,
        nargs="+",
        default=[1],
        metavar="SYMBOLS",
        help="of belief-driven codes: how often a group sends a symbol before it hears back; the "
        "code's rounds become as many times fewer (1)",
    )
    commands.choices["measure"].add_argument(
        "--errors", type=int, default=200, help="wrong blocks to stop at"
    )
    commands.choices["measure"].add_argument(
        "--statistics-blocks",
        type=int,
        help="normalise the power anew over these blocks: thresholds, fading and sparse feedback "
        "change it",
    )
    command = commands.add_parser("draw", help="draw what is stored", formatter_class=app.Formatter)
    command.set_defaults(work=draw)
    command.add_argument(
        "--figures",
        type=app.OutputFolder,
        default=app.OutputFolder("figures"),
        help="folder of the figures",
    )
    add_results(command)
    return made


def run(args: argparse.Namespace) -> None:
    if getattr(args, "batch", 1) < 1 or getattr(args, "blocks", 1) < 1:
        raise ValueError("--batch and --blocks: expected at least 1")
    args.results = Path(args.results)
    args.work(args)


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
