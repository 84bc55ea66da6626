# SPDX-License-Identifier: GPL-3.0-or-later
"""Both ends of the feedback link as blocks: against their NumPy doors, and over the loop device."""

import time
import uuid
from pathlib import Path

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, neuralfec
from gnuradio.neuralfec import vectors
from gnuradio.neuralfec.phy.burst import BurstReceiver
from gnuradio.neuralfec.phy.channel import complex_normal
from gnuradio.neuralfec.radio import feedback_blocks
from gnuradio.neuralfec.radio.feedback_framing import FEEDBACK, FeedbackFraming, feedback_code
from gnuradio.neuralfec.radio.feedback_link import Initiator, Responder
from gnuradio.neuralfec.radio.feedback_sources import PatternSource

NAME, THRESHOLD, BLOCKS, SEED, STREAM = "feedback/belief-4bit-1dB", 12.0, 30, 3, 77
SHARED = {"model": NAME, "threshold": THRESHOLD, "blocks": BLOCKS, "sample_rate": 5e5}
ANALOG = SHARED | {"model": FEEDBACK["analog"], "feedback": "analog"}
# More silence than a buffer has samples, so that no piece has two bursts.
SILENCE, ROUNDS = 8500, 60

needs_soapy = pytest.mark.skipif(
    not isinstance(neuralfec.soapy_source, type), reason="built without SoapySDR"
)


@pytest.fixture(scope="module", params=["digital", "analog"])
def shared(request):
    return {"digital": SHARED, "analog": ANALOG}[request.param]


@pytest.fixture(scope="module")
def framing(shared):
    code = feedback_code(shared.get("feedback", "digital"), shared["model"], THRESHOLD)
    return FeedbackFraming(code, BLOCKS)


def heard(rng, framing, burst, snr_db):
    """A burst between silence, with noise over all."""
    samples = np.pad(0.2 * burst, SILENCE)
    noise = complex_normal(rng, samples.shape, framing.format.noise_var(snr_db, 0.04))
    return (samples + noise).astype(np.complex64)


@pytest.fixture(scope="module")
def recording(framing):
    """What both NumPy doors say to each other: samples both ways, as sent and as heard."""
    rng = np.random.default_rng(1)
    initiator = Initiator(framing, PatternSource(framing.capacity, SEED), STREAM)
    responder = Responder(framing, stream=True)
    sent, answers, forward, back = [], [], [], []
    for _ in range(ROUNDS):
        sent.append(initiator.samples())
        forward.append(heard(rng, framing, sent[-1], 2.0))
        answers += responder.push(forward[-1])
        back.append(heard(rng, framing, answers[-1], 26.0))
        assert initiator.push(back[-1])
    sent.append(initiator.samples())
    responder.settle()
    assert len(answers) == ROUNDS and len(responder.delivered) > 3
    return sent, answers, forward, back, responder


def player(graph, samples, tags=()):
    """A recording in the pieces that a radio gives: its source, and the block that it ends with."""
    # A block is not called without samples, and an answer takes more than one call here.
    samples = np.pad(samples, (0, SILENCE))
    source = blocks.vector_source_c(samples.tolist(), False, 1, list(tags))
    # A source that has tags gives all at once.
    pieces = blocks.copy(gr.sizeof_gr_complex)
    graph.connect(source, pieces)
    return source, pieces


def run(block, samples, tags=(), outputs=1):
    """A block between a recording and sinks."""
    graph = gr.top_block()
    pieces = player(graph, samples, tags)[1]
    sinks = [blocks.vector_sink_c(), blocks.vector_sink_b(), blocks.vector_sink_b()][:outputs]
    graph.connect(pieces, block)
    for port, sink in enumerate(sinks):
        graph.connect((block, port), sink)
    graph.run(1000)
    assert block.error is None
    return sinks


def bursts_of(sink):
    """Bursts by their tags, which lie back to back."""
    data, tags = np.array(sink.data(), np.complex64), sink.tags()
    at = [tag.offset for tag in tags if pmt.symbol_to_string(tag.key) == "packet_len"]
    lengths = [pmt.to_long(t.value) for t in tags if pmt.symbol_to_string(t.key) == "packet_len"]
    assert [*at, data.size] == np.cumsum([0, *lengths]).tolist()
    return [data[a : a + n] for a, n in zip(at, lengths, strict=True)]


