# SPDX-License-Identifier: GPL-3.0-or-later
"""Codes of files, in the forms in which people publish them."""

import multiprocessing
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from gnuradio import blocks, fec, gr
from gnuradio.neuralfec import codes, decoders
from gnuradio.neuralfec.codes import alist, sparse
from hypothesis import given, settings
from hypothesis import strategies as st

H = np.array(
    [
        [1, 1, 0, 1, 0, 0, 0, 1],
        [0, 1, 1, 0, 1, 0, 0, 0],
        [1, 0, 1, 0, 0, 1, 0, 1],
        [0, 0, 0, 1, 1, 1, 1, 0],
    ],
    dtype=np.uint8,
)
G = codes.LinearCode(H).generator


def text(matrix, between=" ", end="\n"):
    return end.join(between.join(map(str, row)) for row in matrix) + end


def alist_text(matrix):
    lists = [np.flatnonzero(column) + 1 for column in matrix.T]
    rows = [np.flatnonzero(row) + 1 for row in matrix]
    lines = [matrix.shape[::-1], [max(map(len, lists)), max(map(len, rows))]]
    lines += [[len(ones) for ones in lists], [len(ones) for ones in rows], *lists, *rows]
    return "\n".join(" ".join(map(str, line)) for line in lines) + "\n"


def annotated(words):
    """An alist text with comments above, between and behind its lines."""
    lines = alist_text(H).splitlines()
    lines = [f"{line}  # {i}" if i % 3 else line for i, line in enumerate(lines)]
    between = [part for line in lines for part in (words, line)]
    return "\n".join([words, "#", *between, words]) + "\n"


