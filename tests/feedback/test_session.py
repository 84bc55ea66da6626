import pickle

import numpy as np
import pytest
import torch
from feedback.toy import K, Q, ToyCode
from gnuradio.neuralfec.feedback import evaluation, session
from gnuradio.neuralfec.feedback.deepvlf.code import DeepvlfCode
from gnuradio.neuralfec.feedback.deepvlf.network import FeedbackCode
from gnuradio.neuralfec.feedback.deepvlf.parameters import design
from gnuradio.neuralfec.feedback.deepvlf.power import estimate_statistics
from gnuradio.neuralfec.feedback.session import (
    DONE,
    FAILED,
    FEEDBACK,
    SYMBOLS,
    Faults,
    Message,
    Receiver,
    SimulatedLink,
    Transmitter,
    converse,
)
from gnuradio.neuralfec.feedback.setting import Setting, log_odds

SETTINGS = {
    "receiver": Setting(12, None, "receiver", 0.3),
    "transmitter": Setting(12, None, "transmitter", None, 0.5),
    "hybrid": Setting(12, None, "hybrid", 0.4, 0.5),
    "none": Setting(12, None, "none"),
}
TRAINED = {"hybrid": "receiver"}


def ends(termination="receiver", payload=False, **transmitter):
    code = ToyCode(payload, TRAINED.get(termination, termination))
    setting = SETTINGS[termination]
    transmitter = {"capacity": 64, "max_records": 64, "stream": 9} | transmitter
    return Transmitter(code, setting, **transmitter), Receiver(code, setting, capacity=128)


def messages(count, seed=0):
    return np.random.default_rng(seed).integers(0, 2, (count, K), np.uint8)


def links(faults=None, deviation=0.1, back=0.05):
    return SimulatedLink(1, deviation, faults), SimulatedLink(2, back, faults)


def check_ends(sent, transmitter, receiver):
    """Each session ended once; what was delivered is right; both ends agree but for silence."""
    delivered = {}
    for delivery in receiver.deliveries:
        stream, number = delivery.session
        assert stream == 9 and number not in delivered
        delivered[number] = delivery
        if delivery.bits is not None:
            np.testing.assert_array_equal(delivery.bits, sent[number])
        else:
            assert delivery.reason
    outcomes = {outcome.session: outcome for outcome in transmitter.outcomes}
    assert len(outcomes) == len(transmitter.outcomes) == len(sent)
    for number, outcome in outcomes.items():
        if outcome.delivered:
            assert delivered[number].bits is not None
        else:
            assert outcome.reason in ("wrong", "no answer", "refused")
    return sum(outcome.delivered for outcome in outcomes.values())


@pytest.mark.parametrize("termination", SETTINGS)
def test_a_clean_link_delivers_all(termination):
    transmitter, receiver = ends(termination)
    sent = messages(300)
    assert transmitter.submit(sent) == list(range(300))
    converse(transmitter, receiver, *links(deviation=0.02, back=0.0))
    assert check_ends(sent, transmitter, receiver) == 300
    rounds = np.array([outcome.rounds for outcome in transmitter.outcomes])
    symbols = np.array([outcome.symbols for outcome in transmitter.outcomes])
    if termination == "none":
        assert (rounds == 6).all() and (symbols == 6 * Q).all()
    elif termination == "transmitter":
        assert (symbols == Q * rounds).all() and rounds.max() < 6
    else:
        assert (symbols <= Q * rounds).all() and rounds.max() < 6
    assert transmitter.counts["repeats"] == 0
    energy = sum(outcome.energy for outcome in transmitter.outcomes)
    assert energy / symbols.sum() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("termination", SETTINGS)
