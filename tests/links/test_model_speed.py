# SPDX-License-Identifier: GPL-3.0-or-later
"""Every shipped model runs through its door and says how fast; how fast is nobody's test."""

import pytest
from gnuradio.neuralfec import models
from gnuradio.neuralfec.links import model_speed

UNITS = {
    "feedback": "blocks through both ends",
    "quantization": "LLRs there and back",
    "sequence": "bits",
    "syndrome": "words",
}


@pytest.mark.parametrize("name", models.shipped())
def test_every_shipped_model_can_be_measured(name):
    speed = model_speed.speed(name, seconds=0)
    assert speed.unit == UNITS[name.partition("/")[0]]
    assert speed.per_second > 0 and 0 < speed.median_ms <= speed.p99_ms


def test_units_are_those_that_the_work_takes(monkeypatch):
    """By a clock that a frame moves by a millisecond."""
    now = 0.0

    def call(frames):
        nonlocal now
        now += frames / 1000

    work = model_speed._Work("bits", 50, 20, call)
    monkeypatch.setattr(model_speed, "_work", lambda model: work)
    monkeypatch.setattr(model_speed.time, "process_time", lambda: now)
    monkeypatch.setattr(model_speed.time, "perf_counter", lambda: now)
    speed = model_speed.speed("x", seconds=1)
    assert speed.per_second == pytest.approx(50_000)
    assert speed.median_ms == pytest.approx(1) and speed.p99_ms == pytest.approx(1)
    assert str(speed).startswith("50000 bits/s of processor time")


def test_a_model_of_another_system_is_refused(tmp_path):
    import torch

    method = models.Method({"x": (None, 2)}, {"y": (None, 2)})
    card = models.Card(system="own", name="x", methods={"forward": method})
    models.save(tmp_path / "x.pt", torch.nn.Linear(2, 2), card)
    with pytest.raises(ValueError, match="no door is known"):
        model_speed.speed(tmp_path / "x.pt")
