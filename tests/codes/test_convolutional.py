# SPDX-License-Identifier: GPL-3.0-or-later
"""Convolutional codes against the definition c(D) = g(D) / f(D) u(D), bit by bit."""

import numpy as np
import pytest
from gnuradio.neuralfec.codes import code
from gnuradio.neuralfec.codes.convolutional import ConvolutionalCode

CODES = ["7,5", "7,5/7", "171,133", "13,15,17/13", "561,753/561", "5,7,7,7", "3,1"]


def encode_one(the_code, message, state):
    """One bit after the other; state: register bits, newest first. Also the end state."""
    m = the_code.memory

    def taps(number):
        return [number >> (m - i) & 1 for i in range(m + 1)]

    state, coded = list(state), []
    for bit in message:
        if the_code.feedback:
            feedback = taps(the_code.feedback)
            bit = bit ^ (sum(f & s for f, s in zip(feedback[1:], state, strict=True)) & 1)
        register = [bit, *state]
        for g in the_code.generators:
            coded.append(sum(t & r for t, r in zip(taps(g), register, strict=True)) & 1)
        state = register[:-1]
    return coded, state


@pytest.mark.parametrize("generators", CODES)
@pytest.mark.parametrize("k", [8, 20, 101])
def test_unterminated_frames(generators, k):
    the_code = code(f"conv:{generators}:{k}")
    messages = np.random.default_rng(1).integers(0, 2, (20, k), dtype=np.uint8)
    expected = [encode_one(the_code, u, [0] * the_code.memory)[0] for u in messages]
    assert np.array_equal(the_code.encode(messages), expected)
    assert the_code.n == k * len(the_code.generators)


@pytest.mark.parametrize("generators", CODES)
def test_zero_termination(generators):
    """The first k steps are the unterminated frame's, and the tail leads to state 0: what
    follows a frame is encoded as from the start."""
    k = 30
    the_code = code(f"conv:{generators}:{k}:zero")
    open_code = the_code.with_frame(k, "none")
    messages = np.random.default_rng(2).integers(0, 2, (20, k), dtype=np.uint8)
    codewords = the_code.encode(messages)
    head = open_code.encode(messages)
    assert np.array_equal(codewords[:, : head.shape[1]], head)
    assert the_code.n == (k + the_code.memory) * len(the_code.generators)
    for message, codeword in zip(messages, codewords, strict=True):
        _, state = encode_one(the_code, message, [0] * the_code.memory)
        tail = []
        for _ in range(the_code.memory):
            # The bit that makes the register's next one 0.
            bit = 0
            if the_code.feedback:
                reach = the_code.memory
                bit = sum(
                    (the_code.feedback >> (reach - 1 - i) & 1) & s for i, s in enumerate(state)
                )
            coded, state = encode_one(the_code, [bit & 1], state)
            tail += coded
        assert state == [0] * the_code.memory
        assert np.array_equal(codeword[head.shape[1] :], tail)


@pytest.mark.parametrize("generators", CODES)
def test_tail_biting(generators):
    """A frame ends in the state in which it starts: each cyclic shift of a message by a step
    shifts the codeword by n_0 bits."""
    k = 20
    the_code = code(f"conv:{generators}:{k}:tail-biting")
    messages = np.random.default_rng(3).integers(0, 2, (20, k), dtype=np.uint8)
    codewords = the_code.encode(messages)
    for shift in (1, 7):
        shifted = the_code.encode(np.roll(messages, shift, axis=1))
        expected = np.roll(codewords, shift * len(the_code.generators), axis=1)
        assert np.array_equal(shifted, expected)
    # And it is a path of the trellis from some state.
    states = 1 << the_code.memory
    for message, codeword in zip(messages[:3], codewords[:3], strict=True):
        ways = []
        for number in range(states):
            start = [number >> i & 1 for i in range(the_code.memory)]
            coded, end = encode_one(the_code, message, start)
            ways.append(end == start and np.array_equal(coded, codeword))
        assert sum(ways) >= 1


def test_systematic():
    the_code = code("conv:7,5/7:50")
    messages = np.random.default_rng(4).integers(0, 2, (10, 50), dtype=np.uint8)
    assert np.array_equal(the_code.encode(messages)[:, ::2], messages)


def test_puncturing():
    whole = code("conv:171,133:60:zero")
    rate_34 = code("conv:171,133@110110:60:zero")
    messages = np.random.default_rng(5).integers(0, 2, (4, 60), dtype=np.uint8)
    kept = np.resize([True, True, False, True, True, False], whole.n)
    codewords = rate_34.encode(messages)
    assert np.array_equal(codewords, whole.encode(messages)[:, kept])
    assert rate_34.n == kept.sum() == codewords.shape[1]
    spread = rate_34.depuncture(codewords + 1.0).reshape(4, -1)
    assert np.array_equal(spread[:, kept], codewords + 1.0)
    assert not spread[:, ~kept].any()


def test_specs():
    the_code = code("conv:171,133/171@110110:123:zero")
    assert code(the_code.spec).spec == the_code.spec == "conv:171,133/171@110110:123:zero"
    assert the_code.decoder_arguments() == {
        "generators": [0o171, 0o133],
        "feedback": 0o171,
        "puncture": [1, 1, 0, 1, 1, 0],
        "k": 123,
        "termination": "zero",
    }
    assert code("conv:7,5").spec == "conv:7,5:100:none"


@pytest.mark.parametrize(
    "spec",
    [
        "conv:",
        "conv:8,5",
        "conv:7;5",
        "conv:7,5:0",
        "conv:7,5:10:tail",
        "conv:7,5/3",
        "conv:1,1",
        "conv:2001,1",
        "conv:7,0",
        "conv:7,5@111",
        "conv:7,5@00",
        "conv:7,5:1:tail-biting",
        "conv:7,5/7:99:tail-biting",
        "conv:7,7,7,7,7,7,7",
    ],
)
def test_refuses(spec):
    with pytest.raises(ValueError, match=r"expected|start state"):
        code(spec)


def test_refuses_messages():
    with pytest.raises(ValueError, match="100"):
        ConvolutionalCode([7, 5]).encode(np.zeros((2, 99), dtype=np.uint8))
