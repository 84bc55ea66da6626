#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""List models, show what a model's card says, measure it, or export it for other programs.

A model is a shipped name, such as quantization/qam256-15bit, or a file *.pt. Export writes ONNX
(file.onnx, which needs torch and onnx) or NumPy arrays (file.npz). Speed runs it on one core of
this machine, through the decoder, quantizer or feedback code that uses it.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import os
import sys

from gnuradio.neuralfec import app, models


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec models list",
        "neuralfec models show quantization/qam256-15bit",
        "neuralfec models speed quantization/qam256-15bit",
        "neuralfec models export quantization/qam256-15bit arrays.npz",
    )
    made.add_argument("action", choices=("list", "show", "speed", "export"), help="what to do")
    made.add_argument("model", nargs="?", help="shipped name or file; of list, a system")
    made.add_argument("output", nargs="?", type=app.OutputFile, help="*.onnx or *.npz")
    made.add_argument("--method", default="forward", help="of the card's methods, for ONNX")
    return made


def run(args: argparse.Namespace) -> None:
    if args.action == "list":
        for name, card in models.list(args.model).items():
            print(f"{name:42} {card.operating_point}".rstrip())
        return
    if args.model is None:
        raise ValueError(f"{args.action}: expected a model; neuralfec models list names them")
    if args.action == "show":
        print(models.show(args.model))
        return
    if args.action == "speed":
        from gnuradio.neuralfec.links.model_speed import speed

        print(f"{models.cost(args.model)}\n{speed(args.model)}")
        return
    if args.output is None or os.path.splitext(args.output)[1] not in (".onnx", ".npz"):
        raise ValueError(f"export: expected a file *.onnx or *.npz to write, got {args.output}")
    module = None
    if args.output.endswith(".onnx") and is_cancellation_network(args.model):
        # ONNX has no loops over lists of tensors: the network itself is traced, for a minute.
        from gnuradio.neuralfec.syndrome.network import CancellationNetwork

        module = CancellationNetwork.from_model(args.model)
    models.export(args.model, args.output.path, method=args.method, module=module)


def is_cancellation_network(model: str) -> bool:
    return "cancellation_network" in models.read_card(model).parameters


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
