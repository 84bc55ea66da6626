# SPDX-License-Identifier: GPL-3.0-or-later
"""Learned physical-layer decoding for GNU Radio.

``from gnuradio import neuralfec`` gives the blocks by name (``neuralfec.soft_demapper``)
and the algorithms under them as subpackages (``neuralfec.phy``, ``neuralfec.codes``, ...).

Blocks load when they are asked for. The subpackages need numpy, and torch where there
are networks, but no GNU Radio: a trainer runs from a source tree with
``PYTHONPATH=python python -m neuralfec.feedback.deepvlf.training``.

Conventions everywhere: LLR = log P(b=1) - log P(b=0); Es = 1; N0 is the variance of the
complex noise, both rails together; bits are uint8 0 or 1, most significant first.
"""

import importlib
import pkgutil

__version__ = "0.1.0"

TORCH = (
    "install it by `pip install torch` into this module's environment, or by "
    "`apt install python3-torch` for the system's Python"
)
"""How to get PyTorch, for errors."""

# Where each block lives. A new block is one line here, one yml in grc/.
_BLOCKS = {
    "ber_sink": "qt_blocks",
    "bicm_receiver": "blocks",
    "bicm_transmitter": "blocks",
    "burst_meter": "radio.blocks",
    "burst_receiver": "neuralfec_python",
    "burst_transmitter": "radio.blocks",
    "channel": "neuralfec_python",
    "error_counter": "blocks",
    "frame_decoder": "blocks",
    "frame_encoder": "blocks",
    "frame_sink": "blocks",
    "frame_source": "blocks",
    "impairments": "radio.blocks",
    "interleaver": "neuralfec_python",
    "ldpc_decoder": "neuralfec_python",
    "generic_ldpc_decoder": "neuralfec_python",
    "linear_encoder": "neuralfec_python",
    "generic_linear_encoder": "neuralfec_python",
    "llr_dequantizer": "quantization.blocks",
    "llr_quantizer": "quantization.blocks",
    "llr_store": "quantization.blocks",
    "mapper": "neuralfec_python",
    "torch_model": "network_blocks",
    "polar_decoder": "neuralfec_python",
    "snapshot": "blocks",
    "soapy_sink": "neuralfec_python",
    "soapy_source": "neuralfec_python",
    "soft_demapper": "neuralfec_python",
    "generic_polar_decoder": "neuralfec_python",
    "osd_decoder": "neuralfec_python",
    "syndrome_decoder": "syndrome.blocks",
    "generic_osd_decoder": "neuralfec_python",
    # Deprecated names, for one release.
    "deepvlf_transmitter": "feedback.blocks",
    "deepvlf_receiver": "feedback.blocks",
    "deepvlf_link": "feedback.blocks",
    "feedback_transmitter": "feedback.blocks",
    "feedback_receiver": "feedback.blocks",
    "feedback_link": "feedback.blocks",
    "feedback_rate_sink": "feedback.qt_blocks",
    "feedback_initiator": "radio.feedback_blocks",
    "feedback_responder": "radio.feedback_blocks",
    "bcjr_decoder": "neuralfec_python",
    "generic_viterbi_decoder": "neuralfec_python",
    "radio_sink": "radio.blocks",
    "radio_source": "radio.blocks",
    "rnn_decoder": "sequence.blocks",
    "rnn_stream_decoder": "sequence.blocks",
    "viterbi_decoder": "neuralfec_python",
    "viterbi_stream_decoder": "neuralfec_python",
}


def __getattr__(name: str):
    if name in _BLOCKS:
        try:
            module = importlib.import_module(f".{_BLOCKS[name]}", __name__)
        except ImportError as error:
            if error.name == "torch":
                raise ImportError(f"block {name!r} needs PyTorch ({error}): {TORCH}") from error
            raise ImportError(
                f"block {name!r} needs GNU Radio 3.10 and the built module ({error}); "
                "apps/doctor.py tells what is missing"
            ) from error
        block = getattr(module, name)
        globals()[name] = block
        return block
    try:
        return importlib.import_module(f".{name}", __name__)
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    parts = [part.name for part in pkgutil.iter_modules(__path__) if part.name[0] != "_"]
    return sorted({*globals(), *_BLOCKS, *parts} - {"importlib", "pkgutil"})
