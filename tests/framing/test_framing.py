# SPDX-License-Identifier: GPL-3.0-or-later
import struct
import zlib

import numpy as np
import pytest
from gnuradio.neuralfec.framing import MAX_FRAMES, FrameFormat, ranges
from hypothesis import given
from hypothesis import strategies as st


def test_layout_by_hand():
    frame_format = FrameFormat(324)
    bits = frame_format.build(b"neuralfec", first_number=7)
    body = struct.pack("<IH30s", 7, 9, b"neuralfec")
    expected = body + struct.pack("<I", zlib.crc32(body))
    assert np.packbits(bits[0])[:40].tobytes() == expected
    assert not bits[0, 320:].any()


@given(
    data=st.binary(max_size=400),
    k=st.integers(88, 700),
    first_number=st.integers(0, 1000),
)
def test_round_trip(data, k, first_number):
    frame_format = FrameFormat(k)
    bits = frame_format.build(data, first_number)
    assert bits.shape == (frame_format.frames_for(len(data)), k)
    valid, numbers, parts = frame_format.parse(bits)
    assert valid.all()
    assert numbers.tolist() == list(range(first_number, first_number + len(bits)))
    assert b"".join(parts) == data


def test_every_single_bit_error_is_found():
    frame_format = FrameFormat(324)
    bits = frame_format.build(bytes(range(30)))
    damaged = np.repeat(bits, 320, axis=0) ^ np.eye(320, 324, dtype=np.uint8)
    valid, numbers, parts = frame_format.parse(damaged)
    assert not valid.any()
    assert set(numbers) == {-1} and set(parts) == {b""}


def test_filler_and_zeros():
    frame_format = FrameFormat(324)
    valid, _, parts = frame_format.parse(frame_format.filler(3))
    assert valid.all() and parts == [b""] * 3
    # The all-zero word is what a decoder without any signal may well give.
    assert not frame_format.parse(np.zeros((1, 324), np.uint8))[0].any()


def test_impossible_length_is_refused():
    frame_format = FrameFormat(324)
    body = struct.pack("<IH30s", 0, 31, b"")
    packed = np.frombuffer(body + struct.pack("<I", zlib.crc32(body)), np.uint8)
    bits = np.zeros((1, 324), np.uint8)
    bits[0, :320] = np.unpackbits(packed)
    assert not frame_format.parse(bits)[0].any()


def test_bad_sizes():
    with pytest.raises(ValueError, match="at least 88 message bits, got a code with k = 87"):
        FrameFormat(87)
    with pytest.raises(ValueError, match="at most 65535"):
        FrameFormat(8 * 65546)
    with pytest.raises(ValueError, match="frame numbers end"):
        FrameFormat(324).build(b"x" * 31, MAX_FRAMES - 1)


def test_ranges():
    assert ranges([]) == ""
    assert ranges([(3, 3), (5, 7), (9, 9)]) == "3, 5-7, 9"
