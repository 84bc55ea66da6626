# SPDX-License-Identifier: GPL-3.0-or-later
"""Decoders, codes and models go to other processes."""

import copy
import multiprocessing
import pickle

import every_decoder
import numpy as np
import pytest
from gnuradio.neuralfec import codes
from gnuradio.neuralfec.quantization import LlrQuantizer, names

CODES = (
    "wifi-648",
    "conv:171,133@110110:300:tail-biting",
    "conv:7,5/7:20:zero",
    "polar-nr:64,32,crc11",
    "polar-rptu:128,64",
    "rm:3,7",
    "bch:63,45",
)


@pytest.mark.parametrize("case", every_decoder.CASES)
def test_decoder(case):
    decoder, code = every_decoder.make(case)
    llrs = every_decoder.noisy(code, 20)[1]
    expected = decoder.decode(llrs)
    for other in (pickle.loads(pickle.dumps(decoder)), copy.deepcopy(decoder)):
        assert (other.n, other.k) == (decoder.n, decoder.k)
        np.testing.assert_equal(other.decode(llrs), expected)


@pytest.mark.parametrize("spec", CODES)
def test_code(spec):
    code = codes.code(spec)
    messages = np.random.default_rng(1).integers(0, 2, (5, code.k), dtype=np.uint8)
    other = pickle.loads(pickle.dumps(code))
    assert np.array_equal(other.encode(messages), code.encode(messages))


@pytest.mark.parametrize("name", names())
def test_quantizer(name):
    quantizer = LlrQuantizer(name, search=False)
    llrs = np.random.default_rng(1).normal(size=(50, quantizer.bits_per_symbol)) * 5
    other = pickle.loads(pickle.dumps(quantizer))
    assert np.array_equal(other.reconstruct(llrs), quantizer.reconstruct(llrs))


def test_a_pool_of_processes():
    decoder, code = every_decoder.make("scl:8 on polar-nr:64,32,crc11")
    llrs = every_decoder.noisy(code, 40)[1]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        parts = pool.map(decoder.decode, np.split(llrs, 2))
    found = np.concatenate([messages for messages, _ in parts])
    assert np.array_equal(found, decoder.decode(llrs)[0])