@pytest.mark.parametrize("payload", [False, True])
def test_faults_are_survived(termination, payload):
    if payload and SETTINGS[termination].asks_transmitter:
        with pytest.raises(ValueError, match="stopped by its receiver"):
            ends(termination, payload)
        return
    transmitter, receiver = ends(termination, payload, max_records=4)
    sent = messages(400, 1)
    transmitter.submit(sent)
    faults = Faults(0.1, 0.1, 0.1, 0.1)
    converse(transmitter, receiver, *links(faults))
    assert check_ends(sent, transmitter, receiver) > 300
    for counts in (transmitter.counts, receiver.counts):
        assert counts["corrupted"] and counts["malformed"] and counts["stale"]
    assert transmitter.counts["repeats"] and receiver.counts["repeated"]


@pytest.mark.statistics
def test_ten_thousand_sessions_with_faults_in_flat_memory():
    """A tenth of the messages is dropped, doubled, delayed or corrupted."""
    transmitter, receiver = ends(max_records=32)
    receiver.memory = 512
    sent = messages(10_000, 2)
    forward, back = links(Faults(0.025, 0.025, 0.025, 0.025))
    right = ended = 0
    now, sizes = 0.0, []
    for start in range(0, len(sent), 1000):
        transmitter.submit(sent[start : start + 1000])
        now = converse(transmitter, receiver, forward, back, now=now)
        right += sum(outcome.delivered for outcome in transmitter.outcomes)
        ended += len(transmitter.outcomes)
        for delivery in receiver.deliveries:
            if delivery.bits is not None:
                np.testing.assert_array_equal(delivery.bits, sent[delivery.session[1]])
        transmitter.outcomes.clear()
        receiver.deliveries.clear()
        # All the state there is, serialised.
        sizes.append(len(pickle.dumps((transmitter, receiver))))
    assert ended == len(sent)
    assert right > 0.9 * len(sent)
    assert transmitter.in_flight == transmitter.backlog == 0
    assert max(sizes[3:]) < 1.3 * max(sizes[:3])


def test_a_dead_link_ends_every_session():
    transmitter, receiver = ends(max_repeats=3)
    transmitter.submit(messages(100))
    faults = Faults(drop=1.0)
    converse(transmitter, receiver, *links(faults))
    assert [outcome.reason for outcome in transmitter.outcomes] == ["no answer"] * 100
    assert not receiver.deliveries


def test_a_receiver_gives_up_on_a_transmitter_that_has_gone():
    transmitter, receiver = ends("none")
    transmitter.submit(messages(5))
    for message in transmitter.poll(0.0):
        receiver.receive(message, 0.0)
    assert receiver.poll(0.0) and receiver.in_flight == 5
    receiver.poll(100.0)
    assert receiver.in_flight == 0
    assert [delivery.reason for delivery in receiver.deliveries] == ["idle"] * 5


def exchange(transmitter, receiver, now):
    """One round over perfect links; returns the messages of both directions."""
    forward = transmitter.poll(now)
    for message in forward:
        receiver.receive(message, now)
    back = receiver.poll(now)
    for message in back:
        transmitter.receive(message, now)
    return forward, back


def records(message, receiver):
    return np.frombuffer(message.control, receiver._wire.dtype)


def test_copies_and_latecomers_change_nothing():
    transmitter, receiver = ends("none")
    transmitter.submit(messages(3))
    seen = []
    for step in range(6):
        forward, back = exchange(transmitter, receiver, float(step))
        seen.append((forward, back))
        rounds = transmitter._encoder.rounds.copy(), receiver._decoder.rounds.copy()
        heard = transmitter._encoder.heard.copy()
        for old_forward, old_back in seen:
            for message in old_forward:
                receiver.receive(message, step)
            for message in old_back:
                transmitter.receive(message, step)
        # A copy of the newest round gets its answer once more, nothing else is answered.
        answers = [r for m in receiver.poll(step) for r in records(m, receiver)]
        assert len(answers) == 3 and {int(r["round"]) for r in answers} == {step + 1}
        assert (transmitter._encoder.rounds == rounds[0]).all()
        assert (receiver._decoder.rounds == rounds[1]).all()
        assert (transmitter._encoder.heard == heard).all()
    assert len(receiver.deliveries) == len(transmitter.outcomes) == 3


