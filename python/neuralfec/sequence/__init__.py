# SPDX-License-Identifier: GPL-3.0-or-later
"""Sequence decoding: convolutional codes by Viterbi, BCJR and a recurrent network."""
