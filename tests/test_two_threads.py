# SPDX-License-Identifier: GPL-3.0-or-later
"""One object used by two threads at once gives what it gives to one thread."""

import threading

import every_decoder
import numpy as np
import pytest
from gnuradio import blocks, fec, gr, neuralfec
from gnuradio.neuralfec import _kernels, codes, models
from gnuradio.neuralfec.feedback import evaluation
from gnuradio.neuralfec.feedback import files as feedback_files
from gnuradio.neuralfec.feedback.deepvlf import code as codec
from gnuradio.neuralfec.phy.demapping import demap
from gnuradio.neuralfec.quantization import LlrQuantizer

REPEATS = 20


def assert_same_in_two_threads(call, inputs, repeats=REPEATS):
    """call(input) gives a tuple of arrays or dicts; each thread has an input of its own."""
    alone = [call(item) for item in inputs]
    failures = []
    barrier = threading.Barrier(len(inputs))

    def work(item, expected):
        try:
            barrier.wait()
            for _ in range(repeats):
                for one, other in zip(call(item), expected, strict=True):
                    np.testing.assert_equal(one, other)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(inputs, alone, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


@pytest.mark.parametrize("case", every_decoder.CASES)
def test_decoder(case):
    decoder, code = every_decoder.make(case)
    # Long frames by a network take minutes under a sanitizer.
    frames = max(2, min(40, 6000 // code.n))
    inputs = [every_decoder.noisy(code, frames, seed)[1] for seed in (1, 2)]
    assert_same_in_two_threads(decoder.decode, inputs)


@pytest.mark.parametrize(
    "constellation", ["qam16", "qam256", "psk8", "apsk32", "qam64 under interference"]
)
def test_demapper(constellation):
    name, _, interference = constellation.partition(" ")
    rng = np.random.default_rng(1)
    extra = {"interferer": "qam4"} if interference else {}

    def call(y):
        gains = {"interferer_csi": np.full((1, len(y)), 0.2, np.complex64)} if extra else {}
        return (demap(y, name, 0.05, **extra, **gains),)

    inputs = [(rng.normal(size=3000) + 1j * rng.normal(size=3000)) / 1.4 for _ in range(2)]
    assert_same_in_two_threads(call, inputs)


@pytest.mark.parametrize(
    "name", [name for name in models.shipped() if name.startswith("quantization/")]
)
def test_quantizer(name):
    quantizer = LlrQuantizer(name)
    rng = np.random.default_rng(1)
    inputs = [
        (8 * rng.standard_normal((2000, quantizer.bits_per_symbol))).astype(np.float32)
        for _ in range(2)
    ]

    def call(llrs):
        if not quantizer.bits:
            return (quantizer.reconstruct(llrs),)
        indices = quantizer.quantize(llrs)
        return indices, quantizer.dequantize(indices)

    inputs[0][0, 0] = np.nan
    quantizer.counts.clear()
    assert_same_in_two_threads(call, inputs)
    assert quantizer.counts["bad_samples"] == REPEATS + 1


ENGINES = [codec.kernel_network, codec.torch_network]


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        (name, engine)
        for name in models.shipped()
        if name.startswith("feedback/")
        # A belief-driven code has one engine, the kernel.
        for engine in (ENGINES[:1] if "belief" in name else ENGINES)
    ],
)
def test_feedback_code(name, engine):
    code, setting, _ = feedback_files.load(name, engine=engine)

    def call(seed):
        return (evaluation.simulate(code, setting, 30, np.random.default_rng(seed)),)

    assert_same_in_two_threads(call, [1, 2], repeats=2)


def test_a_stream_in_two_threads_is_refused_or_whole():
    code = codes.code("conv:7,5:60")
    stream = _kernels.ViterbiStream(**code.stream_arguments())
    llrs = np.zeros(400_000, np.float32)
    errors = []

    def work():
        for _ in range(10):
            try:
                stream.decode(llrs)
            except RuntimeError as error:
                errors.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(errors) <= {"expected one thread to decode a stream, got two at once"}
    stream.decode(llrs)


def definitions():
    """Decoders for gr-fec, by name: the code, what makes the object, and options."""
    return {
        "viterbi": ("conv:171,133:200:zero", neuralfec.generic_viterbi_decoder, {}),
        "polar": ("polar-nr:64,32", neuralfec.generic_polar_decoder, {}),
        "ldpc": ("wifi-648", neuralfec.generic_ldpc_decoder, {}),
        "osd": ("polar-nr:64,32", neuralfec.generic_osd_decoder, {"order": 1}),
    }


def test_every_generic_decoder_is_here():
    names = {name for name in dir(neuralfec) if name.startswith("generic_")}
    here = {f"generic_{name}_decoder" for name in definitions()}
    assert {name for name in names if name.endswith("_decoder")} == here


@pytest.mark.parametrize("name", ["viterbi", "polar", "ldpc", "osd"])
def test_one_gr_fec_definition_in_two_blocks(name):
    spec, make, options = definitions()[name]
    code = codes.code(spec)
    definition = make(spec, **options)
    top = gr.top_block()
    sent, sinks = [], []
    for seed in (1, 2):
        messages = np.random.default_rng(seed).integers(0, 2, (300, code.k), dtype=np.uint8)
        llrs = 8.0 * code.encode(messages) - 4
        source = blocks.vector_source_f(llrs.ravel().tolist())
        decoder = fec.decoder(definition, gr.sizeof_float, gr.sizeof_char)
        sink = blocks.vector_sink_b()
        top.connect(source, decoder, sink)
        sent.append(messages)
        sinks.append((source, decoder, sink))
    top.run()
    for messages, (_, _, sink) in zip(sent, sinks, strict=True):
        assert np.array_equal(sink.data(), messages.ravel())
