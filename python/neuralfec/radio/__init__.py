# SPDX-License-Identifier: GPL-3.0-or-later
"""From symbols to the antenna: recordings by one spec string, and a coded file over bursts."""
