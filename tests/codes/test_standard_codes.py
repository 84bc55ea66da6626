# SPDX-License-Identifier: GPL-3.0-or-later
"""Codes of standards against properties that their standards tell and against other encoders."""

import itertools

import numpy as np
import pytest
from gnuradio import blocks, gr
from gnuradio.neuralfec import codes, decoders
from gnuradio.neuralfec.codes import gf2, ldpc, polar, tables

WIFI = list(itertools.product((648, 1296, 1944), ("1/2", "2/3", "3/4", "5/6")))


def random_messages(code, frames=3, seed=1):
    return np.random.default_rng(seed).integers(0, 2, (frames, code.k), dtype=np.uint8)


@pytest.mark.parametrize(("n", "rate"), WIFI)
def test_wifi_encodes_by_its_dual_diagonal(n, rate):
    code = codes.code(f"wifi-{n}-{rate}")
    k, size = n * int(rate[0]) // int(rate[2]), n // 24
    assert (code.n, code.k, code.name) == (n, k, f"wifi-{n}-{rate}")
    assert np.array_equal(code.information_set, np.arange(k))
    h = np.asarray(code.parity_check)
    # Two columns of ones to each check bit but the first, which has three, with shifts 1, 0, 1.
    assert (h[:, k : k + size].sum(axis=0) == 3).all()
    assert (h[:, k + size :].sum(axis=0) == 2).all()
    # IEEE Std 802.11-2012, 20.3.11.7: p_0 is the sum of all lambda_i, then each block row gives
    # the next block of check bits.
    messages = random_messages(code)
    part = (messages.astype(int) @ h[:, :k].T % 2).reshape(len(messages), -1, size)
    rows = part.shape[1]
    first = part.sum(axis=1) % 2
    middle = int(np.flatnonzero(h[::size, k : k + size].any(axis=1))[1])
    parity = [first, (part[:, 0] + np.roll(first, -1, axis=1)) % 2]
    for i in range(1, rows - 1):
        parity.append((part[:, i] + parity[i] + (first if i == middle else 0)) % 2)
    assert np.array_equal(code.encode(messages)[:, k:], np.concatenate(parity, axis=1))


def test_wifi_648_is_its_code_of_rate_one_half():
    assert np.array_equal(
        codes.code("wifi-648").parity_check, codes.code("wifi-648-1/2").parity_check
    )


@pytest.mark.parametrize(
    "spec", [648, None, 3.5, b"wifi-648", "wifi-648-4/5", "wifi-649-1/2", "wifi-1944"]
)
def test_what_is_no_code_is_a_value_error_with_the_names(spec):
    with pytest.raises(ValueError, match=r"expected a code of .*wifi-1944-5/6.*alist:FILE"):
        codes.code(spec)


# DVB-S2.

DVB_S2 = {
    "normal": "1/4 1/3 2/5 1/2 3/5 2/3 3/4 4/5 5/6 8/9 9/10".split(),
    "short": "1/4 1/3 2/5 1/2 3/5 2/3 3/4 4/5 5/6 8/9".split(),
}
# ETSI EN 302 307-1, tables 5a and 5b: LDPC's message bits.
DVB_S2_MESSAGE = {
    "normal": [16200, 21600, 25920, 32400, 38880, 43200, 48600, 51840, 54000, 57600, 58320],
    "short": [3240, 5400, 6480, 7200, 9720, 10800, 11880, 12600, 13320, 14400],
}


@pytest.mark.parametrize(
    ("frame", "rate", "k"),
    [
        (frame, rate, k)
        for frame, rates in DVB_S2.items()
        for rate, k in zip(rates, DVB_S2_MESSAGE[frame], strict=True)
    ],
)
def test_dvb_s2_encodes_by_its_accumulators(frame, rate, k):
    """Step by step as the standard tells (clause 5.3.2), and as GNU Radio's gr-dtv does."""
    name = "dvb-s2" if frame == "normal" else "dvb-s2-short"
    n = 64800 if frame == "normal" else 16200
    code = codes.code(f"{name}:{rate}")
    assert (code.n, code.k) == (n, k) and np.array_equal(code.information_set, np.arange(k))
    message = random_messages(code, 1)[0]
    parity = np.zeros(n - k, dtype=np.uint8)
    groups = [r for r in tables.records("dvb-s2") if (r["frame"], r["rate"]) == (frame, rate)]
    step = (n - k) // 360
    for group, row in enumerate(groups):
        for address in map(int, row["addresses"].split()):
            for i in range(360):
                parity[(address + i * step) % (n - k)] ^= message[360 * group + i]
    parity = np.bitwise_xor.accumulate(parity)
    assert np.array_equal(code.encode(message), np.concatenate([message, parity]))
    dtv = pytest.importorskip("gnuradio.dtv", reason="needs gr-dtv")
    constant = f"C{rate.replace('/', '_')}"
    size = dtv.FECFRAME_NORMAL if frame == "normal" else dtv.FECFRAME_SHORT
    encoder = dtv.dvb_ldpc_bb(dtv.STANDARD_DVBS2, size, getattr(dtv, constant), dtv.MOD_OTHER)
    graph, sink = gr.top_block(), blocks.vector_sink_b()
    graph.connect(blocks.vector_source_b(message.tolist() * 2), encoder, sink)
    graph.run()
    assert np.array_equal(np.array(sink.data(), np.uint8)[:n], code.encode(message))


