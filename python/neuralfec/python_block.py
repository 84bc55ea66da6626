# SPDX-License-Identifier: GPL-3.0-or-later
"""Base of the Python blocks: what each would have to get right by itself.

* GNU Radio waits for ever on a block whose `work()` raises, and drops the handlers of one
  that raises in a message handler. Here the block keeps the exception as `error`, logs it
  and ends; a stream graph ends with it. `run` ends any graph so, and raises.
* torch sets threads and gradients for each thread by itself, and a block has its own. Here
  the block's thread gets one torch thread and inference mode.
* Counters, `stats()` and a message port `stats`.
"""

import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pmt
from gnuradio import gr

_DONE = -1
_PAGE = 4096


class PythonBlock:
    """Mix-in for Python blocks; it comes first of the bases:

        class doubler(PythonBlock, gr.sync_block):
            def __init__(self, length):
                super().__init__("doubler", [(np.float32, length)], [(np.float32, length)])
                self.message_port("pdus", self.handle_pdu)

            def process(self, input_items, output_items):
                ...
                self.counts["bad_frames"] += bad
                return len(output_items[0])

    A block implements `process` in place of `work` or `general_work`, with their arguments
    and return value, and registers message handlers by `message_port`. Neither needs to
    catch anything, or to know of torch's threads.

    One frame is one vector item, with output multiple 1: `process` gets all the frames that
    are there, a batch under load and a single one at the end of a file. How large batches can
    become is a matter of buffers, see `set_batch`.

    Attributes: `error`, the exception that ended the block, or None; `counts`, a Counter to
    add to; `stats_interval`, the least seconds between two messages on `stats`; `torch_threads`, of
    the processor, for torch.
    """

    def __init__(self, name: str, in_sig: Any, out_sig: Any, **rate: int):
        super().__init__(name, in_sig, out_sig, **rate)
        self.error: Exception | None = None
        self.counts: Counter[str] = Counter()
        self.stats_interval = 1.0
        self.torch_threads = 1
        self._published = -math.inf
        self._thread: int | None = None
        self._on_error: Callable[[], None] = lambda: None
        self._stats_port = pmt.intern("stats")
        self.message_port_register_out(self._stats_port)
        for port, size in enumerate(_item_sizes(self.output_signature())):
            self.set_min_output_buffer(port, page_items(size))

    def process(self, input_items: list, output_items: list) -> int:
        """Work on a call's items, as `work` does in other blocks.

        A block of messages alone needs none.
        """
        return 0

    def stats(self) -> dict[str, int | float]:
        """Counters by name: `calls` of `process`, `items` that it returned, and the block's own."""
        return dict(self.counts)

    def message_port(self, name: str, handler: Callable[[Any], None]) -> None:
        """Register an input port and who handles its messages."""

        def guarded(message: Any) -> None:
            self._call(handler, message)

        # GNU Radio looks the handler up in the block, by its name.
        guarded.__name__ = f"_handle_{name}"
        setattr(self, guarded.__name__, guarded)
        self.message_port_register_in(pmt.intern(name))
        self.set_msg_handler(pmt.intern(name), guarded)

    def start(self) -> bool:
        """Begin a run; a block that overrides it calls this one."""
        # A graph started again has new threads.
        self._thread = None
        return super().start()

    def work(self, input_items: list, output_items: list) -> int:
        """Call `process`, count, and end the graph with its reason if that raises."""
        # int: gr.WORK_DONE is an enumeration without an order.
        produced = self._call(lambda *items: int(self.process(*items)), input_items, output_items)
        if produced is None:
            return _DONE
        self.counts["calls"] += 1
        self.counts["items"] += max(produced, 0)
        return produced

    general_work = work

    def _call(self, function: Callable, *arguments: Any) -> Any:
        """The function's result, or None where it has failed, now or earlier."""
        if self.error is not None:
            return None
        try:
            with self._torch_mode():
                result = function(*arguments)
            if time.monotonic() - self._published >= self.stats_interval:
                self.publish_stats()
            return result
        except Exception as error:
            self._fail(error)
            return None

    def _torch_mode(self) -> Any:
        torch = sys.modules.get("torch")
        if torch is None:
            return nullcontext()
        if self._thread != threading.get_ident():
            self._thread = threading.get_ident()
            torch.set_num_threads(self.torch_threads)
            # Asking makes the setting take effect in this thread.
            torch.get_num_threads()
        return torch.inference_mode()

    def is_new_run(self) -> bool:
        """Tell whether the graph runs anew and its buffers are empty.

        After lock() and unlock() it does not: the stream goes on where it was.
        """
        ports = (
            (self.input_signature(), self.nitems_read),
            (self.output_signature(), self.nitems_written),
        )
        return not any(signature.max_streams() and items(0) for signature, items in ports)

    def publish_stats(self) -> None:
        """Send `stats()` as a pmt dict.

        It happens by itself every `stats_interval`; the last figures of a graph that has ended
        are those of `stats()`.
        """
        self._published = time.monotonic()
        self.message_port_pub(self._stats_port, pmt.to_pmt(self.stats()))

    def _fail(self, error: Exception) -> None:
        self.error = error
        gr.logger(self.alias()).error(f"ends: {type(error).__name__}: {error}")
        # A block of messages alone has no work() whose return value could end it.
        done = pmt.cons(pmt.intern("done"), pmt.from_long(1))
        self.gateway._post(pmt.intern("system"), done)
        self._on_error()


def _item_sizes(signature: Any) -> list[int]:
    return [signature.sizeof_stream_item(port) for port in range(max(signature.max_streams(), 0))]


def page_items(size: int) -> int:
    """Return how many items of so many bytes fill whole pages of memory.

    GNU Radio rounds a buffer up to pages, and warns at each start where that makes it much
    longer. A block that asks for what it will get anyway is quiet.
    """
    return _PAGE // math.gcd(_PAGE, max(size, 1))


def set_batch(items: int, *blocks: Any) -> None:
    """Let blocks hand on at least `items` items at once, before the graph starts.

    For a Python block, where a call costs some 0.1 ms: of the block itself and of the one
    before it, since a block reads no more than the buffer before it holds.
    """
    if items < 1:
        raise ValueError(f"expected at least 1 item, got {items}")
    for block in blocks:
        # GNU Radio fills at most half of a buffer in one call.
        for port, size in enumerate(_item_sizes(block.output_signature())):
            pages = page_items(size)
            block.set_min_output_buffer(port, -(-2 * items // pages) * pages)


def run(top_block: gr.top_block, *blocks: PythonBlock) -> None:
    """Run a graph until it ends, as `top_block.run()`, or until one of the blocks fails.

    RuntimeError with block and reason where one has failed, whether or not the rest of the
    graph would have ended by itself.
    """
    over = threading.Event()
    for block in blocks:
        block._on_error = over.set

    def wait() -> None:
        top_block.wait()
        over.set()

    waiter = threading.Thread(target=wait, daemon=True)
    top_block.start()
    waiter.start()
    try:
        # Without a timeout Ctrl-C would not come through.
        while not over.wait(0.1):
            pass
    finally:
        top_block.stop()
        waiter.join()
    for block in blocks:
        if block.error is not None:
            reason = f"{type(block.error).__name__}: {block.error}"
            raise RuntimeError(f"{block.alias()} failed: {reason}") from block.error
