# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of no one system: a file over a coded link, whole transmitters and receivers, error rates.

They take any code and decoder of the registries.
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from gnuradio import blocks, gr

from .codes import code as make_code
from .decoders import decoder as make_decoder
from .framing import FrameFormat
from .grc import auto_decoder
from .neuralfec_python import interleaver, mapper, soft_demapper
from .phy.constellation import constellation as make_constellation
from .phy.interleaving import interleaver as make_interleaver
from .phy.snr import noise_variance
from .python_block import PythonBlock, page_items
from .simulation.window import ErrorWindow


def as_code(code: Any) -> Any:
    return make_code(code) if isinstance(code, str) else code


class frame_source(PythonBlock, gr.sync_block):
    """Cuts a file into numbered frames with CRC-32 (see `framing`).

    Output: uint8 message bits, one frame a vector item of length k. A graph that is stopped and
    started again goes on where it was; after the end of the file it sends the file again, as it
    then is.

    path: the file to send. k: message bits of the code. frame_multiple: the frames are made up
    with fillers, which ``frame_sink`` drops, to a multiple of this: with n code bits a frame and
    K bits a symbol, K / gcd(n, K) frames fill whole symbols. ValueError if k is too small, the
    file is missing, empty or has more than 2^32 frames.
    """

    def __init__(self, path: str, k: int, frame_multiple: int = 1):
        self.format = FrameFormat(k)
        if frame_multiple < 1:
            raise ValueError(f"frame_multiple must be at least 1, got {frame_multiple}")
        file = Path(path)
        if not file.is_file():
            raise ValueError(f"no such file to send: {path}")
        size = file.stat().st_size
        if size == 0:
            raise ValueError(f"the file to send is empty: {path}")
        super().__init__("frame_source", None, [(np.uint8, k)])
        self._path, self._frame_multiple = file, frame_multiple
        #: Frames with data, without the fillers.
        self.frames = 0
        self._open(size)

    def _open(self, size: int) -> None:
        self.frames = self.format.frames_for(size)
        self._total = -(-self.frames // self._frame_multiple) * self._frame_multiple
        self._sent = 0
        self._file = self._path.open("rb")

    def start(self) -> bool:
        if self._sent == self._total and self.is_new_run():
            self._file.close()
            self._open(self._path.stat().st_size)
        return super().start()

    def process(self, input_items, output_items) -> int:
        out = output_items[0]
        room = min(len(out), self._total - self._sent)
        if room == 0:
            return gr.WORK_DONE
        of_file = min(room, self.frames - self._sent)
        if of_file > 0:
            data = self._file.read(of_file * self.format.capacity)
            frames = self.format.build(data, self._sent)
            if len(frames) != of_file:
                raise ValueError(f"{self._file.name} became shorter while it was sent")
            out[:of_file] = frames
        else:
            of_file = 0
        out[of_file:room] = self.format.filler(room - of_file)
        self._sent += room
        self.counts["frames"] += room
        return room


class frame_sink(PythonBlock, gr.sync_block):
    """Writes the data of the frames whose CRC is right to a file, in order.

    Input: uint8 message bits, one frame a vector item of length k. Damaged frames are left out
    and counted; ``lost`` has the gaps in the numbers of those that came. A frame whose number
    is not higher than the last one's, a repeat, is dropped and counted. Of each byte the lowest bit
    counts.

    A graph that is stopped and started again goes on with the file. Where the first frame after
    the start has been there before, a new transmission has begun, and the file begins anew.

    path: the file to write. k: message bits of the code. ValueError if k is too small or the file
    cannot be written.
    """

    def __init__(self, path: str, k: int):
        self.format = FrameFormat(k)
        try:
            self._file = Path(path).open("wb")
        except OSError as error:
            raise ValueError(f"cannot write {path}: {error.strerror}") from None
        super().__init__("frame_sink", [(np.uint8, k)], None)
        self._next = 0
        self._resumed = False
        #: Ranges (first, last) of frame numbers that never came, up to the last one that did.
        self.lost: list[tuple[int, int]] = []

    def process(self, input_items, output_items) -> int:
        bits = input_items[0] & 1
        valid, numbers, data = self.format.parse(bits)
        written = repeated = 0
        for number, part in zip(numbers[valid], np.array(data, object)[valid], strict=True):
            if not part:
                continue
            if self._resumed and number < self._next:
                self._begin()
            self._resumed = False
            if number < self._next:
                repeated += 1
                continue
            if number > self._next:
                self.lost.append((self._next, int(number) - 1))
            self._next = int(number) + 1
            self._file.write(part)
            written += 1
        self.counts.update(
            frames=len(bits),
            damaged=int(np.count_nonzero(~valid)),
            written=written,
            repeated=repeated,
        )
        return len(bits)

    def _begin(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._next = 0
        self.lost.clear()

    def start(self) -> bool:
        self._resumed = self.is_new_run()
        return super().start()

    def lost_frames(self, sent: int) -> list[tuple[int, int]]:
        """Ranges of frame numbers that are not in the file when ``sent`` frames were sent."""
        tail = [(self._next, sent - 1)] if self._next < sent else []
        return [*self.lost, *tail]

    def stop(self) -> bool:
        self._file.flush()
        return super().stop()


class frame_encoder(PythonBlock, gr.sync_block):
    """Encodes frames with any block code of ``codes.code``.

    Input: uint8 message bits, vectors of k; of each byte the lowest bit counts. Output: uint8
    code bits, vectors of n.
    code: a code object, or its spec ("wifi-648", "alist:FILE"). ValueError for an unknown one.
    """

    def __init__(self, code: Any):
        self._code = as_code(code)
        super().__init__("frame_encoder", [(np.uint8, self._code.k)], [(np.uint8, self._code.n)])

    def process(self, input_items, output_items) -> int:
        frames = len(output_items[0])
        output_items[0][:] = self._code.encode(input_items[0][:frames] & 1)
        self.counts["frames"] += frames
        return frames


class frame_decoder(PythonBlock, gr.sync_block):
    """Decodes frames with any decoder of ``decoders.decoder``.

    Input: float32 LLRs, log P(1)/P(0), vectors of n. Output: uint8 message bits, vectors of k.
    code: a code object, or its spec ("wifi-648"). decoder: its spec ("bp:50"). ValueError for an
    unknown one, or a decoder that does not fit the code.
    """

    def __init__(self, code: Any, decoder: str):
        self._decoder = make_decoder(decoder, as_code(code))
        super().__init__(
            "frame_decoder", [(np.float32, self._decoder.n)], [(np.uint8, self._decoder.k)]
        )

    def process(self, input_items, output_items) -> int:
        frames = len(output_items[0])
        output_items[0][:], stats = self._decoder.decode(input_items[0][:frames])
        self.counts.update(stats)
        return frames


class error_counter(PythonBlock, gr.sync_block):
    """Counts bit and frame errors between what was sent and what was decoded, live.

    Inputs: uint8 bits, sent and decoded, vectors of k; of each byte the lowest bit counts. Outputs,
    which may be left open: float32, the bit error rate and the block error rate of the window, an
    item a frame. A message on `reset`, whatever it says, begins anew.

    k: bits a frame. window: seconds over which the rates are taken, 0 for all since the start or
    the last reset. ValueError for others.

    stats: blocks, block_errors, bits, bit_errors, bit_errors_squared (see
    `simulation.count_errors`) since the start or the last reset, and ber and bler of the window.
    """

    def __init__(self, k: int, window: float = 1.0):
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self._window = ErrorWindow(window)
        rates = gr.py_io_signature(0, 2, [np.float32, np.float32])
        super().__init__("error_counter", [(np.uint8, k)] * 2, rates)
        self.message_port("reset", lambda message: self.reset())

    def process(self, input_items, output_items) -> int:
        frames = min(map(len, input_items))
        self.counts.update(self._window.add(*(bits[:frames] & 1 for bits in input_items)))
        for out, metric in zip(output_items, ("ber", "bler"), strict=False):
            out[:frames] = self._window.rate(metric).value
        return frames

    def stats(self) -> dict[str, int | float]:
        rates = {"ber": self.bit_error_rate(), "bler": self.block_error_rate()}
        return super().stats() | rates

    def reset(self) -> None:
        """Forget all counts."""
        self._window.reset()
        for name in ("blocks", "block_errors", "bits", "bit_errors", "bit_errors_squared"):
            self.counts.pop(name, None)

    def set_window(self, seconds: float) -> None:
        """Choose another length of the window in seconds, 0 for all since the start."""
        self._window.set_window(seconds)

    def bit_error_rate(self) -> float:
        """Bit errors by bits in the window, 0 before the first frame."""
        counts = self._window.counts()
        return counts.get("bit_errors", 0) / max(counts.get("bits", 0), 1)

    def block_error_rate(self) -> float:
        """Frames with errors by frames in the window, 0 before the first frame."""
        counts = self._window.counts()
        return counts.get("block_errors", 0) / max(counts.get("blocks", 0), 1)


class snapshot(PythonBlock, gr.sync_block):
    """Keeps the first items of a run and lets the rest pass by, for a picture afterwards.

    (A `blocks.head` in a branch would end the whole graph.)

    type: "complex", "float" or "byte". length: items to keep. ValueError for others.
    """

    _TYPES: ClassVar = {"complex": np.complex64, "float": np.float32, "byte": np.uint8}

    def __init__(self, type: str, length: int):
        if type not in self._TYPES:
            raise ValueError(f"expected type {', '.join(self._TYPES)}, got {type!r}")
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        super().__init__("snapshot", [self._TYPES[type]], None)
        self._kept = np.empty(length, self._TYPES[type])
        self._size = 0

    def start(self) -> bool:
        if self.is_new_run():
            self._size = 0
        return super().start()

    def process(self, input_items, output_items) -> int:
        part = input_items[0][: len(self._kept) - self._size]
        self._kept[self._size : self._size + len(part)] = part
        self._size += len(part)
        return len(input_items[0])

    def data(self) -> np.ndarray:
        """What was kept so far, at most `length` items."""
        return self._kept[: self._size].copy()


class bicm_transmitter(gr.hier_block2):
    """Bit-interleaved coded modulation: message bits in, symbols out.

    Encoder, interleaver and mapper in one. Input: uint8 message bits; of each byte the lowest bit
    counts. Output: complex64 symbols of unit average power. Frames of k message bits follow each
    other without a gap; their code bits fill symbols across frames.

    code: a spec of `codes.code`, or a code. constellation: as of `phy.constellation`. interleaver:
    a name of `phy.interleaving`. ValueError for others.
    """

    def __init__(self, code: Any, constellation: Any = "qam16", interleaver: str = "random"):
        made = as_code(code)
        super().__init__(
            "bicm_transmitter",
            gr.io_signature(1, 1, 1),
            gr.io_signature(1, 1, gr.sizeof_gr_complex),
        )
        self.encoder = frame_encoder(made)
        self.connect(
            self,
            _vectors(1, made.k),
            self.encoder,
            _interleaver(1, interleaver, made.n, False),
            blocks.vector_to_stream(1, made.n),
            mapper(constellation),
            self,
        )


class bicm_receiver(gr.hier_block2):
    """Receiver of `bicm_transmitter`: soft demapper, deinterleaver and decoder in one.

    Inputs: complex64 y; with csi, the channel's gain h, too. Outputs: uint8 message bits; with
    llrs, float32 LLRs as the demapper gives them, too.

    Messages on `noise_var` set N0, as of `soft_demapper`; `stats` are the decoder's.

    code, constellation, interleaver: the transmitter's. decoder: a spec of `decoders.decoder`, or
    "auto" for the usual one of the code. noise, unit: how noisy the channel is, as of
    `phy.snr.noise_variance`. method: "exact" or "max-log". csi: whether h comes in. llrs: whether
    LLRs go out. ValueError for others, and for a decoder that does not fit the code.
    """

    def __init__(
        self,
        code: Any,
        constellation: Any = "qam16",
        interleaver: str = "random",
        decoder: str = "auto",
        noise: float = 10.0,
        unit: str = "es_n0_db",
        method: str = "exact",
        csi: bool = False,
        llrs: bool = False,
    ):
        made = as_code(code)
        super().__init__(
            "bicm_receiver",
            gr.io_signature(1 + csi, 1 + csi, gr.sizeof_gr_complex),
            gr.io_signature.makev(1 + llrs, 1 + llrs, [1, gr.sizeof_float]),
        )
        symbol_bits = make_constellation(constellation).bits_per_symbol

        def set_noise(value: float) -> None:
            self.demapper.set_noise_var(noise_variance(value, unit, symbol_bits, made.k / made.n))

        #: Set how noisy the channel is, in the receiver's unit. ValueError for no finite N0.
        self.set_noise = set_noise
        self.demapper = soft_demapper(
            constellation, noise_variance(noise, unit, symbol_bits, made.k / made.n), method, csi
        )
        self.decoder = frame_decoder(made, auto_decoder(decoder, code))
        for port in range(1 + csi):
            self.connect((self, port), (self.demapper, port))
        self.connect(
            self.demapper,
            _vectors(gr.sizeof_float, made.n),
            _interleaver(4, interleaver, made.n, True),
            self.decoder,
            blocks.vector_to_stream(1, made.k),
            (self, 0),
        )
        if llrs:
            self.connect(self.demapper, (self, 1))
        self.message_port_register_hier_in("noise_var")
        self.message_port_register_hier_out("stats")
        self.msg_connect(self, "noise_var", self.demapper, "noise_var")
        self.msg_connect(self.decoder, "stats", self, "stats")


def _vectors(item_size: int, length: int) -> Any:
    made = blocks.stream_to_vector(item_size, length)
    made.set_min_output_buffer(0, page_items(item_size * length))
    return made


def _interleaver(item_size: int, name: str, n: int, deinterleave: bool) -> Any:
    made = interleaver(item_size, make_interleaver(name, n).tolist(), deinterleave)
    made.set_min_output_buffer(0, page_items(item_size * n))
    return made
