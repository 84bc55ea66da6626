# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated links for `simulation.run`: a transmitter, a channel, and receivers to compare.

`bicm` has bit-interleaved coded modulation, `convolutional` real symbols of convolutional codes.
A link is called with a generator, an SNR and a number of blocks, and returns counts by scheme;
it travels to worker processes as its setting, and builds codes and kernels there.
"""