@pytest.mark.parametrize("spec", ["dvb-s2:7/8", "dvb-s2:1-2", "dvb-s2-short:9/10", "ccsds:64,32"])
def test_rates_that_are_not_of_the_standard(spec):
    with pytest.raises(ValueError, match=f"expected {spec.partition(':')[0]}:.*got {spec}"):
        codes.code(spec)


# CCSDS: the generator matrices that the standard lists beside H, as first rows of circulants
# (CCSDS 231.0-B, annex), in hexadecimal.
CCSDS_GENERATORS = {
    128: ["0E69166BEF4C0BC2", "7766137EBB248418", "C480FEB9CD53A713", "4EAA22FA465EEA11"],
    256: [
        "73F5E8390220CE5136ED68E9F39EB162",
        "BAC812C0BCD243794786D9285A09095C",
        "7DF83F76A5FF4C388E6C0D4E025EB712",
        "BAA37B3260CB31C5D0F66A31FAF511BC",
    ],
    512: [
        "1D21794A22761FAE59945014257E130D74D60540037940142DADEB9CA25EF12E",
        "60E0B6623C5CE5124D2C81ECC7F469AB20678DBFB7523ECE2B54B906A9DBE98C",
        "F6739BCF54273E77167BDA120C6C47744C071EFF5E32A7593138670C095C39B5",
        "28706BD0453002582DAB85F05B9201D08DFDEE2D9D84CA88B371FAE63A4EB07E",
    ],
}


