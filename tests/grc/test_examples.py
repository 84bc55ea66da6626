# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example compiles, decodes and can be looked at; links that a person drags together."""

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from grc_harness import compile_graph, drive_window, picture, run_program

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.grc"))
# A clear channel for each example that counts errors: variables, and what they are set to.
CLEAR = {
    "bicm_link": {"snr_db": 35.0},
    "feedback_radio": {"snr_db": 5.0},
    "llr_quantization": {"snr_db": 35.0},
    "radio_link": {"power_db": 0.0},
    "sequence_decoding": {"snr_db": 10.0},
    "syndrome_decoding": {"eb_n0_db": 12.0},
}

every_example = pytest.mark.parametrize("graph", EXAMPLES, ids=lambda graph: graph.stem)


@every_example
def test_example_decodes(graph, tmp_path):
    """Its window fits a small screen, and where it counts errors a clear channel has none."""
    content = yaml.safe_load(graph.read_text())
    assert content["options"]["parameters"]["id"] == graph.stem
    counts_errors = any(block["id"] == "neuralfec_ber_sink" for block in content["blocks"])
    assert counts_errors == (graph.stem in CLEAR)
    program = compile_graph(graph, tmp_path)
    found = drive_window(program, picture(f"{graph.stem}-window.png"), CLEAR.get(graph.stem))
    assert found["size"] == [1280, 800]
    assert found["scrolls"] == [False, False]
    assert not found["errors"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_radio_example_ends_at_once(how, tmp_path):
    """By Ctrl-C in its terminal, or as a window manager does it, in the middle of its bursts."""
    program = compile_graph(EXAMPLES[0].parent / "feedback_radio.grc", tmp_path)
    run_program(program, seconds=6, how=how)


@pytest.fixture(scope="module")
def display():
    """A display without a screen, ":N"."""
    pytest.importorskip("gi", reason="needs GTK for Python (python3-gi, gir1.2-gtk-3.0)")
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x800x24"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        number = pipe.readline().strip()
    yield f":{number}"
    server.terminate()
    server.wait()


def boxes_of(graph, image, boxes, display):
    """What the companion draws: boxes by name."""
    script = Path(__file__).parent / "render_canvas.py"
    blocks = Path(sys.prefix, "share/gnuradio/grc/blocks")
    run = subprocess.run(
        [sys.executable, script, graph, image, boxes],
        capture_output=True,
        text=True,
        env=os.environ | {"DISPLAY": display, "GRC_BLOCKS_PATH": str(blocks)},
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(boxes.read_text())


@every_example
def test_nothing_overlaps_on_the_canvas(graph, tmp_path, display):
    image = picture(f"{graph.stem}-canvas.png")
    found = boxes_of(graph, image, tmp_path / "boxes.json", display)
    assert not found["errors"]
    overlaps = [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(found["boxes"].items(), 2)
        if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
    ]
    assert not overlaps
    content = yaml.safe_load(graph.read_text())
    assert any(block["parameters"].get("comment") for block in content["blocks"])
    # The signal runs from left to right.
    left = {block["name"]: block["states"]["coordinate"][0] for block in content["blocks"]}
    messages = {block["name"] for block in content["blocks"] if "feedback" in block["id"]}
    for source, _, sink, _ in content["connections"]:
        assert left[source] < left[sink] or {source, sink} & messages, f"{source} to {sink}"


LINKS = {
    "ldpc": ("wifi-648", "bp:50", 0.0),
    "polar": ("polar-nr:128,64,crc11", "scl:8", -1.0),
    "viterbi": ("conv:7,5:1000:zero", "viterbi", 0.0),
    "syndrome": ("polar-nr:64,32", "syndrome", -1.0),
    "polar-rptu": ("polar-rptu:128,64", "scl:8", -1.0),
    "nr-polar": ("nr-polar:64,128", "scl:8", -1.0),
    "polar-crc24c": ("polar-nr:256,128,crc24c", "scl:8", -1.0),
    "osd": ("rm:2,6", "osd:2", -1.0),
}


def dragged(code, decoder, start):
    """A link as it is dragged together: menus chosen, ids of variables in number fields."""
    states = {"coordinate": [0, 0], "rotation": 0, "state": "enabled"}
    blocks = {
        "snr_db": ("variable_qtgui_range", {"value": start, "start": -10, "stop": 30, "step": 1}),
        "samp_rate": ("variable", {"value": "32000"}),
        "bits": ("analog_random_source_x", {"type": "byte"}),
        "transmitter": ("neuralfec_bicm_transmitter", {"code": code, "constellation": "qam4"}),
        "throttle": ("blocks_throttle", {"type": "complex"}),
        "channel": ("neuralfec_channel", {"noise_var": "snr_db", "unit": "es_n0_db"}),
        "receiver": (
            "neuralfec_bicm_receiver",
            {"code": code, "constellation": "qam4", "decoder": decoder, "noise": "snr_db"},
        ),
        "rates": ("neuralfec_ber_sink", {"code": code}),
    }
    assert len(blocks) <= 8
    return {
        "options": {
            "parameters": {"id": "dragged", "generate_options": "qt_gui", "run_options": "prompt"},
            "states": states,
        },
        "blocks": [
            {
                "name": name,
                "id": kind,
                "parameters": {key: str(value) for key, value in parameters.items()},
                "states": states,
            }
            for name, (kind, parameters) in blocks.items()
        ],
        "connections": [
            ["bits", "0", "transmitter", "0"],
            ["bits", "0", "rates", "0"],
            ["transmitter", "0", "throttle", "0"],
            ["throttle", "0", "channel", "0"],
            ["channel", "0", "receiver", "0"],
            ["receiver", "0", "rates", "1"],
        ],
        "metadata": {"file_format": 1},
    }


@pytest.mark.parametrize("name", LINKS)
def test_a_link_of_eight_blocks_follows_its_slider(name, tmp_path):
    (tmp_path / "dragged.grc").write_text(yaml.safe_dump(dragged(*LINKS[name])))
    program = compile_graph(tmp_path / "dragged.grc", tmp_path)
    found = drive_window(program, picture(f"link-{name}-window.png"), {"snr_db": 15.0})
    assert found["before"][0]["decoded"][3] > 0.01
    assert found["after"][0]["decoded"][0] == found["after"][0]["decoded"][3] == 0


def test_code_numbers_may_stand_beside_what_moves(tmp_path):
    """The setter of an expression with id.k and a slider runs, which GRC does not prepare."""
    graph = dragged(*LINKS["syndrome"])
    blocks = {block["name"]: block for block in graph["blocks"]}
    blocks["channel"]["parameters"] |= {
        "noise_var": "10 ** (-snr_db / 10) * (code.n / code.k) / 2",
        "unit": "n0",
    }
    code = {"spec": "polar-nr:64,32"}
    states = blocks["rates"]["states"]
    graph["blocks"].append(
        {"name": "code", "id": "neuralfec_code", "parameters": code, "states": states}
    )
    (tmp_path / "dragged.grc").write_text(yaml.safe_dump(graph))
    program = compile_graph(tmp_path / "dragged.grc", tmp_path)
    drive_window(program, tmp_path / "window.png", {"snr_db": 15.0})


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
