# SPDX-License-Identifier: GPL-3.0-or-later
"""Intervals, interpolation, files, table and figure."""

import io

import matplotlib
import numpy as np
import pytest
from gnuradio.neuralfec.simulation import Results, clopper_pearson, figure, table
from scipy.optimize import brentq
from scipy.stats import binom, binomtest, norm


def made(rates, *, blocks=100_000, bits=10, scheme="", seed=0, **more):
    rows = {}
    for snr, rate in rates.items():
        errors = round(rate * blocks)
        rows[scheme, float(snr), seed] = {
            "chunks": 1,
            "blocks": blocks,
            "block_errors": errors,
            "bits": blocks * bits,
            "bit_errors": 2 * errors,
        } | more
    return Results("t", rows)


@pytest.mark.parametrize(("errors", "trials"), [(0, 10), (1, 10), (7, 9), (50, 50), (3, 10**6)])
def test_clopper_pearson_is_the_exact_binomial_interval(errors, trials):
    # Its solver stops at 1e-12 absolute.
    oracle = binomtest(errors, trials).proportion_ci(0.95, "exact")
    np.testing.assert_allclose(
        clopper_pearson(errors, trials), [errors / trials, oracle.low, oracle.high], rtol=1e-5
    )


def test_clopper_pearson_covers():
    trials, rate = 60, 0.1
    errors = np.arange(trials + 1)
    covered = [bool(e.low <= rate <= e.high) for e in (clopper_pearson(k, trials) for k in errors)]
    assert binom.pmf(errors, trials, rate)[covered].sum() >= 0.95


def test_bursts_widen_the_interval_of_the_bit_error_rate():
    # 100 bad blocks of 10_000 with exactly 50 wrong bits each: as uncertain as the BLER.
    bursts = made({0: 0.01}, blocks=10_000, bits=100)
    bursts.rows["", 0.0, 0] |= {"bit_errors": 5000, "bit_errors_squared": 100 * 50**2}
    bler, ber = bursts.rate(0), bursts.rate(0, metric="ber")
    np.testing.assert_allclose(np.array(ber) / ber.value, np.array(bler) / bler.value, rtol=0.02)
    # Independent bits: as a plain binomial.
    rng = np.random.default_rng(1)
    wrong = rng.binomial(100, 0.02, 20_000)
    bursts.rows["", 0.0, 0] |= {
        "blocks": 20_000,
        "bits": 2_000_000,
        "bit_errors": wrong.sum(),
        "bit_errors_squared": (wrong**2).sum(),
    }
    plain = clopper_pearson(wrong.sum(), 2_000_000)
    np.testing.assert_allclose(bursts.rate(0, metric="ber"), plain, rtol=2e-3)


def test_clusters_widen_the_interval_of_the_block_error_rate():
    # 100 bad bursts of 10_000, all ten codewords wrong: as uncertain as one codeword a burst.
    together = made({0: 0.01}, blocks=100_000)
    together.rows["", 0.0, 0] |= {"clusters": 10_000, "squared_cluster_errors": 100 * 10**2}
    alone = made({0: 0.01}, blocks=10_000)
    np.testing.assert_allclose(together.rate(0), alone.rate(0), rtol=0.01)


def test_loss_between_schemes_of_the_same_clusters():
    """Both wrong in the same bursts: the loss is sure, however few the bursts are."""
    rows = {}
    for snr, bad in ((0.0, 1000), (1.0, 100)):
        for scheme in ("one", "two"):
            rows[scheme, snr, 0] = {
                **{"chunks": 1, "blocks": 100_000, "bits": 100_000, "clusters": 10_000},
                **{"block_errors": 10 * bad, "bit_errors": 10 * bad},
                **{"squared_cluster_errors": 100 * bad, "common_cluster_errors": 100 * bad},
            }
    results = Results("clusters", rows)
    loss = results.loss("two", "one", 0.03)
    assert loss.value == pytest.approx(0, abs=1e-9) and loss.high - loss.low < 0.005
    single = results.snr_at(0.03, "one")
    assert single.high - single.low > 0.03