def same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, np.float32(0.2) * other)


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_responder_is_its_numpy_door(shared, framing, recording, outputs):
    """Answers and bits, sample by sample."""
    _, answers, forward, _, expected = recording
    responder = neuralfec.feedback_responder(**shared, seed=SEED)
    sinks = run(responder, np.concatenate(forward), outputs=outputs)
    same(bursts_of(sinks[0]), answers)
    delivered = list(expected.delivered)
    decoded = np.concatenate([one.messages.ravel() for one in delivered])
    pattern = PatternSource(framing.capacity, SEED)
    sent = framing.messages([pattern.body(one.number) for one in delivered]).ravel()
    for sink, bits in zip(sinks[1:], (sent, decoded), strict=False):
        found = np.array(sink.data(), np.uint8)
        # The last round's blocks are settled with what comes after it.
        assert found.size >= bits.size - framing.blocks * 48
        np.testing.assert_array_equal(found, bits[: found.size])
    stats = responder.stats()
    assert stats["blocks"] >= 0.9 * expected.counts["blocks"]
    assert stats["bursts_sent"] == stats["bursts"] == ROUNDS and stats["streams"] == 1
    wrong = (decoded != sent).reshape(-1, 48).any(1).sum()
    assert stats["block_errors"] <= wrong
    assert stats["block_error_rate_by_posterior"] < 1e-3 and stats["bits_a_second"] > 0
    assert abs(stats["snr_db"] - 1.8) < 1.0


def test_initiator_is_its_numpy_door(shared, framing, recording, monkeypatch):
    sent, _, _, back, _ = recording
    monkeypatch.setattr(feedback_blocks.secrets, "randbelow", lambda most: STREAM - 1)
    initiator = neuralfec.feedback_initiator(**shared, seed=SEED, timeout=1000.0, patience=2000.0)
    outcomes = blocks.message_debug()
    graph = gr.top_block()
    sink = blocks.vector_sink_c()
    graph.connect(player(graph, np.concatenate(back))[1], initiator, sink)
    graph.msg_connect(initiator, "outcomes", outcomes, "store")
    graph.run(1000)
    assert initiator.error is None
    same(bursts_of(sink), sent)
    stats = initiator.stats()
    assert stats["rounds"] == ROUNDS and stats["bursts_sent"] == ROUNDS + 1
    told = [outcomes.get_message(i) for i in range(outcomes.num_messages())]
    columns = {
        name: np.concatenate([
            vectors.to_array(pmt.dict_ref(pmt.car(m), pmt.intern(name), pmt.PMT_NIL)) for m in told
        ])
        for name in ("session", "delivered", "erased", "symbols", "repeated", "energy")
    }  # fmt: skip
    blocks_over = columns["session"].size
    assert blocks_over == stats["blocks"] > 100
    assert np.isclose(48 * blocks_over / columns["symbols"].sum(), stats["rate"])
    assert columns["delivered"].all()
    assert not columns["erased"].any() and not columns["repeated"].any()
    assert 0.8 < columns["energy"].sum() / columns["symbols"].sum() < 1.2


def tag_of(offset, seconds):
    tag = gr.tag_t()
    tag.offset, tag.key = offset, pmt.intern("rx_time")
    whole = int(seconds)
    tag.value = pmt.make_tuple(pmt.from_uint64(whole), pmt.from_double(seconds - whole))
    return tag


def test_a_torn_burst_gets_no_answer(shared, framing, recording):
    """Of the third a piece is missing: by its time tag, and without one by the pilots."""
    _, answers, forward, _, _ = recording
    before = sum(f.size for f in forward[:2])
    # In the payload: behind it are the tail and its own silence, three symbols.
    middle = forward[2].size - SILENCE - 3 * framing.format.symbol_length - 150
    torn = np.delete(forward[2], slice(middle, middle + 50))
    pieces = np.concatenate([*forward[:2], torn, *forward[2:4]])
    for tags, key in (([tag_of(0, 0.0), tag_of(before + middle, 1.0)], "gap"), ([], "residual")):
        responder = neuralfec.feedback_responder(**shared, seed=SEED)
        (sink,) = run(responder, pieces, tags)
        found = bursts_of(sink)
        same(found[:2], answers[:2])
        assert responder.stats()[f"torn_by_{key}"] == 1
        # It has left its trace in the estimate of the front end's DC, and so in the levels.
        receiver = BurstReceiver(framing.format)
        rounds = [b.user >> 10 & 0xFF for a in found for b in receiver.push(np.pad(a, SILENCE))]
        assert rounds == [0, 1, 2, 3]


