# SPDX-License-Identifier: GPL-3.0-or-later
"""The feedback link's streams without an end, and its stations' clocks, without a radio."""

import numpy as np
import pytest
from gnuradio.neuralfec.radio.feedback_framing import FeedbackFraming, feedback_code
from gnuradio.neuralfec.radio.feedback_link import Initiator, Responder
from gnuradio.neuralfec.radio.feedback_sources import MessageSource, PatternSource, messages_of
from gnuradio.neuralfec.radio.feedback_station import AnsweringStation, InitiatingStation

RATE = 1e6


@pytest.fixture(scope="module")
def code():
    return feedback_code("digital", threshold=12)


@pytest.fixture
def framing(code):
    return FeedbackFraming(code, blocks=20)


def quiet(samples):
    return np.pad(samples, 700).astype(np.complex64)


class Clock:
    """Seconds that stand still."""

    now = 0.0

    def __call__(self):
        return self.now


class Pair:
    """Both stations on one clock, and what goes between them."""

    def __init__(self, framing, source, patience=5.0):
        self.clock = Clock()
        self.initiator = Initiator(framing, source)
        self.responder = Responder(framing, stream=True)
        self.here = InitiatingStation(
            self.initiator, RATE, 1.0, patience, amplitude=1.0, clock=self.clock
        )
        self.there = AnsweringStation(self.responder, amplitude=1.0, clock=self.clock)

    def exchange(self, forward=True, back=True):
        """Send one burst there, where there is one, and its answer back."""
        burst = self.here.next()
        if burst is None or not forward:
            return burst
        self.there.push(quiet(burst))
        while (answer := self.there.next()) is not None:
            if back:
                self.here.push(quiet(answer))
        for station in (self.here, self.there):
            station.settle()
        return burst


def test_a_stream_goes_on(framing):
    """More super-blocks than a ring holds; all are the pattern's, and the tables stay small."""
    pattern = PatternSource(framing.capacity, 7)
    pair = Pair(framing, pattern)
    rows = pair.initiator.messages.shape
    came = []
    while len(came) < 3 * rows[0] // 20:
        assert pair.exchange() is not None
        came += pair.responder.delivered
        pair.responder.delivered.clear()
        assert pair.responder.bodies == []
    assert [one.number for one in came] == list(range(len(came)))
    assert [one.body for one in came] == [pattern.body(n) for n in range(len(came))]
    for one in came[:3]:
        np.testing.assert_array_equal(one.messages, framing.messages([pattern.body(one.number)]))
    assert pair.initiator.messages.shape == pair.responder.messages.shape == rows
    assert not pair.initiator.over and not pair.responder.over
    # What was told of the blocks that are over fits what was sent.
    ended = list(pair.initiator.ended)
    numbers = np.concatenate([e.numbers for e in ended])
    assert numbers.size == pair.initiator.counts["blocks"] == pair.responder.counts["blocks"]
    assert sorted(numbers) == sorted(set(numbers)) and numbers.max() < numbers.size + 20
    reals = sum(int(e.reals.sum()) for e in ended)
    assert 0 <= pair.initiator.counts["reals"] - reals <= 20 * 12 * 20
    assert all((e.reals >= e.rounds).all() and (e.again == 0).all() for e in ended)
    energy = sum(e.energy.sum() for e in ended)
    assert energy < pair.initiator.energy and 0.7 < energy / reals < 1.3


def test_lost_bursts_come_again_in_their_time(framing):
    pair = Pair(framing, PatternSource(framing.capacity, 1))
    first = pair.exchange(forward=False)
    assert pair.here.next() is None
    pair.clock.now = 0.99
    assert pair.here.next() is None
    pair.clock.now = 1.0
    np.testing.assert_array_equal(pair.exchange(back=False), first)
    assert pair.initiator.round == 0 and pair.responder.round == 1
    pair.clock.now = 2.0
    pair.exchange()
    assert pair.initiator.round == pair.responder.round == 1
    assert pair.initiator.counts["repeated_bursts"] == 2
    assert pair.responder.counts["repeated_bursts"] == 1
    for _ in range(40):
        pair.exchange()
    again = np.concatenate([e.again for e in pair.initiator.ended])
    numbers = np.concatenate([e.numbers for e in pair.initiator.ended])
    # The first round had twelve symbols of the first 20 blocks.
    assert (again[numbers < 20] == 24).all() and (again[numbers >= 20] == 0).all()


