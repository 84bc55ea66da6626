# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated links with stored LLRs."""

import pickle

import numpy as np
import pytest
from gnuradio.neuralfec.links.bicm import HybridArqLink, StorageLink


@pytest.mark.statistics
def test_storage_loses_little_and_in_order():
    """At 18.5 dB, where a float decoder fails on two frames in a hundred."""
    schemes = ("exact", "qam256-18bit", "qam256-15bit", "qam256-scalar-16bit")
    link = pickle.loads(pickle.dumps(StorageLink(schemes=schemes)))
    counts = link(np.random.default_rng(1), 18.5, 1500)
    errors = [counts[scheme]["block_errors"] for scheme in schemes]
    # The published simulator's 1.9e-2, within five standard deviations.
    assert abs(errors[0] - 28.5) < 27
    # 2 bits an LLR for maximum mutual information cost about 0.9 dB, a factor of ten.
    assert errors[1] < errors[3] / 3 and errors[2] < errors[3] / 2
    with pytest.raises(ValueError, match="whole symbols of 10 bits"):
        StorageLink(constellation="qam1024")(np.random.default_rng(1), 18.5, 5)


def test_hybrid_arq():
    schemes = ("exact", "qam256-15bit")
    link = HybridArqLink(schemes=schemes, transmissions=3)
    easy = link(np.random.default_rng(1), 40.0, 20)
    assert all(easy[scheme]["transmissions"] == 20 for scheme in schemes)
    hopeless = link(np.random.default_rng(1), -10.0, 20)
    assert all(hopeless[scheme]["transmissions"] == 60 for scheme in schemes)
    assert all(hopeless[scheme]["block_errors"] == 20 for scheme in schemes)
    # Below the threshold of one transmission two together mostly do.
    counts = link(np.random.default_rng(1), 16.0, 100)
    for scheme in schemes:
        assert 150 < counts[scheme]["transmissions"] < 260
        assert counts[scheme]["block_errors"] < 10
    assert link.parameters()["transmissions"] == 3
