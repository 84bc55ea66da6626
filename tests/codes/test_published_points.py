# SPDX-License-Identifier: GPL-3.0-or-later
"""Error rates of standard codes against counts of others: same code, same channel, a decoder of the
same kind. Where nobody published any, another project's decoder was run, its bits compared with
what our encoder had sent."""

import math

import numpy as np
import pytest
from gnuradio.neuralfec import codes, decoders

AFF3CT = "AFF3CT, error_rate_references"
SIONNA = "NVIDIA Sionna, tutorial 5G_Channel_Coding_Polar_vs_LDPC_Codes"
RUN = "AFF3CT 3.0.2, layered sum-product with as many iterations, run by us on our words and H"
MAUNDER = "R. G. Maunder, polar-3gpp-matlab, results/BLER_vs_SNR_PBCH_32_864_8"

# code, decoder, Eb/N0 or Es/N0 of QPSK in dB, published block errors and blocks, blocks here
POINTS = [
    # Layered sum-product, 50 and 40 iterations; flooding needs about twice as many.
    ("ccsds:128,64", "bp:100", "Eb/N0", 3.0, 106, 2137, 6000, AFF3CT),
    ("wifi-648-5/6", "bp:80", "Eb/N0", 3.5, 110, 1684, 3000, AFF3CT),
    ("wifi-648-1/2", "bp-layered:50", "Eb/N0", 1.75, 29, 2048, 1024, RUN),
    ("wifi-648-2/3", "bp-layered:50", "Eb/N0", 2.25, 149, 2048, 1024, RUN),
    ("wifi-648-3/4", "bp-layered:50", "Eb/N0", 3, 45, 2048, 1024, RUN),
    ("wifi-1296-1/2", "bp-layered:50", "Eb/N0", 1.5, 24, 2048, 1024, RUN),
    ("wifi-1296-2/3", "bp-layered:50", "Eb/N0", 2.25, 32, 2048, 1024, RUN),
    ("wifi-1296-3/4", "bp-layered:50", "Eb/N0", 2.75, 38, 2048, 1024, RUN),
    ("wifi-1296-5/6", "bp-layered:50", "Eb/N0", 3.5, 44, 2048, 1024, RUN),
    ("wifi-1944-1/2", "bp-layered:50", "Eb/N0", 1.25, 44, 2048, 1024, RUN),
    ("wifi-1944-2/3", "bp-layered:50", "Eb/N0", 2, 74, 2048, 1024, RUN),
    ("wifi-1944-3/4", "bp-layered:50", "Eb/N0", 2.75, 10, 2048, 1024, RUN),
    ("wifi-1944-5/6", "bp-layered:50", "Eb/N0", 3.25, 136, 2048, 1024, RUN),
    ("ccsds:256,128", "bp-layered:50", "Eb/N0", 2.5, 140, 2048, 1024, RUN),
    ("ccsds:512,256", "bp-layered:50", "Eb/N0", 2.25, 129, 2048, 1024, RUN),
    ("dvb-s2-short:1/4", "bp-layered:20", "Eb/N0", 0.7, 29, 512, 256, RUN),
    ("dvb-s2-short:1/3", "bp-layered:20", "Eb/N0", 0.5, 53, 512, 256, RUN),
    ("dvb-s2-short:2/5", "bp-layered:20", "Eb/N0", 0.6, 45, 512, 256, RUN),
    ("dvb-s2-short:1/2", "bp-layered:20", "Eb/N0", 1, 14, 512, 256, RUN),
    ("dvb-s2-short:3/5", "bp-layered:20", "Eb/N0", 1.3, 89, 512, 256, RUN),
    ("dvb-s2-short:2/3", "bp-layered:20", "Eb/N0", 1.9, 6, 512, 256, RUN),
    ("dvb-s2-short:4/5", "bp-layered:20", "Eb/N0", 2.55, 160, 512, 256, RUN),
    ("dvb-s2-short:5/6", "bp-layered:20", "Eb/N0", 2.8, 264, 512, 256, RUN),
    ("dvb-s2-short:3/4", "bp:10", "Eb/N0", 2.9, 101, 681, 400, AFF3CT),
    ("dvb-s2-short:8/9", "bp:10", "Eb/N0", 3.9, 100, 511, 400, AFF3CT),
    ("polar-nr:1024,512", "sc", "Eb/N0", 2.0, 1371, 13400, 4000, AFF3CT),
    ("nr-ldpc:64,128", "bp:20", "Eb/N0", 2.0, 1547, 10000, 6000, SIONNA),
    ("nr-ldpc:500,1000", "bp:20", "Eb/N0", 1.5, 521, 7000, 3000, SIONNA),
    ("nr-ldpc:4000,8000", "bp:20", "Eb/N0", 1.0, 831, 2000, 400, SIONNA),
    ("nr-polar:64,128", "scl:8", "Eb/N0", 2.0, 1026, 10000, 6000, SIONNA),
    ("nr-polar:64,128", "sc", "Eb/N0", 2.0, 4834, 10000, 6000, SIONNA),
    ("rm:3,7", "scl:8", "Eb/N0", 2.0, 1295, 20000, 6000, SIONNA),
    # 1000 errors were counted to a rate of 4.69e-2.
    ("nr-polar:32,864,downlink", "scl:8", "Es/N0", -8.5, 1000, 21320, 4000, MAUNDER),
]


