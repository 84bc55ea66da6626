# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed grcc knows the blocks, and what it compiles runs."""

import subprocess
import sys

import yaml
from grc_harness import BIN, compile_graph, run_program


def block(name, kind, **parameters):
    return {
        "name": name,
        "id": kind,
        "parameters": {key: str(value) for key, value in parameters.items()},
        "states": {"coordinate": [0, 0], "rotation": 0, "state": "enabled"},
    }


def test_grcc_compiles_a_graph_with_our_blocks(tmp_path):
    order = "[2, 0, 3, 1]"
    graph = {
        "options": {
            "parameters": {"id": "frames", "generate_options": "no_gui", "run_options": "run"},
            "states": {"coordinate": [0, 0], "rotation": 0, "state": "enabled"},
        },
        "blocks": [
            block("source", "blocks_vector_source_x", type="byte", vlen=4, repeat=False,
                  vector="list(range(8))", tags="[]"),
            block("mixed", "neuralfec_interleaver", type="byte", order=order, deinterleave=False),
            block("back", "neuralfec_interleaver", type="byte", order=order, deinterleave=True),
            block("mixed_file", "blocks_file_sink", type="byte", vlen=4, append=False,
                  unbuffered=True, file=tmp_path / "mixed"),
            block("file", "blocks_file_sink", type="byte", vlen=4, append=False,
                  unbuffered=True, file=tmp_path / "out"),
        ],
        "connections": [
            ["source", "0", "mixed", "0"],
            ["mixed", "0", "back", "0"],
            ["mixed", "0", "mixed_file", "0"],
            ["back", "0", "file", "0"],
        ],
        "metadata": {"file_format": 1},
    }  # fmt: skip
    (tmp_path / "frames.grc").write_text(yaml.safe_dump(graph))
    run_program(compile_graph(tmp_path / "frames.grc", tmp_path), seconds=60)
    assert (tmp_path / "mixed").read_bytes() == bytes([2, 0, 3, 1, 6, 4, 7, 5])
    assert (tmp_path / "out").read_bytes() == bytes(range(8))


def test_gnuradio_companion_starts_with_our_python():
    run = subprocess.run(
        [BIN / "gnuradio-companion", "--help"], capture_output=True, text=True, check=True
    )
    assert "usage: gnuradio-companion" in run.stdout
    script = (BIN / "gnuradio-companion").read_text()
    assert f'exec "{sys.prefix}/bin/python" ' in script
    assert f'GRC_BLOCKS_PATH="{sys.prefix}/share/gnuradio/grc/blocks' in script
