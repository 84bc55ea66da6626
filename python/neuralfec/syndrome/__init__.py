# SPDX-License-Identifier: GPL-3.0-or-later
"""Syndrome-based neural decoding for bit-interleaved coded modulation.

De Boni Rovella, Benammar, "Scalable Syndrome-based Neural Decoders for Bit-Interleaved Coded
Modulations" (arXiv 2403.02850): a network sees the reliabilities |L| and the syndrome of the
hard decision, and says which bits of the message are wrong.
"""