def count(code, spec, variance, blocks, seed):
    """Block errors of BPSK of amplitude 1 in real noise."""
    decoder, rng = decoders.decoder(spec, code), np.random.default_rng(seed)
    wrong = 0
    for first in range(0, blocks, 500):
        messages = rng.integers(0, 2, (min(500, blocks - first), code.k), dtype=np.uint8)
        y = 2.0 * code.encode(messages) - 1
        y += math.sqrt(variance) * rng.standard_normal(y.shape)
        decoded, _ = decoder.decode((2 * y / variance).astype(np.float32))
        wrong += int((decoded != messages).any(axis=1).sum())
    return wrong


@pytest.mark.statistics
@pytest.mark.parametrize(
    ("spec", "decoder", "scale", "snr_db", "errors", "total", "blocks", "source"), POINTS
)
def test_a_published_count(spec, decoder, scale, snr_db, errors, total, blocks, source):
    code = codes.code(spec)
    per_bit = 2 * code.k / code.n if scale == "Eb/N0" else 1
    wrong = count(code, decoder, 1 / (per_bit * 10 ** (snr_db / 10)), blocks, seed=1)
    together = (wrong + errors) / (blocks + total)
    deviation = math.sqrt(together * (1 - together) * (1 / blocks + 1 / total))
    # 3.5 standard deviations of the difference of both counts.
    assert abs(wrong / blocks - errors / total) < 3.5 * deviation, (wrong, blocks, source)


# ETSI EN 302 307-1, table 13: Es/N0 of QPSK in dB at a packet error rate of 1e-7, with the outer
# code and 50 iterations.
ETSI = {
    **{"1/4": -2.35, "1/3": -1.24, "2/5": -0.30, "1/2": 1.00, "3/5": 2.23, "2/3": 3.10},
    **{"3/4": 4.03, "4/5": 4.68, "5/6": 5.18, "8/9": 6.20, "9/10": 6.42},
}


@pytest.mark.statistics
@pytest.mark.parametrize("rate", ETSI)
def test_dvb_s2_has_its_threshold_where_its_standard_says(rate):
    """No error at the standard's Es/N0; all frames are lost 0.6 dB below."""
    code = codes.code(f"dvb-s2:{rate}")
    assert count(code, "bp:50", 10 ** (-ETSI[rate] / 10), 4, seed=1) == 0
    assert count(code, "bp:50", 10 ** (-(ETSI[rate] - 0.6) / 10), 4, seed=1) == 4
