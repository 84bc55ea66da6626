# SPDX-License-Identifier: GPL-3.0-or-later
"""Every yml in grc/ against GRC itself and against the block that it makes."""

import ast
import functools
import importlib
import inspect
import itertools
import os
import re
import sys
import tempfile
import types
from pathlib import Path

import pmt
import pytest
import yaml
from gnuradio import gr, neuralfec
from gnuradio.grc.core.platform import Platform

GRC = Path(__file__).parents[2] / "grc"
# The build has filled the drop-downs of these.
INSTALLED = Path(sys.prefix, "share/gnuradio/grc/blocks")
FILES = sorted(GRC.rglob("*.block.yml"))
CATEGORIES = {
    "demapping": "Demapping",
    "quantization": "Quantization",
    "decoding": "Decoding",
    "feedback": "Feedback",
    "radio": "Radio",
    "link": "Link",
    "measurement": "Measurement",
    "networks": "Networks",
}

# Without SoapySDR's headers the module is built without these, and has nothing to make.
SOAPY = {f"neuralfec_{front}_{way}" for front in ("soapy", "radio") for way in ("source", "sink")}
MADE = [
    file
    for file in FILES
    if isinstance(neuralfec.soapy_source, type) or file.name.split(".")[0] not in SOAPY
]

every_block = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.split(".")[0])
every_made_block = pytest.mark.parametrize("file", MADE, ids=lambda file: file.name.split(".")[0])


@functools.cache
def flow_graph():
    """An empty graph of GRC's with our blocks in its library."""
    platform = Platform(name="t", prefs=gr.prefs(), version=gr.version(), version_parts=(3, 10, 0))
    folders = [str(Path(gr.prefix(), "share/gnuradio/grc/blocks")), str(INSTALLED)]
    platform.build_library(path=folders)
    return platform.make_flow_graph()


def file_to_read(file):
    if "torch_model" not in file.name:
        return str(file)
    torch = pytest.importorskip("torch")
    network = Path(tempfile.mkdtemp(), "network.pt")
    torch.jit.script(torch.nn.Linear(64, 32)).save(network)
    return str(network)


@functools.cache
def block(file):
    """The block as GRC has it after it was dragged into a graph."""
    made = flow_graph().new_block(file.name.removesuffix(".block.yml"))
    assert made is not None, "GRC does not accept the file"
    made.params["id"].set_value(f"made_{len(flow_graph().blocks)}")
    # Only the user knows which file.
    for parameter in made.params.values():
        if parameter.dtype in ("file_open", "file_save") and not parameter.get_value():
            parameter.set_value(
                file_to_read(file) if parameter.dtype == "file_open" else os.devnull
            )
    flow_graph().rewrite()
    return made


def source(file):
    return yaml.safe_load((INSTALLED / file.name).read_text())


