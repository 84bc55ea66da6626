# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests stand on."""

import signal

# A shell starts what runs in the background deaf to Ctrl-C, and so would be the programs that
# tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
