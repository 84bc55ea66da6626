# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example compiles with the installed grcc and runs."""

from pathlib import Path

import pytest
import yaml
from grc_harness import compile_graph, run_program

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.grc"))


@pytest.mark.parametrize("graph", EXAMPLES, ids=lambda graph: graph.stem)
def test_example_runs(graph, tmp_path):
    content = yaml.safe_load(graph.read_text())
    assert content["options"]["parameters"]["id"] == graph.stem
    # torch takes seconds to load on a busy machine.
    run_program(compile_graph(graph, tmp_path), seconds=8)


def graph_of(folder, file):
    """File source to null sink; the file need not be there until it runs."""
    states = {"coordinate": [0, 0], "rotation": 0, "state": "enabled"}
    content = {
        "options": {
            "parameters": {"id": "t", "generate_options": "no_gui", "run_options": "run"},
            "states": states,
        },
        "blocks": [
            {
                "name": "source",
                "id": "blocks_file_source",
                "parameters": {"file": str(file), "type": "byte", "repeat": "True"},
                "states": states,
            },
            {
                "name": "sink",
                "id": "blocks_null_sink",
                "parameters": {"type": "byte"},
                "states": states,
            },
        ],
        "connections": [["source", "0", "sink", "0"]],
        "metadata": {"file_format": 1},
    }
    (folder / "t.grc").write_text(yaml.safe_dump(content))
    return folder / "t.grc"


def test_the_harness_notices(tmp_path):
    """A graph that runs on is stopped and is well; one that raises is not."""
    program = compile_graph(graph_of(tmp_path, tmp_path / "data"), tmp_path)
    with pytest.raises(AssertionError, match=r"exit status 1(.|\n)*Traceback"):
        run_program(program, seconds=10)
    (tmp_path / "data").write_bytes(bytes(1000))
    run_program(program, seconds=2)
    bad = graph_of(tmp_path, tmp_path / "data")
    bad.write_text(bad.read_text().replace("blocks_null_sink", "blocks_no_such_sink"))
    program.unlink()
    with pytest.raises(AssertionError, match="Compilation error"):
        compile_graph(bad, tmp_path)