def test_without_bit_errors_the_bound_is_that_of_blocks():
    results = made({0: 0.0}, blocks=1000, bit_errors_squared=0)
    assert results.rate(0, metric="ber").high == clopper_pearson(0, 1000).high


def test_snr_at_a_target_on_a_straight_curve():
    # log10 BLER falls by 1 a dB.
    results = made({16: 1e-1, 17: 1e-2, 18: 1e-3})
    assert results.snr_at(10**-1.5).value == pytest.approx(16.5)
    assert results.snr_at(1e-2).value == pytest.approx(17)
    assert results.snr_at(2e-3, metric="ber").value == pytest.approx(17)
    with pytest.raises(ValueError, match=r"BLER 0\.0001 does not lie between"):
        results.snr_at(1e-4)
    with pytest.raises(ValueError, match="does not lie between"):
        made({16: 1e-1, 17: 0.0}).snr_at(1e-2)


@pytest.mark.parametrize("step", [0.5, 1.0])
def test_snr_at_a_target_on_a_bent_curve(step):
    # Blocks of 20 uncoded BPSK bits, whose curve bends as a waterfall does.
    def bler(snr):
        return -np.expm1(20 * norm.logcdf(np.sqrt(2 * 10 ** (snr / 10))))

    truth = brentq(lambda snr: bler(snr) - 1e-2, 0, 12)
    for shift in np.linspace(0, step, 5):
        results = made({snr: bler(snr) for snr in np.arange(4 + shift, 10, step)}, blocks=10**9)
        assert results.snr_at(1e-2).value == pytest.approx(truth, abs=0.004 * step**3)


def test_interval_of_an_snr_covers_as_it_says():
    rng = np.random.default_rng(2)
    true = {15: 5e-2, 16: 2e-2, 17: 5e-3}
    truth = made(true, blocks=10**9).snr_at(1e-2).value
    covered = 0
    for _ in range(400):
        drawn = {snr: rng.binomial(20_000, rate) / 20_000 for snr, rate in true.items()}
        estimate = made(drawn, blocks=20_000).snr_at(1e-2)
        covered += estimate.low <= truth <= estimate.high
    assert binom.cdf(covered, 400, 0.95) > 1e-3 and binom.sf(covered - 1, 400, 0.95) > 1e-3


def test_interval_of_a_paired_loss_covers_and_is_narrower():
    rng = np.random.default_rng(3)
    blocks = 20_000
    # Blocks fail for both, for the reference only, for the scheme only.
    shares = {16: (1.8e-2, 1e-3, 4e-3), 17: (4e-3, 5e-4, 2e-3)}

    def drawn(counts_of):
        rows = {}
        for snr, share in shares.items():
            both, first, second = counts_of(share)
            for scheme, errors, common in (
                ("reference", both + first, both + first),
                ("scheme", both + second, both),
            ):
                rows[scheme, float(snr), 0] = {
                    "chunks": 1,
                    "blocks": blocks,
                    "block_errors": errors,
                    "bits": blocks,
                    "bit_errors": errors,
                    "common_block_errors": common,
                }
        return Results("t", rows)

    truth = drawn(lambda share: [blocks * part for part in share]).loss("scheme", "reference", 1e-2)
    covered = 0
    for _ in range(400):
        results = drawn(
            lambda share: rng.multinomial(blocks, [*share, 1 - sum(share)])[:3].tolist()
        )
        loss = results.loss("scheme", "reference", 1e-2)
        covered += loss.low <= truth.value <= loss.high
    assert binom.cdf(covered, 400, 0.95) > 1e-3 and binom.sf(covered - 1, 400, 0.95) > 1e-3
    back = results.loss("reference", "scheme", 1e-2)
    np.testing.assert_allclose(back, [-loss.value, -loss.high, -loss.low])
    for row in results.rows.values():
        del row["common_block_errors"]
    unpaired = results.loss("scheme", "reference", 1e-2)
    assert unpaired.high - unpaired.low > 1.3 * (loss.high - loss.low)
    with pytest.raises(ValueError, match="expected one of the schemes"):
        results.loss("scheme", "other", 1e-2)


