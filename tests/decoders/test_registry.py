# SPDX-License-Identifier: GPL-3.0-or-later
import every_decoder
import numpy as np
import pytest
from gnuradio.neuralfec import codes, decoders


@pytest.mark.parametrize(
    ("code", "spec"),
    [
        ("wifi-648", "bp"),
        ("wifi-648", "bp:5"),
        ("wifi-648", "min-sum"),
        ("wifi-648", "min-sum:7"),
        ("wifi-648", "min-sum:7,0.9"),
        ("polar-nr:64,32", "sc"),
        ("polar-nr:64,32", "scl:4"),
        ("conv:7,5:60:zero", "viterbi"),
        ("conv:171,133@110110:60", "viterbi:int8"),
        ("conv:7,5/7:60", "bcjr"),
        ("conv:7,5:60:tail-biting", "rnn"),
    ],
)
def test_each_decodes_what_arrives_clean(code, spec):
    code = codes.code(code)
    messages = np.random.default_rng(1).integers(0, 2, (20, code.k), dtype=np.uint8)
    decoder = decoders.decoder(spec, code)
    assert (decoder.n, decoder.k) == (code.n, code.k)
    llrs = (6.0 * code.encode(messages) - 3).astype(np.float32)
    decoded, stats = decoder.decode(llrs)
    assert np.array_equal(decoded, messages)
    assert stats["frames"] == 20
    assert stats["bad_samples"] == 0


@pytest.mark.parametrize("spec", ["", "bpp:50", "min_sum:3", ":"])
def test_unknown_specs_are_answered_with_the_known_ones(spec):
    with pytest.raises(ValueError, match=r"expected a decoder of bp\[:ITERATIONS\], min-sum"):
        decoders.decoder(spec, codes.code("wifi-648"))


@pytest.mark.parametrize(
    "spec", ["bp:0", "bp:-1", "bp:x", "bp:1.5", "min-sum:0", "min-sum:5,2", "min-sum:5,x"]
)
def test_arguments_out_of_range(spec):
    with pytest.raises(ValueError, match=f"got {spec}"):
        decoders.decoder(spec, codes.code("wifi-648"))


def test_a_code_that_a_decoder_cannot_decode():
    with pytest.raises(ValueError, match="polar code"):
        decoders.decoder("sc", codes.code("wifi-648"))


@pytest.mark.parametrize("code", ["wifi-648", "conv:7,5:60", "polar-nr:64,32", "bch:63,45"])
@pytest.mark.parametrize("name", every_decoder.NAMES)
def test_a_code_is_decoded_or_refused_with_a_reason(name, code):
    code = codes.code(code)
    spec = every_decoder.specs_of(name)[0]
    try:
        decoder = decoders.decoder(spec, code)
    except (ValueError, FileNotFoundError) as error:
        assert "expected" in str(error) or "model" in str(error)
        return
    messages = np.zeros((2, code.k), np.uint8)
    assert np.array_equal(decoder.decode(4.0 * code.encode(messages) - 2)[0], messages)


@pytest.mark.parametrize("wrong", ["x", None, [["a"]], 1.0, [1.0, 2.0], np.ones((2, 3)), 1j])
@pytest.mark.parametrize("case", every_decoder.CASES)
def test_what_is_no_frame_of_llrs_is_said_in_one_line(case, wrong):
    decoder, _ = every_decoder.make(case)
    with pytest.raises(ValueError, match="expected LLRs") as error:
        decoder.decode(wrong)
    assert "\n" not in str(error.value) and len(str(error.value)) < 120


@pytest.mark.parametrize("case", every_decoder.CASES)
def test_any_real_numbers_are_llrs(case):
    decoder, code = every_decoder.make(case)
    llrs = 8 * code.encode(np.ones((2, code.k), np.uint8)).astype(np.int16) - 4
    expected = decoder.decode(llrs.astype(np.float32))[0]
    for same in (llrs, llrs.tolist(), llrs.astype(float), llrs.T.copy().T):
        assert np.array_equal(decoder.decode(same)[0], expected)


def test_what_a_list_decoder_knows():
    code = codes.code("polar-nr:64,32,crc11")
    decoder = decoders.decoder("scl:4", code)
    messages, llrs = every_decoder.noisy(code, 500, sigma=0.8)
    decoded = decoder.run(llrs)
    wrong = (decoded.messages != messages).any(axis=1)
    # A word of the list that is wrong passes one check in 2^11.
    assert 0.2 < wrong.mean() < 0.9
    assert not (wrong & decoded.crc_holds).any()
    again, stats = decoder.decode(llrs)
    assert np.array_equal(again, decoded.messages)
    assert stats["crc_holds"] == decoded.crc_holds.sum()
    assert (code.is_codeword(code.encode(decoded.messages))).all()
    plain = decoders.decoder("scl:4", codes.code("polar-nr:64,32"))
    assert "crc_holds" not in plain.decode(llrs)[1]


def test_convergence_of_each_frame():
    code = codes.code("wifi-648")
    messages, llrs = every_decoder.noisy(code, 200, sigma=0.85)
    for spec in ("bp:20", "bp-layered:10", "min-sum:20"):
        decoder = decoders.decoder(spec, code)
        decoded = decoder.run(llrs)
        assert 0.1 < decoded.converged.mean() < 0.99
        assert (decoded.messages[decoded.converged] == messages[decoded.converged]).all()
        assert decoder.decode(llrs)[1]["converged"] == decoded.converged.sum()
