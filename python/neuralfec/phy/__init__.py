# SPDX-License-Identifier: GPL-3.0-or-later
"""The modem: constellations, soft demapping, simulated channels."""