def test_each_end_may_begin_anew(framing):
    """A responder that was started again knows nothing, so the initiator begins a new stream."""
    pattern = PatternSource(framing.capacity, 2)
    pair = Pair(framing, pattern, patience=3.5)
    for _ in range(10):
        pair.exchange()
    pair.responder = Responder(framing, stream=True)
    pair.there = AnsweringStation(pair.responder, amplitude=1.0, clock=pair.clock)
    for _ in range(100):
        pair.exchange()
        pair.clock.now += 1.0
    assert pair.responder.counts["foreign_bursts"] == 4
    assert pair.initiator.counts["streams_given_up"] == pair.responder.counts["streams"] == 1
    assert len(pair.responder.delivered) > 3
    assert pair.responder.bodies == [pattern.body(n) for n in range(len(pair.responder.delivered))]
    # The other way round: an initiator of another stream.
    had = len(pair.responder.delivered)
    pair.initiator = Initiator(framing, pattern, stream=511)
    pair.here = InitiatingStation(pair.initiator, RATE, 1.0, 3.5, 1.0, pair.clock)
    for _ in range(50):
        pair.exchange()
    assert pair.responder.counts["streams"] == 2 and pair.initiator.counts["streams_given_up"] == 0
    new = list(pair.responder.delivered)[had:]
    assert len(new) > 1
    assert [(one.number, one.body) for one in new] == [
        (n, pattern.body(n)) for n in range(len(new))
    ]


def test_a_file_and_a_stream_are_strangers(framing):
    file, stream = Responder(framing), Responder(framing, stream=True)
    of_file = quiet(Initiator(framing, b"x").samples())
    of_stream = quiet(Initiator(framing, PatternSource(framing.capacity, 1)).samples())
    assert file.push(of_stream) == stream.push(of_file) == []
    assert file.counts["foreign_bursts"] == stream.counts["foreign_bursts"] == 1
    # A file of another length is another file.
    longer = quiet(Initiator(framing, bytes(3 * framing.capacity)).samples())
    assert len(file.push(of_file)) == 1 and file.push(longer) == []
    assert file.counts["foreign_bursts"] == 2


def test_ends_that_are_set_otherwise(code, framing):
    """Bursts of other sizes get no answer and do no harm."""
    other = FeedbackFraming(code, blocks=40)
    initiator = Initiator(other, PatternSource(other.capacity, 1))
    responder = Responder(framing, stream=True)
    assert responder.push(quiet(initiator.samples())) == []
    assert responder.counts["misfit_bursts"] == 1 and responder.round == 0
    right = Initiator(framing, PatternSource(framing.capacity, 1), stream=2)
    assert len(responder.push(quiet(right.samples()))) == 1


def test_messages_wait_for_each_other(framing):
    """Nothing is on the air without any; what comes meanwhile is told whole and in order."""
    source = MessageSource(framing.capacity, limit=5)
    pair = Pair(framing, source)
    rng = np.random.default_rng(1)
    assert pair.exchange() is None and pair.initiator.waits
    sent = []
    for number in (1, 3, 0, 2):
        new = [rng.bytes(int(rng.integers(1, framing.capacity - 3))) for _ in range(number)]
        assert all(source.push(message) for message in new)
        sent += new
        bursts = 0
        while pair.exchange() is not None:
            bursts += 1
        assert (bursts > 0) == (number > 0)
        came = [m for one in pair.responder.delivered for m in messages_of(one.body)]
        assert came == sent
    assert [source.push(b"x") for _ in range(6)] == [True] * 5 + [False]
    with pytest.raises(ValueError, match=f"1 to {framing.capacity - 4} bytes"):
        source.push(bytes(framing.capacity))
    with pytest.raises(ValueError, match="messages of 1 to"):
        source.push(b"")
    with pytest.raises(ValueError, match="one of 258 bytes"):
        messages_of(b"\2\1\0\0abc")


def test_wrong_arguments(framing):
    end = Initiator(framing, b"x")
    source = PatternSource(framing.capacity, 1)
    for make in (
        lambda: Initiator(framing, source, stream=0),
        lambda: Initiator(framing, source, stream=512),
        lambda: PatternSource(framing.capacity, -1),
        lambda: MessageSource(framing.capacity, 0),
        lambda: MessageSource(4),
        lambda: InitiatingStation(end, 0.0),
        lambda: InitiatingStation(end, RATE, -1.0),
        lambda: InitiatingStation(end, RATE, patience=0.0),
        lambda: InitiatingStation(end, RATE, amplitude=float("nan")),
        lambda: AnsweringStation(Responder(framing), 0.0),
        lambda: feedback_code("digital", "feedback/belief-4bit-1dB-feedback-20dB"),
        lambda: feedback_code("digital", "feedback/belief-4bit-1dB", 10, 7),
        end.restart,
    ):
        with pytest.raises(ValueError, match="expected"):
            make()