def test_answers_at_their_times(shared, framing, recording):
    """So long after the newest sample, and never before the last one is out."""
    _, _, forward, _, _ = recording
    samples = np.concatenate(forward[:3])
    responder = neuralfec.feedback_responder(**shared, seed=SEED, lead=0.25)
    (sink,) = run(responder, samples, [tag_of(0, 41.75)])
    bursts = bursts_of(sink)
    times = [
        pmt.to_uint64(pmt.tuple_ref(t.value, 0)) + pmt.to_double(pmt.tuple_ref(t.value, 1))
        for t in sink.tags()
        if pmt.symbol_to_string(t.key) == "tx_time"
    ]
    assert len(times) == len(bursts) == 3
    ends = np.cumsum([f.size for f in forward[:3]]) - SILENCE
    since = [at - 0.25 - 41.75 - end / 5e5 for at, end in zip(times, ends, strict=True)]
    # The receiver wants some samples behind a burst, and pieces have up to 8191.
    assert all(-1e-9 <= late < 9000 / 5e5 for late in since), since
    # Without a time known there is none to tell.
    responder = neuralfec.feedback_responder(**shared, seed=SEED, lead=0.25)
    (sink,) = run(responder, forward[0])
    assert [pmt.symbol_to_string(t.key) for t in sink.tags()] == ["packet_len"]


def test_it_starts_again(shared, framing, recording):
    """A new run is a new link: the same recording gives the same answers."""
    _, answers, forward, _, _ = recording
    graph = gr.top_block()
    source, pieces = player(graph, np.concatenate(forward[:5]))
    responder = neuralfec.feedback_responder(**shared, seed=SEED)
    sink = blocks.vector_sink_c()
    graph.connect(pieces, responder, sink)
    for _ in range(3):
        sink.reset()
        source.rewind()
        graph.run(1000)
        same(bursts_of(sink), answers[:5])
        assert responder.stats()["streams"] == 1


@pytest.mark.parametrize("kind", ["noise", "nan", "tone", "huge"])
def test_garbage_gets_no_answer(shared, framing, recording, kind):
    """And what comes after it is answered as ever."""
    _, answers, forward, _, _ = recording
    rng = np.random.default_rng(5)
    size = 200_000
    garbage = {
        "noise": complex_normal(rng, (size,), 1.0),
        "nan": np.where(rng.random(size) < 0.1, np.nan, 0.1) + 1j * np.inf,
        "tone": 0.5 * np.exp(0.3j * np.arange(size)),
        "huge": 1e30 * complex_normal(rng, (size,), 1.0),
    }[kind].astype(np.complex64)
    quiet = np.zeros(SILENCE, np.complex64)
    for make in (
        lambda: neuralfec.feedback_initiator(**shared, timeout=1000.0, patience=2000.0),
        lambda: neuralfec.feedback_responder(**shared, seed=SEED),
    ):
        block = make()
        (sink,) = run(block, garbage)
        # The initiator speaks first.
        assert len(bursts_of(sink)) == (1 if "initiator" in block.name() else 0)
    (sink,) = run(block := make(), np.concatenate([garbage, quiet, *forward[:2]]))
    same(bursts_of(sink), answers[:2])


class Link(gr.top_block):
    """Both ends over the loop device."""

    def __init__(self, name, snr_db=3.0, initiator=None, responder=None, more=""):
        super().__init__()
        rate = SHARED["sample_rate"]
        self.initiator = neuralfec.feedback_initiator(**SHARED, **(initiator or {}))
        self.responder = neuralfec.feedback_responder(**SHARED, **(responder or {}))
        here, there = f"loop:{name},own=0,snr=26", f"loop:{name},own=0,snr={snr_db}{more}"
        self.radios = [
            neuralfec.radio_source(here, rate),
            neuralfec.radio_sink(here, rate),
            neuralfec.radio_source(there, rate),
            neuralfec.radio_sink(there, rate),
        ]
        self.connect(self.radios[0], self.initiator, self.radios[1])
        self.connect(self.radios[2], self.responder)
        self.connect((self.responder, 0), self.radios[3])

    def until(self, true, seconds=60):
        deadline = time.monotonic() + seconds
        while not true():
            assert self.initiator.error is None and self.responder.error is None
            assert time.monotonic() < deadline, (self.initiator.stats(), self.responder.stats())
            time.sleep(0.02)