# name: (spec without the path, file name, what writes it)
csr, csc, coo = scipy.sparse.csr_matrix, scipy.sparse.csc_matrix, scipy.sparse.coo_matrix
FORMS = {
    "alist": ("alist", "h.alist", lambda p: p.write_text(alist_text(H))),
    "alist, zero-filled": ("alist", "h.alist", lambda p: alist.write(p, H)),
    "alist, CRLF": ("alist", "h", lambda p: p.write_text(alist_text(H).replace("\n", "\r\n"))),
    "alist, comments": ("alist", "h.alist", lambda p: p.write_text(annotated("# of (8, 4)"))),
    "alist, byte order mark": (
        "alist",
        "h.alist",
        lambda p: p.write_text(annotated("# größer"), encoding="utf-8-sig"),
    ),
    "matrix alist": ("matrix", "h.alist", lambda p: p.write_text(alist_text(H))),
    "alist without a name": ("matrix", "h.txt", lambda p: p.write_text(annotated("#"))),
    "text": ("matrix", "h.txt", lambda p: p.write_text(text(H))),
    "savetxt": ("matrix", "h.txt", lambda p: np.savetxt(p, H, "%d")),
    "savetxt of floats": ("matrix", "h.txt", lambda p: np.savetxt(p, H, header="H")),
    "csv": ("matrix", "h.csv", lambda p: p.write_text(text(H, ","))),
    "no blanks": ("matrix", "h.txt", lambda p: p.write_text(text(H, ""))),
    "brackets": ("matrix", "h.m", lambda p: p.write_text("% H\n[" + text(H, " ", ";\n") + "]")),
    "npy": ("matrix", "h.npy", lambda p: np.save(p, H)),
    "npy of floats": ("matrix", "h.npy", lambda p: np.save(p, H.astype(float))),
    "npy of bools": ("matrix", "h.npy", lambda p: np.save(p, H.astype(bool))),
    "npz of scipy": ("matrix", "h.npz", lambda p: scipy.sparse.save_npz(p, csr(H))),
    "npz, csc": ("matrix", "h.npz", lambda p: scipy.sparse.save_npz(p, csc(H))),
    "npz of H": ("matrix", "h.npz", lambda p: np.savez(p, H=H)),
    "npz of H and G": ("matrix", "h.npz", lambda p: np.savez(p, H=H, G=G)),
    "npz of any name": ("matrix", "h.npz", lambda p: np.savez_compressed(p, parity=H)),
    "text with its size": ("matrix", "h.txt", lambda p: p.write_text("4 8\n" + text(H))),
    "text with n, m": ("matrix", "h.txt", lambda p: p.write_text("# n m\n8 4\n" + text(H))),
    "Matrix Market": ("matrix", "h.mtx", lambda p: scipy.io.mmwrite(p, csc(H))),
    "mat": ("mat", "h.mat", lambda p: scipy.io.savemat(p, {"H": H, "G": G})),
    "mat, sparse": ("matrix", "h.mat", lambda p: scipy.io.savemat(p, {"A": csc(H * 1.0)})),
    "transposed text": ("matrix", "h.txt@transposed", lambda p: p.write_text(text(H.T))),
    "transposed alist": ("alist", "h.alist@transposed", lambda p: p.write_text(alist_text(H.T))),
    "transposed npz": (
        "matrix",
        "h.npz@transposed",
        lambda p: scipy.sparse.save_npz(p, coo(H.T)),
    ),
    "a name with @": ("alist", "h@last.alist", lambda p: p.write_text(alist_text(H))),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_matrix_is_read_and_decoded(form, tmp_path):
    kind, name, write = FORMS[form]
    path = tmp_path / (name if "@last." in name else name.split("@")[0])
    write(path)
    code = codes.code(f"{kind}:{tmp_path / name}")
    assert np.array_equal(code.parity_check, H)
    messages = np.random.default_rng(1).integers(0, 2, (20, code.k), dtype=np.uint8)
    llrs = (2.0 * code.encode(messages) - 1).astype(np.float32) * 4
    for spec in ("bp:5", "min-sum:5", "osd:1"):
        assert np.array_equal(decoders.decoder(spec, code).decode(llrs)[0], messages)


def test_quasi_cyclic_files(tmp_path):
    path = tmp_path / "a.qc"
    path.write_text("4 2 3\n\n0 1 0 -1\n2 0 -1 0\n")
    code = codes.code(f"qc:{path}")
    right = np.roll(np.eye(3, dtype=int), 1, axis=1)
    blocks_of = [[np.eye(3), right, np.eye(3), np.zeros((3, 3))]]
    blocks_of += [[right @ right, np.eye(3), np.zeros((3, 3)), np.eye(3)]]
    assert np.array_equal(code.parity_check, np.block(blocks_of))
    assert np.array_equal(codes.code(f"matrix:{path}").parity_check, code.parity_check)
    # A last line tells which columns of blocks are sent: here all but the second.
    path.write_text("4 2 3\n\n0 1 0 -1\n2 0 -1 0\n\n1 0 1 1\n")
    punctured = codes.code(f"qc:{path}")
    assert (punctured.n, punctured.k) == (9, 6)
    messages = np.random.default_rng(1).integers(0, 2, (20, 6), dtype=np.uint8)
    sent = punctured.encode(messages)
    assert np.array_equal(sent, np.delete(code.encode(messages), [3, 4, 5], axis=1))
    decoded, stats = decoders.decoder("bp:20", punctured).decode(4 * (2.0 * sent - 1))
    assert np.array_equal(decoded, messages) and stats["converged"] == 20


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("qc", "4 2\n", "columns, rows and size of blocks"),
        ("qc", "4 2 3\n0 1 0\n", "2 rows of 4 shifts, 8 numbers .*got 3"),
        ("qc", "4 2 3\n0 1 0 -1 2 0 -1 3\n", "shifts from 0 to 2 or -1, got -1 to 3"),
        ("qc", "4 2 3\n0 1 0 -1 2 0 -1 0 1 1 2 1\n", "last line of 0 and 1"),
        ("qc", "4 2 x\n", "integers of a quasi-cyclic code"),
        ("matrix", "", "got no rows"),
        ("matrix", "1 0 1\n0 1\n", "expected 3 bits in each row, got 2 in row 2"),
        ("matrix", "1 0 2\n0 1 1\n", "0 and 1, got '1 0 2'"),
        ("matrix", "4 9\n" + text(H), "expected 4 rows and 8 columns in the first line"),
        ("matrix", "%%MatrixMarket matrix\n1", "Matrix Market|4|expected"),
        ("matrix", "one zero\n", "0 and 1, got 'one zero'"),
        ("matrix", text(H.T), "8 rows and 4 columns, more checks than bits: .*@transposed"),
        ("alist", alist_text(H.T), "alist@transposed|@transposed"),
        ("mat", "1 0 1\n", "MATLAB file"),
        ("alist", b"\x93NUMPY\x01\x00", "text file of integers"),
        ("matrix", b"\x93NUMPY\x01\x00", "matrix of NumPy"),
        ("matrix", b"PK\x03\x04", "."),
        ("matrix", bytes(range(128, 256)), "other bytes"),
    ],
)
def test_what_is_no_matrix(kind, content, message, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((ValueError, OSError), match=message):
        codes.code(f"{kind}:{path}")
    with pytest.raises(OSError, match="missing"):
        codes.code(f"{kind}:{tmp_path / 'missing'}")


@pytest.mark.parametrize("words", ["@behind", "@first@last", "@", "@transposed@x", "@first@"])
def test_words_that_are_not_known(words, tmp_path):
    alist.write(tmp_path / "h.alist", H)
    with pytest.raises(ValueError, match="expected @first, @last, @systematic, @generator=FILE or"):
        codes.code(f"alist:{tmp_path / 'h.alist'}{words}")


# Where the message stands.

GNU_RADIO = sorted(
    path
    for path in Path("/usr/share/gnuradio/fec/ldpc").glob("*")
    if path.name.startswith(("n_", "271", "PNB2")) and "gen_matrix" not in path.name
)


def of_gnu_radio(path, messages):
    encoder = fec.ldpc_encoder_make(str(path))
    graph, source = gr.top_block(), blocks.vector_source_b(messages.ravel().tolist())
    sink = blocks.vector_sink_b()
    graph.connect(source, fec.encoder(encoder, 1, 1), sink)
    graph.run()
    return np.array(sink.data(), np.uint8).reshape(len(messages), -1)


@pytest.mark.parametrize("path", GNU_RADIO, ids=lambda path: path.name)
def test_last_is_where_gnu_radios_encoder_puts_the_message(path):
    code = codes.code(f"alist:{path}@last")
    messages = np.random.default_rng(2).integers(0, 2, (3, code.k), dtype=np.uint8)
    codewords = of_gnu_radio(path, messages)
    assert np.array_equal(code.encode(messages), codewords)
    decoder = decoders.decoder("bp:10", code)
    assert np.array_equal(decoder.decode(5 * (2.0 * codewords - 1))[0], messages)
    # Its own files are read so without a word, but for one that ends in a staircase.
    if path.name.startswith("n_"):
        assert np.array_equal(codes.code(f"alist:{path}").encode(messages), codewords)


def dependent(seed):
    """A random matrix whose first and last columns depend on each other, and its rows, too."""
    rng = np.random.default_rng(seed)
    matrix = (rng.random((12, 30)) < 0.2).astype(np.uint8)
    matrix[:, 3] = matrix[:, 1]
    matrix[:, 28] = matrix[:, 29]
    matrix[7] = matrix[2] ^ matrix[5]
    return matrix


@pytest.mark.parametrize("seed", range(10))
def test_last_with_dependent_columns_and_rows(seed, tmp_path):
    path = tmp_path / "h.alist"
    alist.write(path, dependent(seed))
    code = codes.code(f"alist:{path}@last")
    messages = np.random.default_rng(2).integers(0, 2, (5, code.k), dtype=np.uint8)
    assert np.array_equal(code.encode(messages), of_gnu_radio(path, messages))


@pytest.mark.parametrize("place", ["first", "last", "systematic"])
@pytest.mark.parametrize("seed", range(5))
def test_the_message_stands_in_the_information_set(seed, place):
    code = codes.LinearCode(dependent(seed), message=place)
    messages = np.eye(code.k, dtype=np.uint8)
    codewords = code.encode(messages)
    assert np.array_equal(codewords[:, code.information_set], messages)
    assert code.is_codeword(codewords).all() and code.systematic
    first, last = code.information_set.min(), code.information_set.max()
    assert f"{first} to {last}" in code.message_place
    assert np.array_equal(code.messages(codewords), messages)
    assert np.array_equal(sparse.PlainEncoder(code.encoding_program()).encode(messages), codewords)


def test_words_say_where_the_message_stands(tmp_path):
    # The last columns are a staircase, the first ones are independent, too.
    rng = np.random.default_rng(5)
    staircase = np.eye(20, dtype=np.uint8) + np.eye(20, k=-1, dtype=np.uint8)
    front = (rng.random((20, 30)) < 0.3).astype(np.uint8)
    path = tmp_path / "h.txt"
    path.write_text(text(np.hstack([front, staircase])))
    places = {word: codes.code(f"matrix:{path}{word}") for word in ("", "@first", "@systematic")}
    for code in places.values():
        assert np.array_equal(code.information_set, np.arange(30))
    # The same matrix turned round.
    path.write_text(text(np.hstack([staircase, front])))
    for word in ("", "@last", "@systematic"):
        code = codes.code(f"matrix:{path}{word}")
        assert np.array_equal(code.information_set, 20 + np.arange(30)), word
    assert codes.code(f"matrix:{path}@first").information_set[0] == 0


def test_a_generator_file_says_which_bits_are_the_message(tmp_path):
    rng = np.random.default_rng(3)
    while True:
        mix = rng.integers(0, 2, (4, 4))
        if round(np.linalg.det(mix)) % 2:
            break
    generator = mix @ G % 2
    alist.write(tmp_path / "h.alist", H)
    np.save(tmp_path / "g.npy", generator)
    messages = rng.integers(0, 2, (20, 4), dtype=np.uint8)
    expected = messages @ generator % 2
    for spec in (
        f"alist:{tmp_path}/h.alist@generator={tmp_path}/g.npy",
        f"generator:{tmp_path}/g.npy",
    ):
        code = codes.code(spec)
        assert np.array_equal(code.encode(messages), expected)
        assert np.array_equal(
            decoders.decoder("bp:5", code).decode(4 * (2.0 * expected - 1))[0], messages
        )
    np.save(tmp_path / "g.npy", np.vstack([generator, generator[:1]]))
    with pytest.raises(ValueError, match="generator matrix of rank 5, got rank 4"):
        codes.code(f"generator:{tmp_path}/g.npy")


# Large codes.


def staircase_alist(path, n, k, weight=4):
    m, rng = n - k, np.random.default_rng(1)
    rows = np.concatenate([rng.integers(0, m, k * weight), np.arange(m), np.arange(1, m)])
    columns = np.concatenate(
        [np.repeat(np.arange(k), weight), k + np.arange(m), k + np.arange(m - 1)]
    )
    place = np.unique(rows.astype(np.int64) * n + columns)
    alist.write(path, sparse.Ones.at(place // n, place % n, (m, n)))


def peak_kilobytes():
    """The largest memory of this process so far (ru_maxrss has the parent's, too)."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def _load(path, pipe):
    code = codes.code(f"alist:{path}")
    decoder = decoders.decoder("min-sum:5", code)
    loaded = peak_kilobytes()
    messages = np.random.default_rng(1).integers(0, 2, (4, code.k), dtype=np.uint8)
    codewords = code.encode(messages)
    right = code.is_codeword(codewords).all()
    decoded, _ = decoder.decode((4 * (2.0 * codewords - 1)).astype(np.float32))
    pipe.send((code.n, code.k, bool(right), np.array_equal(decoded, messages), loaded))


@pytest.mark.parametrize("k", [32400, 58320])
def test_a_code_of_the_size_of_dvb_s2_needs_no_generator(k, tmp_path):
    path = tmp_path / "large.alist"
    staircase_alist(path, 64800, k)
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_load, args=(path, there))
    process.start()
    assert here.poll(100), "not loaded"
    n, k_found, right, decoded, loaded = here.recv()
    process.join()
    assert (n, k_found, right, decoded) == (64800, k, True, True)
    # The generator matrix alone would have 0.4 to 2 GB. (Kilobytes.)
    assert loaded < 300_000


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 12),
    st.integers(3, 20),
    st.integers(0, 2**32),
    st.floats(0.05, 0.6),
    st.booleans(),
)
def test_equations_of_large_and_of_small_matrices(m, n, seed, density, large):
    matrix = (np.random.default_rng(seed).random((m, n)) < density).astype(np.uint8)
    ones = sparse.Ones.of(matrix, "H")
    assert np.array_equal(ones.dense(), matrix)
    limit, sparse.DENSE = sparse.DENSE, 0 if large else sparse.DENSE
    try:
        found = sparse.equations(ones, np.arange(n)[::-1], sparse.Progress("test"))
    finally:
        sparse.DENSE = limit
    rank = len(codes.gf2.row_reduce(matrix)[1])
    assert len(found.check_bits) == len(found.rows) == rank
    square = matrix[np.ix_(found.rows, found.check_bits)]
    assert len(codes.gf2.row_reduce(square)[1]) == rank
    if rank == 0:
        return
    program = sparse.substitution(ones, found, sparse.Progress("test"))
    messages = np.eye(n - rank, dtype=np.uint8)
    if n > rank:
        codewords = sparse.PlainEncoder(program).encode(messages)
        assert not (codewords.astype(int) @ matrix.T % 2).any()
        assert np.array_equal(codewords[:, program.message], messages)


# What every code does.

EVERY_CODE = [
    re.sub(r"\[.*", "", spec)
    for spec in codes.specs()
    if not re.search("FILE|[A-Z]", re.sub(r"\[.*", "", spec))
]
EVERY_CODE += ["conv:7,5:60:zero", "conv:171,-133:30:tail-biting", "polar-nr:64,32,crc11"]
EVERY_CODE += ["polar-rptu:128,64", "rm:2,6", "bch:63,45", "dvb-s2-short:8/9", "ccsds:256,128"]
EVERY_CODE += [
    "nr-ldpc:64,128",
    "nr-ldpc:100,1300,2",
    "nr-polar:64,120",
    "nr-polar:32,864,downlink",
]


@pytest.mark.parametrize("spec", EVERY_CODE)
def test_codes_pickle_and_take_one_message(spec):
    code = codes.code(spec)
    messages = np.random.default_rng(1).integers(0, 2, (3, code.k), dtype=np.uint8)
    codewords = code.encode(messages)
    assert codewords.shape == (3, code.n) and codewords.dtype == np.uint8
    assert np.array_equal(code.encode(messages[1]), codewords[1])
    assert np.array_equal(code.encode(messages[:0]), codewords[:0])
    other = pickle.loads(pickle.dumps(code))
    assert (other.n, other.k, repr(other)) == (code.n, code.k, repr(code))
    assert np.array_equal(other.encode(messages), codewords)
    for wrong in (messages[:, 1:], messages[None], messages + 2, messages - 0.5, messages * np.nan):
        with pytest.raises(ValueError, match="expected"):
            code.encode(wrong)
