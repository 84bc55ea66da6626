# SPDX-License-Identifier: GPL-3.0-or-later
import itertools
import re

import numpy as np
import pytest
from gnuradio.neuralfec import codes, decoders, simulation
from gnuradio.neuralfec.links import decoder_comparison as library
from gnuradio.neuralfec.links.bicm import DecoderLink


def test_every_decoder_is_tried():
    tried = {re.match(r"[\w-]+", spec).group() for spec in library.specs()}
    assert tried | set(library.ELSEWHERE) == set(decoders.REGISTRY.entries)


def test_every_decoder_but_one_takes_some_code():
    taken = {
        spec.partition(":")[0]
        for comparison in library.COMPARISONS.values()
        for code in comparison.codes
        if code != "wifi-648"
        for spec in library.takers(code)
    }
    assert set(decoders.REGISTRY.entries) - taken == set(library.ELSEWHERE)


@pytest.mark.parametrize("name", library.COMPARISONS)
def test_codes_of_a_comparison_do_the_same_job(name):
    made = [codes.code(code) for code in library.COMPARISONS[name].codes]
    assert len({(code.n, code.k) for code in made}) == 1


def test_best_are_those_that_none_beats():
    rng = np.random.default_rng(1)
    rows = [("", float(s), float(r)) for s, r in rng.integers(1, 9, (40, 2))]
    beaten = {
        i
        for i, j in itertools.product(range(40), repeat=2)
        if rows[j][1] >= rows[i][1] and rows[j][2] <= rows[i][2] and rows[j][1:] != rows[i][1:]
    }
    found = library.best(rows)
    assert {rows[i][1:] for i in found} == {rows[i][1:] for i in range(40)} - {
        rows[i][1:] for i in beaten
    }
    assert [rows[i][1] for i in found] == sorted((rows[i][1] for i in found), reverse=True)


def test_figure_shows_every_decoder(tmp_path):
    comparison = library.Comparison("short", ("polar-nr:16,8",), "psk2", 1.0)
    specs = ["sc", "osd:2"]
    link = DecoderLink(comparison.codes[0], "psk2", specs)
    results = simulation.run(
        link, [1.0], name="short", max_blocks=200, target_block_errors=10, directory=None,
        parameters={"code": comparison.codes[0]}, quiet=True,
    )  # fmt: skip
    words = library.words_per_second("polar-nr:16,8", "psk2", 1.0, specs, runs=1, seconds=0.001)
    assert list(words) == specs and min(words.values()) > 0
    results.about["speed"] = library.speed_record(words)
    drawn = library.figure(comparison, [results])
    shown = {text.get_text() for text in drawn.axes[0].get_legend().get_texts()}
    assert shown >= set(specs)
