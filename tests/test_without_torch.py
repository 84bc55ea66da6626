# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything but training and scripted networks runs where torch is not installed."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from gnuradio.neuralfec import decoders, models, quantization
from gnuradio.neuralfec.feedback import evaluation, files

ROOT = Path(__file__).parents[1]
# Every import of torch fails as it does where torch is not installed.
HIDE = """
import importlib.abc, sys
class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, Hide())
"""
# A code that each decoder decodes.
CODES = {
    "bp": "wifi-648",
    "bp-layered": "wifi-648",
    "min-sum": "wifi-648",
    "min-sum-layered": "wifi-648",
    "min-sum-int8": "wifi-648",
    "viterbi": "conv:7,5:60",
    "bcjr": "conv:7,5:60",
    "bcjr-burst": "conv:7,5:60",
    "rnn": "conv:7,5:60",
    "syndrome": "polar-nr:64,32",
    "syndrome-osd:0": "polar-nr:64,32",
    "syndrome-ae:2": "polar-nr:64,32",
    "sc": "polar-nr:64,32",
    "scl:4": "polar-nr:64,32",
    "scl-osd:4,1": "polar-nr:64,32,crc6",
    "ae-sc:2": "rm:2,6",
    "osd:1": "polar-nr:64,32",
}


def run(script, *arguments):
    command = [sys.executable, "-c", HIDE + script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", models.shipped())
def test_parameters_are_those_that_torch_reads(name):
    """Bit for bit."""
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        theirs = torch.jit.load(str(models.path(name))).state_dict()
    ours = models.parameters(name)
    assert list(ours) == list(theirs)
    for key, array in ours.items():
        expected = theirs[key].numpy()
        assert array.dtype == expected.dtype and array.shape == expected.shape
        assert array.tobytes() == expected.tobytes()


def test_every_decoder_decodes():
    assert {spec.partition(":")[0] for spec in CODES} == {
        spec.partition("[")[0].partition(":")[0] for spec in decoders.specs()
    }
    run(f"""
import numpy as np
from gnuradio.neuralfec import codes, decoders
for spec, code in {CODES}.items():
    code = codes.code(code)
    messages = np.random.default_rng(1).integers(0, 2, (20, code.k), dtype=np.uint8)
    llrs = (6.0 * code.encode(messages) - 3).astype(np.float32)
    decided, _ = decoders.decoder(spec, code).decode(llrs)
    assert np.array_equal(decided, messages), spec
""")


def test_every_quantizer_quantizes(tmp_path):
    """As a process with torch does."""
    script = f"""
import numpy as np
from gnuradio.neuralfec import quantization
for name in quantization.names():
    quantizer = quantization.LlrQuantizer(name)
    llrs = 4 * np.random.default_rng(1).standard_normal((100, quantizer.bits_per_symbol))
    np.save(r"{tmp_path}/" + name, quantizer.reconstruct(llrs))
"""
    run(script)
    for name in quantization.names():
        quantizer = quantization.LlrQuantizer(name)
        llrs = 4 * np.random.default_rng(1).standard_normal((100, quantizer.bits_per_symbol))
        found = np.load(tmp_path / f"{name}.npy")
        assert np.array_equal(quantizer.reconstruct(llrs), found)


FEEDBACK = [name for name in models.shipped() if name.startswith("feedback/")]


def test_feedback_codes(tmp_path):
    """Each shipped one over its channels: the same symbols and decisions."""
    script = """
import sys
import numpy as np
from gnuradio.neuralfec.feedback import evaluation, files
for name in sys.argv[1:]:
    code, setting, _ = files.load(name)
    counts = evaluation.simulate(code, setting, 40, np.random.default_rng(3))
    print(name, counts["symbols"], counts["bit_errors"], round(counts["energy"], 2))
"""
    told = run(script, *FEEDBACK).splitlines()
    assert len(told) == len(FEEDBACK) > 5
    for line, name in zip(told, FEEDBACK, strict=True):
        code, setting, _ = files.load(name)
        counts = evaluation.simulate(code, setting, 40, np.random.default_rng(3))
        shown = [name, counts["symbols"], counts["bit_errors"], round(counts["energy"], 2)]
        assert line.split() == [str(value) for value in shown]


def test_every_block_is_made():
    """By the test of GRC's blocks that makes each by its defaults."""
    script = "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    run(script, "-p", "no:cacheprovider", "-k", "test_its_ports", "tests/grc/test_blocks.py")


@pytest.mark.parametrize("app", sorted((ROOT / "apps").glob("[a-z]*.py")), ids=lambda app: app.name)
def test_every_app_tells_its_options(app):
    script = f"import runpy; sys.path.insert(0, {str(ROOT / 'apps')!r}); "
    script += "runpy.run_path(sys.argv[0], run_name='__main__')"
    assert "usage" in run(f"sys.argv = [{str(app)!r}, '--help']; {script}")


def test_says_that_torch_is_missing_and_how_to_get_it():
    message = run("""
try:
    from gnuradio.neuralfec import models
    models.load("sequence/conv-7-5")
except ImportError as error:
    print(error)
""")
    assert "PyTorch" in message and "pip install torch" in message