def test_files_round_trip(tmp_path):
    results = made({-2: 0.1, 3.25: 0.01}, scheme="max-log, 5 bits", iterations=2.5)
    results.rows["max-log, 5 bits", 3.25, 0]["rounds"] = 12
    results.about = {"parameters": {"code": "x"}}
    results.save(tmp_path)
    again = Results.load("t", tmp_path)
    assert again == results
    assert list(again.rows) == list(results.rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column"),
        ("scheme,snr_db\n", "no column"),
        ("scheme,snr_db,seed,chunks,blocks,block_errors,bits,bit_errors\n,1,0,1,x,0,0,0\n", "line"),
        ("scheme,snr_db,seed,chunks,blocks,block_errors,bits,bit_errors\n,1,0,1,1,2,1,0\n", "line"),
        ("scheme,snr_db,seed,chunks,blocks,block_errors,bits,bit_errors\n,1,0,1,1\n", "missing"),
    ],
)
def test_a_file_without_counts_is_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        Results.load("t", tmp_path)
    with pytest.raises(FileNotFoundError):
        Results.load("u", tmp_path)


def test_table_tells_rates_and_status():
    from rich.console import Console

    console = Console(file=io.StringIO(), width=120)
    console.print(table(made({1: 0.01, 2: 0}), {1.0: "done", 2.0: "running", 3.0: "waiting"}))
    lines = console.file.getvalue().splitlines()
    row = next(line for line in lines if "done" in line)
    assert "100000" in row and "1000" in row and "0.01" in row
    assert any("waiting" in line and " 3 " in line for line in lines)


def test_figure_has_a_curve_and_a_name_for_each_scheme(tmp_path):
    other = made({1: 0.2, 2: 0.02}, scheme="b")
    results = made({1: 0.1, 2: 0.01, 3: 0.0}, scheme="a")
    results.rows |= other.rows
    drawn = figure([results], tmp_path / "t.png", title="a title")
    (axes,) = drawn.axes
    assert axes.get_legend_handles_labels()[1] == ["a", "b"]
    assert axes.get_yscale() == "log" and axes.get_title() == "a title"
    arrows = [line for line in axes.lines if line.get_marker() == "v" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in arrows] == [[3.0]]
    np.testing.assert_allclose(arrows[0].get_ydata(), results.rate(3, "a").high)
    assert matplotlib.image.imread(tmp_path / "t.png").shape[0] > 100
    two = figure([made({1: 0.1}), Results("u", other.rows)])
    assert two.axes[0].get_legend_handles_labels()[1] == ["t", "u b"]
    with pytest.raises(ValueError, match="metric"):
        figure([results], metrics=["fer"])


def test_figure_of_both_rates_has_the_limit_beside_block_errors_alone():
    results = made({1: 0.2, 2: 0.02, 3: 0.002}, scheme="a")
    drawn = figure([results], metrics=("ber", "bler"), limit=lambda snr_db: 10.0**-snr_db)
    bits, blocks = drawn.axes
    dashed = [[line for line in axes.lines if line.get_linestyle() == "--"] for axes in drawn.axes]
    assert [len(lines) for lines in dashed] == [0, 1]
    np.testing.assert_allclose(dashed[1][0].get_ydata(), 10.0 ** -dashed[1][0].get_xdata())
    assert bits.get_legend() is None
    labels = [text.get_text() for text in blocks.get_legend().get_texts()]
    assert labels[0] == "a" and "finite-length" in labels[1]