def test_what_is_answered_again_is_the_same():
    """The feedback of a round is what was received first, however often it is asked for."""
    transmitter, receiver = ends("none")
    transmitter.submit(messages(1))
    (forward,) = transmitter.poll(0.0)
    receiver.receive(forward, 0.0)
    (first,) = receiver.poll(0.0)
    receiver.receive(Message(forward.control, forward.samples + 1), 1.0)
    (second,) = receiver.poll(1.0)
    assert first.control == second.control
    np.testing.assert_array_equal(first.samples, second.samples)


def test_every_flipped_bit_of_a_record_is_noticed():
    transmitter, receiver = ends()
    transmitter.submit(messages(1))
    (message,) = transmitter.poll(0.0)
    for bit in range(8 * len(message.control)):
        control = bytearray(message.control)
        control[bit // 8] ^= 1 << bit % 8
        receiver.receive(Message(bytes(control), message.samples), 0.0)
    assert receiver.counts["corrupted"] == 8 * len(message.control)
    assert receiver.poll(0.0) == [] and receiver.in_flight == 0


@pytest.mark.parametrize(
    ("damage", "count"),
    [
        (lambda m: Message(b"", m.samples), "malformed"),
        (lambda m: Message(m.control[:-1], m.samples), "malformed"),
        (lambda m: Message(m.control, m.samples[:-1]), "malformed"),
        (lambda m: Message(m.control, m.samples * np.float32("nan")), "bad_samples"),
    ],
)
def test_malformed_messages_are_dropped_and_counted(damage, count):
    transmitter, receiver = ends()
    transmitter.submit(messages(1) | 1)
    (message,) = transmitter.poll(0.0)
    receiver.receive(damage(message), 0.0)
    assert receiver.counts[count] == 1 and receiver.poll(0.0) == []


def test_ends_of_different_codes_do_not_talk():
    transmitter, receiver = ends()
    other = ToyCode()
    other.identity = 1
    transmitter = Transmitter(other, SETTINGS["receiver"], stream=9)
    transmitter.submit(messages(2))
    exchange(transmitter, receiver, 0.0)
    assert receiver.counts["other_code"] == 2 and receiver.in_flight == 0


def test_a_wrong_decision_is_reported_by_both_ends():
    transmitter, receiver = ends("none")
    sent = messages(20)
    transmitter.submit(sent)
    converse(transmitter, receiver, *links(deviation=3.0))
    good = check_ends(sent, transmitter, receiver)
    assert good < 20
    assert {outcome.reason for outcome in transmitter.outcomes if not outcome.delivered} == {
        "wrong"
    }
    assert sum(delivery.bits is None for delivery in receiver.deliveries) == 20 - good


def test_ended_sessions_are_not_opened_again():
    transmitter, receiver = ends("none")
    transmitter.submit(messages(1))
    first, _ = exchange(transmitter, receiver, 0.0)
    for step in range(1, 6):
        exchange(transmitter, receiver, float(step))
    assert len(receiver.deliveries) == 1
    receiver.receive(first[0], 9.0)
    (answer,) = receiver.poll(9.0)
    assert records(answer, receiver)["head"][0] & 15 == DONE
    assert receiver.in_flight == 0

    # One that is too long ago to be remembered is refused.
    receiver.memory = receiver._newest[9] = 1000
    receiver._ended.clear()
    receiver.receive(first[0], 10.0)
    (answer,) = receiver.poll(10.0)
    assert records(answer, receiver)["head"][0] & 15 == FAILED
    assert len(receiver.deliveries) == 1


def test_a_done_with_another_digest_is_not_believed():
    transmitter, receiver = ends("none")
    transmitter.submit(messages(1))
    transmitter.poll(0.0)
    forged = np.zeros(1, receiver._wire.dtype)
    forged["head"], forged["stream"], forged["round"] = session.FORMAT << 4 | DONE, 9, 1
    samples = np.zeros((1, Q), np.float32)
    (message,) = receiver._wire.build(forged, samples, 1)
    transmitter.receive(message, 0.0)
    assert [outcome.reason for outcome in transmitter.outcomes] == ["wrong"]


def test_a_full_receiver_makes_sessions_wait():
    code, setting = ToyCode(), SETTINGS["receiver"]
    transmitter = Transmitter(code, setting, capacity=64, stream=9, max_repeats=30)
    receiver = Receiver(code, setting, capacity=4)
    sent = messages(64)
    transmitter.submit(sent)
    converse(transmitter, receiver, *links(deviation=0.02))
    assert receiver.counts["full"] and check_ends(sent, transmitter, receiver) == 64


def test_restarted_transmitters_do_not_meet_their_past():
    _, receiver = ends("none")
    for stream in (1, 2):
        transmitter = Transmitter(ToyCode(False, "none"), SETTINGS["none"], stream=stream)
        transmitter.submit(messages(5, stream))
        converse(transmitter, receiver, *links(deviation=0.02))
        assert all(outcome.delivered for outcome in transmitter.outcomes)
    assert len(receiver.deliveries) == 10


def test_messages_hold_at_most_so_many_records():
    transmitter, receiver = ends(max_records=10)
    transmitter.submit(messages(25))
    forward = transmitter.poll(0.0)
    assert [len(records(m, receiver)) for m in forward] == [10, 10, 5]
    for message in forward:
        assert len(message.samples) == Q * len(records(message, receiver))
        assert (records(message, receiver)["head"] == session.FORMAT << 4 | SYMBOLS).all()
        receiver.receive(message, 0.0)
    (back,) = receiver.poll(0.0)
    assert set(records(back, receiver)["head"] & 15) <= {FEEDBACK, DONE}


@pytest.mark.statistics
@pytest.mark.parametrize("scheme", ["R", "T"])
def test_sessions_do_what_the_evaluator_does(scheme):
    """Networks over links without faults: same noise level, same statistics."""
    torch.manual_seed(2)
    module = FeedbackCode(design(scheme, message_bits=6, groups=2, rounds=5))
    torch.nn.init.normal_(module.receiver.head[0].weight, std=0.5)
    code = DeepvlfCode.of(module)
    setting = {
        "R": Setting(6, 20, "receiver", log_odds(0.8)),
        "T": Setting(6, 20, "transmitter", None, 0.3),
    }[scheme]
    rng = np.random.default_rng(0)
    estimate_statistics(code, setting, 4096, rng, sent_only=True)
    expected = evaluation.evaluate(code, setting, 4096, rng)
    transmitter = Transmitter(code, setting, capacity=512, max_records=512)
    receiver = Receiver(code, setting, capacity=512)
    transmitter.submit(rng.integers(0, 2, (2048, 6), np.uint8))
    forward = SimulatedLink(3, setting.noise_deviation)
    converse(transmitter, receiver, forward, SimulatedLink(4, setting.feedback_deviation))
    outcomes = transmitter.outcomes
    failed = sum(not outcome.delivered for outcome in outcomes)
    symbols = np.array([outcome.symbols for outcome in outcomes])
    assert symbols.std() > 0
    # Five standard errors of the difference of both.
    error = symbols.std() * np.sqrt(1 / 2048 + 1 / 4096) / 2
    assert symbols.mean() / 2 == pytest.approx(expected["average_rounds"], abs=5 * error)
    share = expected["block_error_rate"]
    error = np.sqrt(share * (1 - share) * (1 / 2048 + 1 / 4096)) + 1e-3
    assert failed / 2048 == pytest.approx(share, abs=5 * error)


@pytest.mark.parametrize("wrong", [{"capacity": 0}, {"timeout": 0.0}, {"max_repeats": -1}])
def test_refuses_arguments(wrong):
    with pytest.raises(ValueError, match="expected capacity"):
        Transmitter(ToyCode(), SETTINGS["receiver"], **wrong)
    with pytest.raises(ValueError, match="expected capacity"):
        Receiver(ToyCode(), SETTINGS["receiver"], capacity=8, memory=4)