def calls(code, namespace):
    """Calls of ours in a piece of Python, outermost first: the name and the arguments."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call):
            *path, name = ast.unparse(node.func).split(".")
            if "neuralfec" in path and all(part.isidentifier() for part in path):
                target = ".".join([*path[path.index("neuralfec") + 1 :], name])
                keywords = {}
                for word in node.keywords:
                    if word.arg is None:
                        keywords |= eval(ast.unparse(word.value), namespace)
                    else:
                        keywords[word.arg] = word.value
                yield target, node.args, keywords


def find(target):
    """What `neuralfec.<target>` is."""
    *path, name = target.split(".")
    module = importlib.import_module(".".join([neuralfec.__name__, *path]))
    return getattr(module, name)


def signatures(function):
    """Signatures of a Python callable, or those in the docstring of a bound C++ one."""
    bound = function.__init__ if inspect.isclass(function) else function
    if inspect.isfunction(function) or inspect.isfunction(bound):
        return [inspect.signature(function)]
    found = []
    for line in re.findall(r"^(?:\d+\. )?(\w+\(.*\)) ->", bound.__doc__ or "", re.M):
        # It is Python but for defaults like <method.exact: 0>.
        line = re.sub(r"= <([^<>]*)>", r'= "\1"', line)
        parsed = ast.parse(f"def {line}: pass").body[0].args
        names = [argument.arg for argument in parsed.args]
        first_default = len(names) - len(parsed.defaults)
        parameters = [
            inspect.Parameter(
                argument,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=ast.literal_eval(parsed.defaults[i - first_default])
                if i >= first_default
                else inspect.Parameter.empty,
            )
            for i, argument in enumerate(names)
            if argument != "self"
        ]
        found.append(inspect.Signature(parameters))
    return found


def given(file):
    """For each call in the make template, that of the block first: its name, its signature
    and what the parameters are given."""
    made = block(file)
    namespace = {}
    exec(made.templates.render("imports"), namespace)
    code = made.templates.render("make") or made.templates.render("var_make")
    found = []
    for target, args, keywords in calls(code, namespace):
        errors = []
        for signature in signatures(find(target)):
            try:
                found.append((target, signature, signature.bind(*args, **keywords).arguments))
                break
            except TypeError as error:
                errors.append(str(error))
        else:
            pytest.fail(f"neuralfec.{target} does not take these arguments: {errors}\n{code}")
    return found


def test_there_are_blocks():
    assert FILES


@every_block
def test_it_lies_where_its_category_says(file):
    content = source(file)
    category = CATEGORIES[file.parent.name]
    assert content["category"] == f"[NeuralFEC]/{category}"
    assert file.name == content["id"] + ".block.yml"
    assert content["id"].startswith("neuralfec_")
    assert content["file_format"] == 1


@every_block
def test_it_is_documented(file):
    content = source(file)
    assert len(content.get("documentation", "")) > 100
    assert all(parameter.get("label") for parameter in content.get("parameters", []))
    # GRC's tab breaks lines itself: the build joins those of a paragraph, and adds no word.
    shown = yaml.safe_load((INSTALLED / file.name).read_text())["documentation"]
    assert shown.split() == content["documentation"].split()
    lines = shown.splitlines()
    assert not [line for before, line in itertools.pairwise(lines) if before and line[:1].islower()]


@every_block
def test_grc_accepts_its_defaults(file):
    made = block(file)
    made.validate()
    wrong = [
        message for _, message in made.iter_error_messages() if message != "Port is not connected."
    ]
    assert not wrong


@every_block
def test_every_parameter_is_used(file):
    content = source(file)
    for parameter in content.get("parameters", []):
        others = [other for other in content["parameters"] if other is not parameter]
        uses = {
            key: value
            for key, value in content.items()
            if key not in ("parameters", "documentation")
        }
        assert re.search(rf"\b{parameter['id']}\b", yaml.safe_dump([uses, others])), parameter["id"]


@every_block
def test_it_gives_each_parameter_of_its_block(file):
    found = given(file)
    assert found, "the make template calls nothing of neuralfec"
    target, signature, arguments = found[0]
    assert signature.parameters.keys() == arguments.keys(), f"neuralfec.{target}"


@every_block
def test_its_defaults_are_those_of_its_block(file):
    content = source(file)
    template = (content["templates"].get("make") or "") + content["templates"].get("var_make", "")
    namespace = {}
    exec(block(file).templates.render("imports"), namespace)
    own = {
        parameter["id"]
        for parameter in content.get("parameters", [])
        if parameter["dtype"] not in ("file_open", "file_save")
    }
    for target, signature, arguments in given(file):
        for name, argument in arguments.items():
            default = signature.parameters[name].default
            passed_on = name in own and re.search(rf"\$\{{\s*{name}\s*\}}", template)
            if passed_on and default is not inspect.Parameter.empty:
                # What came in by ** is a value already.
                if isinstance(argument, ast.AST):
                    argument = eval(ast.unparse(argument), namespace)
                assert argument == default, f"neuralfec.{target}: {name}"


def built(file):
    """The block as a graph makes it from the defaults."""
    templates = block(file).templates
    namespace = {}
    exec(templates.render("imports"), namespace)
    # What stands behind the block itself makes windows and what callbacks need.
    first = ast.parse(templates.render("make").strip()).body[0]
    try:
        return eval(ast.unparse(first), namespace)
    except Exception as error:
        pytest.fail(f"cannot be made from its defaults: {error}")


@every_made_block
def test_its_callbacks_can_be_called(file):
    """A slider calls them: they are run as a graph does, and with values that are refused."""
    made = block(file)
    callbacks = made.get_callbacks()
    if not callbacks:
        return
    graph = types.SimpleNamespace()
    namespace = {"self": graph}
    exec(made.templates.render("imports"), namespace)
    setattr(graph, made.name, built(file))
    for statement in ast.parse(made.templates.render("make").strip()).body[1:]:
        text = ast.unparse(statement)
        if "neuralfec" in text:
            exec(text, namespace)
    for callback in callbacks:
        exec(callback, namespace)
        # The last argument is what moves.
        call = ast.parse(callback).body[0].value
        for bad in ("-1e9", "float('nan')"):
            call.args[-1] = ast.parse(bad).body[0].value
            exec(ast.unparse(ast.fix_missing_locations(call)), namespace)


@every_made_block
def test_its_ports_are_those_of_its_block(file):
    made = block(file)
    if not (made.sources or made.sinks):
        # A variable: a value for others, which has no ports to hold against it.
        assert made.is_variable
        return
    instance = built(file)
    for ports, signature, message_ports in (
        (made.active_sinks, instance.input_signature(), instance.message_ports_in()),
        (made.active_sources, instance.output_signature(), instance.message_ports_out()),
    ):
        streams = [port for port in ports if port.domain == "stream"]
        assert signature.min_streams() <= len(streams)
        assert signature.max_streams() in (-1, *range(len(streams), 100))
        for index, port in enumerate(streams):
            assert port.item_size == signature.sizeof_stream_item(index), port.name
        if isinstance(instance, gr.hier_block2):
            # Its message ports cannot be listed; a missing one raises where it is connected.
            continue
        shown = {port.key for port in ports if port.domain == "message"}
        assert shown == set(pmt.to_python(message_ports) or ()) - {"system"}


def new_block(identity):
    """A block of its own in the graph; the caller takes it out again."""
    made = flow_graph().new_block(identity)
    made.params["id"].set_value(f"under_test_{len(flow_graph().blocks)}")
    return made


def complaints(made):
    """What the dialog shows."""
    flow_graph().rewrite()
    made.validate()
    return [
        message for _, message in made.iter_error_messages() if message != "Port is not connected."
    ]


@pytest.mark.parametrize(
    ("identity", "parameter", "wrong", "reason"),
    [
        ("neuralfec_code", "spec", "wifi-649", "expected a code of"),
        ("neuralfec_bicm_transmitter", "code", "wifi-649", "expected a code of"),
        ("neuralfec_bicm_transmitter", "constellation", "qam17", "expected a constellation"),
        ("neuralfec_bicm_receiver", "decoder", "viterbi", "expected a convolutional code"),
        ("neuralfec_bicm_receiver", "decoder", "scl", "scl"),
        ("neuralfec_viterbi_decoder", "code", "conv:9", "conv"),
        ("neuralfec_bcjr_decoder", "code", "wifi-648", "expected a convolutional code"),
        ("neuralfec_generic_polar_decoder", "code", "wifi-648", "polar"),
        ("neuralfec_generic_osd_decoder", "codewords", "0", "at least 1 codeword"),
        ("neuralfec_frame_decoder", "decoder", "bp:none", "bp:none"),
        ("neuralfec_syndrome_decoder", "model", "syndrome/none", "no model"),
        ("neuralfec_feedback_receiver", "model", "feedback/none", "no model"),
        ("neuralfec_feedback_initiator", "answer_code", "no-code", "expected a code of"),
        ("neuralfec_feedback_responder", "format", "burst-129", "burst-129"),
        ("neuralfec_burst_receiver", "format", "burst-129", "burst-129"),
        ("neuralfec_radio_source", "front_end", "radio:1", "expected a front end of"),
        ("neuralfec_channel", "noise_var", "-1", "expected"),
        ("neuralfec_ber_sink", "code", "no-code", "expected a code of"),
        ("neuralfec_interleaver", "order", "[0, 0]", "order"),
    ],
)
def test_the_dialog_says_what_is_wrong(identity, parameter, wrong, reason):
    """While it is typed, and no longer once it is right, with quotes or without."""
    made = new_block(identity)
    field = made.params[parameter]
    right = field.get_value()
    try:
        field.set_value(wrong)
        assert any(reason in message for message in complaints(made)), complaints(made)
        for value in (right, f'"{right}"' if field.dtype == "string" else right):
            field.set_value(value)
            assert not complaints(made)
    finally:
        flow_graph().blocks.remove(made)


# What is tried in a field by its type. Any text is a label or a driver's business in some fields.
TYPED = {
    "int": ["-1", "0", "1.5"],
    "real": ["-1.0", "0.0", "2.0", "float('nan')", "float('inf')"],
    "complex": ["complex('nan')"],
    "string": ["no-such-name", "wifi-648", "conv:7,5", "polar-nr:64,32", "qam16", ""],
    "raw": ["-1", "'text'", "[]", "(1.0, float('nan'))"],
}
# Their windows and devices are not opened here; other tests hold them against wrong values.
OPENED = ("ber_sink", "rate_sink", "radio_s", "soapy", "frame_s", "torch_model")


@pytest.mark.parametrize(
    "file",
    [file for file in FILES if not any(name in file.name for name in OPENED)],
    ids=lambda file: file.name.split(".")[0],
)
def test_what_the_block_refuses_the_dialog_refuses(file):
    """No typed value passes the dialog and raises at the start of the graph."""
    made = new_block(file.name.removesuffix(".block.yml"))
    own = {parameter["id"] for parameter in source(file).get("parameters", [])}
    try:
        for field in [made.params[name] for name in own]:
            right = field.get_value()
            for value in TYPED.get(field.dtype, ()):
                field.set_value(value)
                found = complaints(made)
                template = made.templates.render("make") or made.templates.render("var_make")
                namespace = {"self": types.SimpleNamespace()}
                exec(made.templates.render("imports"), namespace)
                statement = ast.unparse(ast.parse(template.strip()).body[0])
                try:
                    exec(statement, namespace)
                except Exception as error:
                    assert found, f"{field.key} = {value}: {error}"
            if field.dtype == "string" and field.options and field.hide != "all":
                field.set_value("no-such-name")
                assert complaints(made), f"{field.key} takes any name"
            field.set_value(right)
            assert not complaints(made)
    finally:
        flow_graph().blocks.remove(made)
