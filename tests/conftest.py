# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests stand on."""

import signal

from hypothesis import HealthCheck, settings

# How long a test takes is no fault of it on a machine that has other work.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# A shell starts what runs in the background deaf to Ctrl-C, and so would be the programs that
# tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
