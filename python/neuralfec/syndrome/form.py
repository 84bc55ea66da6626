# SPDX-License-Identifier: GPL-3.0-or-later
"""The form of a code in which its flips are easiest to learn."""

import numpy as np

from ..codes import LinearCode


def systematic_form(code: LinearCode) -> LinearCode:
    """Return the same codewords with the message among their bits and H in standard form.

    Each message bit stands at one position of the codeword, and the parity-check matrix is
    H = [A | I] up to the order of positions: each check holds one of the other positions. A
    message flip then is one flip of the codeword, where a polar code's own message bit is the
    sum of many; and syndrome and message flips together give all flips. Codewords, and with
    them the frame error rate of every decoder, are those of ``code``; the map from messages to
    codewords is another.

    Source: the estimators of De Boni Rovella and Benammar (arXiv 2403.02850) learn the flips of
    the message, on codes in this form.
    """
    plain = LinearCode(code.parity_check)
    others = np.setdiff1d(np.arange(code.n), plain.information_set)
    checks = np.zeros((others.size, code.n), dtype=np.uint8)
    checks[:, plain.information_set] = plain.generator[:, others].T
    checks[np.arange(others.size), others] = 1
    return LinearCode(checks, plain.generator, name=code.name)