@pytest.mark.parametrize("n", CCSDS_GENERATORS)
def test_ccsds_has_the_generator_of_its_standard(n):
    code = codes.code(f"ccsds:{n},{n // 2}")
    size = n // 8
    parity = []
    for text in CCSDS_GENERATORS[n]:
        row = np.array([int(b) for b in f"{int(text, 16):0{n // 2}b}"]).reshape(-1, size)
        parity += [np.roll(row, i, axis=1).ravel() for i in range(size)]
    expected = np.hstack([np.eye(n // 2, dtype=int), parity])
    assert np.array_equal(code.generator, expected)


# 5G NR LDPC.


def test_lifting_sizes_are_those_of_the_table():
    sizes = ldpc.lifting_sizes()
    assert len(sizes) == 51 and max(sizes) == 384
    # 3GPP TS 38.212, table 5.3.2-1.
    of_set = {s: sorted(z for z in sizes if sizes[z] == s) for s in range(8)}
    assert of_set[0] == [2, 4, 8, 16, 32, 64, 128, 256]
    assert of_set[1] == [3, 6, 12, 24, 48, 96, 192, 384]
    assert of_set[7] == [15, 30, 60, 120, 240]


def plain_nr_ldpc(message, e, version, graph, size):
    """Coded bits by the standard's own loops; the core is solved by elimination."""
    rows, columns, k_columns = {1: (46, 68, 22), 2: (42, 52, 10)}[graph]
    set_index = ldpc.lifting_sizes()[size]
    base = {
        (int(r["row"]), int(r["column"])): int(r[str(set_index)]) % size
        for r in tables.records("nr-ldpc")
        if r["graph"] == str(graph)
    }
    k = k_columns * size
    c = np.zeros(k, dtype=int)
    c[: len(message)] = message
    word = np.zeros(columns * size, dtype=int)
    word[:k] = c

    def block(row, column):
        shift = base[row, column]
        return np.roll(word[column * size : (column + 1) * size], -shift)

    core = np.zeros((4 * size, 4 * size), dtype=np.uint8)
    right = np.zeros(4 * size, dtype=np.uint8)
    for row, column in base:
        at = slice(row * size, (row + 1) * size)
        if row < 4 and column < k_columns:
            right[at] ^= block(row, column).astype(np.uint8)
        elif row < 4:
            j = column - k_columns
            shifted = np.roll(np.eye(size, dtype=np.uint8), base[row, column], axis=1)
            core[at, j * size : (j + 1) * size] ^= shifted
    word[k : k + 4 * size] = gf2.product(right[None], gf2.inverse(core).T)[0]
    for row in range(4, rows):
        total = np.zeros(size, dtype=int)
        for column in range(k_columns + 4):
            if (row, column) in base:
                total ^= block(row, column)
        single = k_columns + row
        assert base[row, single] == 0
        word[single * size : (single + 1) * size] = total
    # 5.4.2.1: d has NULL at the filler; k_0 by table 5.4.2.1-2.
    d = list(word[2 * size :])
    for i in range(len(message), k):
        d[i - 2 * size] = None
    starts = {1: (0, 17, 33, 56), 2: (0, 13, 25, 43)}[graph]
    buffer = len(d)
    start = starts[version] * buffer // ((columns - 2) * size) * size
    sent, j = [], 0
    while len(sent) < e:
        bit = d[(start + j) % buffer]
        if bit is not None:
            sent.append(bit)
        j += 1
    return sent


@pytest.mark.parametrize("version", range(4))
@pytest.mark.parametrize(
    ("k", "e", "graph", "size"),
    [
        (20, 40, 2, 4),  # filler, 6 message columns
        (64, 128, 2, 11),
        (193, 500, 2, 26),  # 8 columns
        (600, 900, 2, 72),  # 9 columns
        (641, 1400, 2, 72),  # 10 columns; more than the buffer is not
        (100, 1300, 2, 18),  # bits are sent twice
        (1000, 1400, 1, 48),
        (4000, 6000, 1, 192),
        (300, 1500, 2, 40),  # rate 1/5
    ],
)
def test_nr_ldpc_by_the_loops_of_the_standard(k, e, graph, size, version):
    code = codes.code(f"nr-ldpc:{k},{e},{version}")
    assert (code.n, code.k) == (e, k)
    message = random_messages(code, 1, seed=version)[0]
    assert code.encode(message).tolist() == plain_nr_ldpc(message, e, version, graph, size)


@pytest.mark.parametrize("spec", ["nr-ldpc:64,128", "nr-ldpc:500,600,0", "nr-ldpc:100,1300,3"])
def test_nr_ldpc_decodes_what_it_sends(spec):
    code = codes.code(spec)
    messages = random_messages(code, 50)
    llrs = (6 * (2.0 * code.encode(messages) - 1)).astype(np.float32)
    for decoder in ("bp:30", "min-sum:30"):
        decoded, stats = decoders.decoder(decoder, code).decode(llrs)
        assert np.array_equal(decoded, messages)
        assert stats["converged"] == stats["frames"] == 50


def test_transmissions_one_after_the_other_add_up():
    code, first = codes.code("nr-ldpc:100,120,0+2"), codes.code("nr-ldpc:100,120")
    second = codes.code("nr-ldpc:100,120,2")
    messages = random_messages(code, 500)
    sent = code.encode(messages)
    assert np.array_equal(sent[:, :120], first.encode(messages))
    assert np.array_equal(sent[:, 120:], second.encode(messages))
    rng = np.random.default_rng(2)
    llrs = (2 * (2.0 * sent - 1 + rng.standard_normal(sent.shape))).astype(np.float32)
    alone = decoders.decoder("bp:20", first).decode(llrs[:, :120])[0]
    together = decoders.decoder("bp:20", code).decode(llrs)[0]
    errors = [(decoded != messages).any(axis=1).mean() for decoded in (alone, together)]
    assert errors[0] > 0.9 and errors[1] < 0.5


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("64", "expected nr-ldpc:K,E"),
        ("64,128,4", "redundancy versions 0 to 3"),
        ("64,128,0,bg3", "base graph bg1 or bg2"),
        ("64,63", "K bits to be sent"),
        ("0,63", "1 <= K"),
        ("9000,12000", "at most 8448"),
        ("3841,9000,0,bg2", "at most 3840"),
        ("64,128,x", "expected nr-ldpc:K,E"),
    ],
)
def test_nr_ldpc_refuses(argument, message):
    with pytest.raises(ValueError, match=message):
        codes.code(f"nr-ldpc:{argument}")


# 5G NR polar.


def plain_nr_polar(message, e, link):
    """Coded bits by the standard's own loops (3GPP TS 38.212, 5.1, 5.3.1, 5.4.1)."""
    polynomial, degree, largest = {
        "uplink": (0b111000100001, 11, 10),
        "downlink": (0b1101100101011000100010111, 24, 9),
    }[link]
    remainder = int("".join(map(str, message)), 2) << degree
    while remainder.bit_length() > degree:
        remainder ^= polynomial << (remainder.bit_length() - degree - 1)
    c = [*message, *map(int, f"{remainder:0{degree}b}")]
    k = len(c)
    log_e = int(np.ceil(np.log2(e)))
    n_1 = log_e - 1 if e <= 9 / 8 * 2 ** (log_e - 1) and k / e < 9 / 16 else log_e
    n = 2 ** max(min(n_1, int(np.ceil(np.log2(8 * k))), largest), 5)
    if link == "downlink":
        table = [int(i) for row in tables.rows("nr-polar-interleaver") for i in row]
        c = [c[p - (164 - k)] for p in table if p >= 164 - k]
    pattern = [0, 1, 2, 4, 3, 5, 6, 7, 8, 16, 9, 17, 10, 18, 11, 19]
    pattern += [31 - i for i in reversed(pattern)]  # the table is symmetric
    j_of = [pattern[32 * i // n] * (n // 32) + i % (n // 32) for i in range(n)]
    frozen = set()
    if e < n and k / e <= 7 / 16:
        frozen |= {j_of[i] for i in range(n - e)}
        limit = np.ceil(3 * n / 4 - e / 2) if e >= 3 * n / 4 else np.ceil(9 * n / 16 - e / 4)
        frozen |= set(range(int(limit)))
    elif e < n:
        frozen |= {j_of[i] for i in range(e, n)}
    order = [int(i) for row in tables.rows("nr-polar-order") for i in row if int(i) < n]
    chosen = sorted([i for i in order if i not in frozen][-k:])
    u = np.zeros(n, dtype=int)
    u[chosen] = c
    d = u @ polar.transform_matrix(n).astype(int) % 2
    y = [d[j_of[i]] for i in range(n)]
    if e >= n:
        sent = [y[i % n] for i in range(e)]
    elif k / e <= 7 / 16:
        sent = y[n - e :]
    else:
        sent = y[:e]
    if link == "downlink":
        return sent
    side = int(np.ceil((np.sqrt(8 * e + 1) - 1) / 2))
    rows, at = [], 0
    for row in range(side):
        rows.append(sent[at : at + side - row])
        at += side - row
    return [rows[i][j] for j in range(side) for i in range(side) if j < len(rows[i])]


NR_POLAR = [
    *((k, e, "uplink") for k, e in [(20, 54), (20, 108), (64, 128), (64, 90), (100, 500)]),
    *((k, e, "uplink") for k, e in [(200, 300), (300, 1000), (500, 1030), (700, 900), (30, 2000)]),
    *((k, e, "downlink") for k, e in [(32, 864), (40, 108), (12, 108), (140, 216), (60, 432)]),
    *((k, e, "downlink") for k, e in [(1, 54), (64, 97), (140, 1728)]),
]


@pytest.mark.parametrize(("k", "e", "link"), NR_POLAR)
def test_nr_polar_by_the_loops_of_the_standard(k, e, link):
    code = codes.code(f"nr-polar:{k},{e},{link}")
    assert (code.n, code.k) == (e, k)
    messages = random_messages(code, 20)
    sent = code.encode(messages)
    assert sent[0].tolist() == plain_nr_polar(messages[0].tolist(), e, link)
    llrs = (3 * (2.0 * sent - 1)).astype(np.float32)
    for spec in ("sc", "scl:8", "scl:4,exact"):
        decoded, stats = decoders.decoder(spec, code).decode(llrs)
        assert np.array_equal(decoded, messages), spec
        assert stats["bad_samples"] == 0


def test_the_interleaved_check_chooses_among_the_list():
    """SCL with the check's bits where the interleaver puts them is far better than SC."""
    code = codes.code("nr-polar:40,120,downlink")
    messages = random_messages(code, 2000)
    rng = np.random.default_rng(3)
    received = 2.0 * code.encode(messages) - 1 + 0.85 * rng.standard_normal((2000, 120))
    llrs = (2 / 0.85**2 * received).astype(np.float32)
    errors = [
        (decoders.decoder(spec, code).decode(llrs)[0] != messages).any(axis=1).mean()
        for spec in ("sc", "scl:16")
    ]
    assert errors[1] < 0.4 * errors[0]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("64", "expected nr-polar:K,E"),
        ("64,128,sidelink", "expected nr-polar:K,E"),
        ("19,108", "K from 20 to 1013"),
        ("141,216,downlink", "K from 1 to 140"),
        ("64,74", r"E from K \+ 11"),
        ("64,9000", "to 8192"),
    ],
)
def test_nr_polar_refuses(argument, message):
    with pytest.raises(ValueError, match=message):
        codes.code(f"nr-polar:{argument}")
