# SPDX-License-Identifier: GPL-3.0-or-later
"""Every name of a code: in the documentation, through the blocks and through the program."""

import re
from pathlib import Path

import numpy as np
import pytest
from gnuradio import blocks, fec, gr, neuralfec
from gnuradio.neuralfec import codes, decoders

ROOT = Path(__file__).parents[2]


def test_the_documentation_has_every_name():
    text = (ROOT / "docs" / "codes.md").read_text()
    for spec in codes.specs():
        name = spec.partition("[")[0]
        # The twelve of 802.11n stand as a range.
        if re.fullmatch(r"wifi-\d+-\d/\d", name):
            name = "wifi-648-1/2` ... `wifi-1944-5/6"
        assert f"`{name.partition(':')[0]}" in text, spec
        # What stands behind a name is as in the registry, but for words of files.
        if ":" in name and "FILE" not in name and not name.startswith("conv"):
            assert f"`{spec}`" in text, spec


CODES = [
    ("wifi-1296-2/3", "min-sum:10"),
    ("nr-ldpc:64,128", "bp:20"),
    ("nr-ldpc:200,900,2", "min-sum:20"),
    ("dvb-s2-short:5/6", "min-sum:10"),
    ("ccsds:128,64", "osd:1"),
    ("nr-polar:64,120", "scl:4"),
    ("nr-polar:40,108,downlink", "scl:8"),
    ("polar-nr:512,32,crc24c", "scl:4"),
    ("rm:2,6", "sc"),
    ("bch:63,45", "osd:1"),
    ("conv:171,-133:64:zero", "viterbi"),
]


def run(*chain):
    graph = gr.top_block()
    graph.connect(*chain)
    graph.run()
    return np.array(chain[-1].data(), np.uint8)


@pytest.mark.parametrize(("spec", "decoder"), CODES)
def test_blocks_encode_and_decode(spec, decoder):
    code = codes.code(spec)
    messages = np.random.default_rng(1).integers(0, 2, (6, code.k), dtype=np.uint8)
    sent = code.encode(messages)

    def bits():
        return blocks.vector_source_b(messages.ravel().tolist(), False, code.k)

    sink = blocks.vector_sink_b(code.n)
    assert np.array_equal(run(bits(), neuralfec.frame_encoder(spec), sink), sent.ravel())
    if not spec.startswith("conv"):
        sink = blocks.vector_sink_b(code.n)
        assert np.array_equal(run(bits(), neuralfec.linear_encoder(spec), sink), sent.ravel())
        definition = neuralfec.generic_linear_encoder(spec, codewords=2)
        source = blocks.vector_source_b(messages.ravel().tolist())
        encoder = fec.encoder(definition, 1, 1)
        assert np.array_equal(run(source, encoder, blocks.vector_sink_b()), sent.ravel())
    llrs = (5 * (2.0 * sent - 1)).astype(np.float32)
    llrs[0, 3] = np.nan
    if decoder.startswith(("bp", "min-sum")):
        source = blocks.vector_source_f(llrs.ravel().tolist(), False, code.n)
        block = neuralfec.ldpc_decoder(spec)
        found = run(source, block, blocks.vector_sink_b(code.k))
        assert np.array_equal(found, messages.ravel())
        assert block.stats()["converged"] == 6 and block.stats()["bad_samples"] == 1
        source = blocks.vector_source_f(llrs.ravel().tolist())
        definition = neuralfec.generic_ldpc_decoder(spec, codewords=3)
        found = run(source, fec.decoder(definition, 4, 1), blocks.vector_sink_b())
        assert np.array_equal(found, messages.ravel())
    if decoder.startswith("sc"):
        source = blocks.vector_source_f(llrs.ravel().tolist(), False, code.n)
        block = neuralfec.polar_decoder(spec)
        assert np.array_equal(run(source, block, blocks.vector_sink_b(code.k)), messages.ravel())
        assert block.stats()["frames"] == 6 and block.stats()["bad_samples"] == 1
        source = blocks.vector_source_f(llrs.ravel().tolist())
        definition = neuralfec.generic_polar_decoder(spec, codewords=3)
        found = run(source, fec.decoder(definition, 4, 1), blocks.vector_sink_b())
        assert np.array_equal(found, messages.ravel())
    assert decoders.decoder(decoder, code).decode(llrs)[1]["bad_samples"] == 1
    source = blocks.vector_source_f(llrs.ravel().tolist(), False, code.n)
    found = run(source, neuralfec.frame_decoder(spec, decoder), blocks.vector_sink_b(code.k))
    assert np.array_equal(found, messages.ravel())


def test_a_long_code_is_not_multiplied_out():
    """What needs a matrix of a code of DVB-S2 refuses it before it is made."""
    code = codes.code("dvb-s2:1/2")
    for spec in ("osd:1", "syndrome", "syndrome-osd:1"):
        with pytest.raises((ValueError, OSError)):
            decoders.decoder(spec, code)
    with pytest.raises(ValueError, match="1024"):
        neuralfec.osd_decoder(code, 1)
    assert not {"generator", "parity_check", "pseudo_inverse"} & set(vars(code))
