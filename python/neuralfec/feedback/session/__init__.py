# SPDX-License-Identifier: GPL-3.0-or-later
"""Feedback codes over links that lose, double, delay and corrupt messages.

A session carries one message of K bits. Its transmitter sends the symbols of a round and
waits for what came of them; no answer in time, and it sends the same round again. The
receiver never speaks first. Many sessions are in flight, and those that wait are coded as
one batch.

    transmitter                             receiver
        |-- SYMBOLS round 1, all groups ------->|  decodes
        |<------------- FEEDBACK round 1 -------|  what was received; groups decoded
        |-- SYMBOLS round 2, groups left ------>|
        |      ...                              |
        |-- STOP (T, hybrid) ------------------>|  or the receiver ends by itself
        |<-------- DONE, FAILED or ERASED ------|

A message is a control part and samples. The control part is one ``record_type`` a session,
digital and under a CRC-32: a record that fails it never was. Samples are what the channel
touches: a row of float32 for each record. Forward, the row is the Q symbols of the groups
(those outside the record's mask are no part of the signal); back, it is what the code feeds
back for them, and for a code that its transmitter stops also the beliefs C_b P. A code with
digital feedback (``payload_bytes`` > 0) has its feedback in the record instead, and no
samples; it is stopped by its receiver.

A code that confirms its blocks may declare one lost that it cannot be sure of: the receiver says
ERASED, and the message has to be submitted again.

Nothing wrong goes unnoticed: every forward record has the CRC-32 of its message, the
receiver compares, and says DONE with the CRC of what it has delivered, which the transmitter
compares again.

Time is the caller's: seconds from any start, never backwards.
"""

from .receiver import Delivery, Receiver
from .simulated import Faults, SimulatedLink, converse
from .transmitter import Outcome, Transmitter
from .wire import (
    DONE,
    ERASED,
    FAILED,
    FEEDBACK,
    FORMAT,
    STOP,
    SYMBOLS,
    Message,
    Wire,
    digest,
    record_type,
)

__all__ = [
    "DONE", "ERASED", "FAILED", "FEEDBACK", "FORMAT", "STOP", "SYMBOLS", "Delivery", "Faults",
    "Message", "Outcome", "Receiver", "SimulatedLink", "Transmitter", "Wire", "converse",
    "digest", "record_type",
]  # fmt: skip
