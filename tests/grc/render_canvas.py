# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw a graph as GNU Radio Companion shows it: render_canvas.py GRAPH PICTURE BOXES.

BOXES is a JSON file with the box of each block, ports included, and of each comment, by name:
[left, top, right, bottom], and with what the companion finds wrong. It needs a display; run it in
a process of its own.
"""

import json
import sys

import cairo
import gi

gi.require_version("Gtk", "3.0")
gi.require_version("PangoCairo", "1.0")
from gi.repository import Gio, Gtk  # noqa: E402
from gnuradio import gr  # noqa: E402
from gnuradio.grc.gui.Platform import Platform  # noqa: E402


def main(graph, picture, boxes):
    # Its modules import each other in a circle, which Platform enters well.
    from gnuradio.grc.gui import Actions, Utils
    from gnuradio.grc.gui.canvas import flowgraph

    # There is no window whose menu it could be.
    flowgraph._ContextMenu = lambda window: None
    # A flow graph looks for the application that shows it.
    application = Gtk.Application(application_id="org.gnuradio.neuralfec.render")
    Gio.Application.set_default(application)
    platform = Platform(
        version=gr.version(),
        version_parts=(gr.major_version(), gr.api_version(), gr.minor_version()),
        prefs=gr.prefs(),
        install_prefix=gr.prefix(),
    )
    platform.build_library()
    flow_graph = platform.make_flow_graph()
    flow_graph.import_data(platform.parse_flow_graph(graph))
    flow_graph.rewrite()
    flow_graph.validate()
    errors = [f"{element}: {message}" for element, message in flow_graph.iter_error_messages()]
    Actions.TOGGLE_HIDE_VARIABLES.set_active(False)
    Actions.TOGGLE_SHOW_BLOCK_COMMENTS.set_active(True)
    flow_graph.update_elements_to_draw()
    # Sizes are known when all has been laid out once.
    flow_graph.create_labels(cairo.Context(cairo.ImageSurface(cairo.FORMAT_ARGB32, 8, 8)))
    flow_graph.create_shapes()
    Utils.make_screenshot(flow_graph, picture, False)
    found = {}
    for block in flow_graph.blocks:
        x, y = block.coordinate
        left, top, right, bottom = x, y, x + block.width, y + block.height
        for port in block.active_ports():
            dx, dy = port.coordinate
            left, right = min(left, x + dx), max(right, x + dx + port.width)
            top, bottom = min(top, y + dy), max(bottom, y + dy + port.height)
        found[block.name] = [left, top, right, bottom]
        comment = list(block.get_extents_comment())
        if comment[0] < comment[2]:
            found[f"comment of {block.name}"] = comment
    with open(boxes, "w") as file:
        json.dump({"boxes": found, "errors": errors}, file)


main(*sys.argv[1:])
