# SPDX-License-Identifier: GPL-3.0-or-later
import math

import pytest
from gnuradio.neuralfec.feedback import points
from gnuradio.neuralfec.feedback.evaluation import capacity
from gnuradio.neuralfec.feedback.setting import Setting

COUNTS = {
    "blocks": 1000,
    "block_errors": 5,
    "bits": 48000,
    "symbols": 96000,
    "energy": 192000.0,
    "rounds": 10000,
}


def point(seed=0, **counts):
    setting = Setting(1.0, 20.0, "hybrid", 6.9, 0.9)
    return points.Point("a, b", "model", setting, None, seed, 16, 3, COUNTS | counts)


def test_points_come_back_as_they_were_stored(tmp_path):
    file = tmp_path / "feedback-x.csv"
    plain = points.Point("c", "m", Setting(-1.0, None, "none"), 1e-5, 2, 12, 4, COUNTS)
    kept = [point(), plain, point(1, error_estimate=0.5, estimate_squared=0.25)]
    points.add(file, kept[:1])
    points.add(file, kept[1:])
    assert points.load(file) == kept
    with pytest.raises(ValueError, match="another seed"):
        points.add(file, [point()])
    assert points.load(file) == kept
    (tmp_path / "other.csv").write_text("scheme,snr_db\na,1\n")
    with pytest.raises(ValueError, match="no column"):
        points.load(tmp_path / "other.csv")
    file.write_text(file.read_text().replace("hybrid", "hyb"))
    with pytest.raises(ValueError, match="hyb"):
        points.load(file)


def test_what_counts_say():
    p = point(error_estimate=2.0, estimate_squared=1.0)
    assert p.rate == 0.5
    # Sixteen symbols in each of ten rounds would have been 160.
    assert p.differential_rate == pytest.approx(0.5 - 48 / 160)
    assert p.power == 2
    assert p.real_snr_db == pytest.approx(1 + 10 * math.log10(2))
    value, low, high = p.block_error_rate
    assert low < value == 0.005 < high
    assert p.posterior_error_rate.value == 0.002
    assert point().posterior_error_rate is None
    assert capacity(10 * math.log10(3)) == pytest.approx(1)


def test_seeds_are_put_together():
    one, other = point(0), point(1, block_errors=7)
    (both,) = points.combined([one, other])
    assert both.counts["block_errors"] == 12 and both.counts["blocks"] == 2000
    assert one.counts["block_errors"] == 5
    assert both.rate == 0.5
