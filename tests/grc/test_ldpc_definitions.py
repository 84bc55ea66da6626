# SPDX-License-Identifier: GPL-3.0-or-later
"""A graph of GRC with our code definitions in gr-fec's deployments, compiled and run."""

import grc_harness
import numpy as np
import pytest
import yaml


def block(name, identity, **parameters):
    return {"name": name, "id": identity, "parameters": parameters, "states": {"state": "enabled"}}


@pytest.mark.parametrize(("threads", "count"), [("none", 0), ("capillary", 2)])
def test_extended_encoder_and_decoder(tmp_path, threads, count):
    messages = np.random.default_rng(1).integers(0, 2, 40 * 324, dtype=np.uint8)
    messages.tofile(tmp_path / "in.u8")
    definition = {"parallel": str(count), "codewords": "4"}
    deployment = {"threadtype": threads, "puncpat": "'11'", "ann": "None"}
    graph = {
        "options": {
            "parameters": {
                "id": "definitions",
                "generate_options": "no_gui",
                "run_options": "run",
                "output_language": "python",
            },
            "states": {"state": "enabled"},
        },
        "blocks": [
            block("enc", "neuralfec_generic_linear_encoder", **definition),
            block("dec", "neuralfec_generic_ldpc_decoder", **definition),
            block(
                "source",
                "blocks_file_source",
                file=str(tmp_path / "in.u8"),
                type="byte",
                repeat="False",
            ),
            block("encoder", "fec_extended_encoder", encoder_list="enc", **deployment),
            block(
                "mapper",
                "digital_chunks_to_symbols_xx",
                in_type="byte",
                out_type="float",
                dimension="1",
                symbol_table="[-4, 4]",
            ),
            block("decoder", "fec_extended_decoder", decoder_list="dec", **deployment),
            block(
                "sink",
                "blocks_file_sink",
                file=str(tmp_path / "out.u8"),
                type="byte",
                unbuffered="True",
            ),
        ],
        "connections": [
            ["source", "0", "encoder", "0"],
            ["encoder", "0", "mapper", "0"],
            ["mapper", "0", "decoder", "0"],
            ["decoder", "0", "sink", "0"],
        ],
        "metadata": {"file_format": 1},
    }
    path = tmp_path / "definitions.grc"
    path.write_text(yaml.safe_dump(graph))
    grc_harness.run_program(grc_harness.compile_graph(path, tmp_path), 30)
    assert (tmp_path / "out.u8").read_bytes() == messages.tobytes()
