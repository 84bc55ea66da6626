# SPDX-License-Identifier: GPL-3.0-or-later
"""Variable-length feedback codes: DeepVLF and the transceiver that carries them.

Y. Ding and Y. Shao, "Deep Variable-Length Feedback Codes", arXiv:2602.07881.

``network``     the networks and what surrounds them in a code
``codec``       both ends as batch state machines: symbols in, symbols out
``evaluation``  error rate, rounds, power of a code over simulated channels
``session``     many sessions over links that lose, double, delay and corrupt messages
``importer``    the authors' published checkpoints
``training``    ``python -m neuralfec.feedback.deepvlf.training``
``blocks``      the GNU Radio blocks

SNR here is the literature's: 1 / sigma^2 for a real symbol of unit power.
"""
