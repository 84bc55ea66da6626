# SPDX-License-Identifier: GPL-3.0-or-later
"""A file across a coded link: frames with CRC, and the blocks that move them."""