@pytest.fixture
def loop():
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    Path("/dev/shm", f"neuralfec-loop-{name}").unlink(missing_ok=True)


def ends_soon(graph):
    began = time.monotonic()
    graph.stop()
    graph.wait()
    assert time.monotonic() - began < 20


@needs_soapy
def test_a_pattern_over_a_bad_loop(loop):
    """Lost, doubled, late and torn bursts: the errors by the pattern are those of the bits."""
    faults = ",cfo=2000,ppm=5,lost=0.1,doubled=0.1,late=0.1,lag=0.05,overflows=1"
    graph = Link(loop, 3.0, {"seed": 5}, {"seed": 5}, faults)
    decoded, sent = blocks.vector_sink_b(), blocks.vector_sink_b()
    graph.connect((graph.responder, 1), sent)
    graph.connect((graph.responder, 2), decoded)
    graph.start()
    graph.until(lambda: graph.responder.counts["pattern_blocks"] >= 20 * BLOCKS)
    ends_soon(graph)
    bits = [np.array(sink.data(), np.uint8) for sink in (decoded, sent)]
    assert bits[0].size == bits[1].size >= 19 * BLOCKS * 48
    pattern = PatternSource(BLOCKS * 6 - 4, 5)
    whole = bits[1].size // (BLOCKS * 48)
    for number in range(whole):
        body = np.packbits(bits[1][number * BLOCKS * 48 :][: BLOCKS * 48]).tobytes()
        assert body[:-4] == pattern.body(number)
    here, there = graph.initiator.stats(), graph.responder.stats()
    wrong = (bits[0] != bits[1]).reshape(-1, 48).any(1).sum()
    assert wrong <= there["block_errors"] <= 2
    assert 0.6 < here["rate"] < 0.95 and here["repeated_bursts"] > 0
    assert there["right_super_blocks"] >= 18 and there["streams"] == 1


@needs_soapy
def test_pdus_over_the_loop(loop):
    """They come whole and in order; those that do not fit are refused, and nothing else is sent."""
    graph = Link(loop, 6.0, {"input": "pdus", "limit": 20}, {"output": "pdus"})
    came = blocks.message_debug()
    graph.msg_connect(graph.responder, "pdus", came, "store")
    rng = np.random.default_rng(2)
    texts = [rng.integers(0, 256, int(size), np.uint8) for size in rng.integers(1, 172, 9)]
    graph.start()
    post = graph.initiator.to_basic_block()._post
    time.sleep(0.5)
    assert graph.initiator.stats()["bursts_sent"] == 0
    for bad in (pmt.PMT_T, pmt.cons(pmt.make_dict(), vectors.from_array(np.zeros(999, np.uint8)))):
        post(pmt.intern("pdus"), bad)
    for text in texts:
        post(pmt.intern("pdus"), pmt.cons(pmt.make_dict(), vectors.from_array(text)))
    graph.until(lambda: came.num_messages() >= len(texts))
    # A round may be under way; then all is quiet.
    time.sleep(0.5)
    sent = graph.initiator.stats()["bursts_sent"]
    time.sleep(1.0)
    assert graph.initiator.stats()["bursts_sent"] == sent
    ends_soon(graph)
    assert came.num_messages() == len(texts)
    for number, text in enumerate(texts):
        np.testing.assert_array_equal(vectors.to_array(pmt.cdr(came.get_message(number))), text)
    assert graph.initiator.stats()["refused_pdus"] == 2


@needs_soapy
def test_an_end_may_be_started_again(loop):
    """A responder that comes late, and one that comes anew, are found by the initiator."""
    rate = SHARED["sample_rate"]
    here, there = f"loop:{loop},own=0,snr=26", f"loop:{loop},own=0,snr=6"
    initiator = neuralfec.feedback_initiator(**SHARED, timeout=0.2, patience=1.0)
    sending = gr.top_block()
    radios = [neuralfec.radio_source(here, rate), neuralfec.radio_sink(here, rate)]
    sending.connect(radios[0], initiator, radios[1])
    sending.start()
    for _ in range(2):
        responder = neuralfec.feedback_responder(**SHARED)
        listening = gr.top_block()
        others = [neuralfec.radio_source(there, rate), neuralfec.radio_sink(there, rate)]
        listening.connect(others[0], responder)
        listening.connect((responder, 0), others[1])
        listening.start()
        deadline = time.monotonic() + 60
        while responder.counts["pattern_blocks"] < 5 * BLOCKS:
            assert time.monotonic() < deadline, (initiator.stats(), responder.stats())
            time.sleep(0.02)
        ends_soon(listening)
        assert responder.stats()["block_errors"] <= 1
        del listening, others
    ends_soon(sending)
    assert initiator.stats()["streams_given_up"] >= 1


@needs_soapy
def test_unplugged_in_mid_run(loop):
    """Graphs end, and the front ends say why."""
    graph = Link(loop)
    graph.start()
    graph.until(lambda: graph.responder.stats()["blocks"] > BLOCKS)
    Path("/dev/shm", f"neuralfec-loop-{loop}").unlink()
    graph.until(lambda: all(radio.error() for radio in graph.radios[::2]))
    ends_soon(graph)
    assert "unplugged" in graph.radios[0].error()


@needs_soapy
def test_figures_for_windows(loop):
    """What a burst meter and a rate sink want is there."""
    graph = Link(loop, 3.0)
    graph.meter, graph.rates = neuralfec.burst_meter(), neuralfec.feedback_rate_sink(48, 3.0)
    graph.figures = [blocks.vector_sink_f() for _ in range(3)]
    graph.msg_connect(graph.responder, "bursts", graph.meter, "pdus")
    graph.msg_connect(graph.initiator, "outcomes", graph.rates, "outcomes")
    for port, sink in enumerate(graph.figures):
        graph.connect((graph.meter, port), sink)
    graph.start()
    graph.until(lambda: graph.rates.stats()["messages"] >= 400 and graph.figures[0].data())
    ends_soon(graph)
    assert graph.meter.error is None and graph.rates.error is None
    # A used subcarrier has 0.9 dB more than the band.
    assert abs(np.median(graph.figures[0].data()) - 3.9) < 0.5
    assert abs(np.median(graph.figures[2].data())) < 0.1
    assert 0.6 < graph.rates.stats()["rate"] < 0.95


def test_wrong_arguments():
    for make, wrong in (
        (neuralfec.feedback_initiator, {"model": "feedback/none"}),
        (neuralfec.feedback_initiator, {"model": "feedback/belief-4bit-1dB-feedback-20dB"}),
        (neuralfec.feedback_initiator, {"feedback": "analog"}),
        (neuralfec.feedback_responder, ANALOG | {"feedback_bits": 4}),
        (neuralfec.feedback_responder, {"feedback": "paper"}),
        (neuralfec.feedback_initiator, {"threshold": -1.0}),
        (neuralfec.feedback_initiator, {"input": "bits"}),
        (neuralfec.feedback_initiator, {"seed": -1}),
        (neuralfec.feedback_initiator, {"input": "pdus", "limit": 0}),
        (neuralfec.feedback_initiator, {"timeout": -1.0}),
        (neuralfec.feedback_initiator, {"patience": 0.0}),
        (neuralfec.feedback_initiator, {"amplitude": 0.0}),
        (neuralfec.feedback_initiator, {"answer_code": "no-code"}),
        (neuralfec.feedback_responder, {"feedback_bits": 7}),
        (neuralfec.feedback_responder, {"blocks": 0}),
        (neuralfec.feedback_responder, {"format": "burst-129"}),
        (neuralfec.feedback_responder, {"answer_constellation": "qam17"}),
        (neuralfec.feedback_responder, {"sample_rate": 0.0}),
        (neuralfec.feedback_responder, {"output": "bits"}),
        (neuralfec.feedback_responder, {"amplitude": float("inf")}),
        (neuralfec.feedback_responder, {"lead": float("nan")}),
    ):
        with pytest.raises(ValueError):
            make(**wrong)
