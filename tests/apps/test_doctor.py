# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor on this installation and on ones made ill."""

import ast
import os
import subprocess
import sys
from pathlib import Path

DOCTOR = Path(__file__).parents[2] / "apps" / "doctor.py"


def doctor(python=sys.executable, **environment):
    run = subprocess.run(
        # As bare a Python as there is: no site-packages for the doctor itself.
        [sys.executable, "-I", "-S", DOCTOR, "--python", python],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert not run.stderr
    return run.returncode, run.stdout


def stubs(folder, **modules):
    """Modules that come before the real ones."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    return {"PYTHONPATH": str(folder)}


def test_this_installation_is_well():
    status, text = doctor()
    assert status == 0, text
    assert "WRONG" not in text and text.endswith("All is well.\n")


def test_runs_on_old_pythons():
    ast.parse(DOCTOR.read_text(), feature_version=(3, 8))


def test_numpy_2_under_a_gnuradio_for_numpy_1(tmp_path):
    raises = "raise ImportError('numpy.core.multiarray failed to import')"
    status, text = doctor(**stubs(tmp_path, gnuradio=raises, numpy="__version__ = '2.1.0'"))
    assert status == 1
    assert "compiled for NumPy 1, and NumPy 2.1.0 is there" in text
    assert "-> rm -rf .venv && make demo" in text


def test_a_run_needs_no_torch(tmp_path):
    missing = "raise ModuleNotFoundError(\"No module named 'torch'\")"
    status, text = doctor(**stubs(tmp_path, torch=missing))
    assert status == 0
    assert "note   no torch" in text and "-> make training" in text


def test_torch_broken_and_a_library_missing(tmp_path):
    broken = stubs(tmp_path, torch="raise ImportError('libtorch_cpu.so: damaged')")
    stubs(tmp_path, sklearn="raise ImportError")
    status, text = doctor(**broken)
    assert status == 1
    assert text.count("WRONG") == 2
    assert f"{sys.executable} -m pip install --force-reinstall torch" in text
    assert "missing: sklearn for training of LLR quantizers" in text
    assert f"{sys.executable} -m pip install scikit-learn" in text


def test_a_python_that_refuses_pip_is_told_the_distributions_packages(tmp_path):
    missing = stubs(tmp_path, torch="raise ModuleNotFoundError(\"No module named 'torch'\")")
    stubs(tmp_path, sklearn="raise ImportError")
    text = doctor("/usr/bin/python3", **missing)[1]
    assert "apt-get install python3-torch" in text
    assert "apt-get install python3-sklearn" in text
    assert "pip install" not in text


def test_a_python_without_gnuradio(tmp_path):
    raises = "raise ModuleNotFoundError(\"No module named 'gnuradio'\")"
    environment = stubs(tmp_path, gnuradio=raises)
    assert "GNU Radio is not installed" in doctor(**environment)[1]


def test_not_built():
    status, text = doctor("/usr/bin/python3")
    assert status == 1
    assert "gr-neuralfec is not installed for it" in text and "-> make" in text


def test_too_old_and_no_python(tmp_path):
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\necho '[[3, 9, 1], \"/opt/old/bin/python\"]'\n")
    old.chmod(0o755)
    status, text = doctor(str(old))
    assert status == 1 and "Python 3.9.1, /opt/old/bin/python: too old" in text
    status, text = doctor(str(tmp_path / "none"))
    assert status == 1 and "does not run" in text


def test_grc_does_not_find_the_blocks(tmp_path, monkeypatch, capsys):
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("doctor", DOCTOR)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delenv("GRC_BLOCKS_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "share/gnuradio/grc/blocks"

    def is_wrong():
        report = module.Report()
        module.check_grc(report, sys.executable, tmp_path)
        return report.wrong

    assert is_wrong() and "no GRC blocks" in capsys.readouterr().out
    folder.mkdir(parents=True)
    (folder / "neuralfec_x.block.yml").touch()
    assert is_wrong() and "GRC does not find the blocks" in capsys.readouterr().out
    (tmp_path / ".gnuradio").mkdir()
    (tmp_path / ".gnuradio/config.conf").write_text(f"[grc]\nlocal_blocks_path = {folder}\n")
    assert not is_wrong()
    (tmp_path / ".gnuradio/config.conf").unlink()
    monkeypatch.setenv("GRC_BLOCKS_PATH", f"/elsewhere:{folder}")
    assert not is_wrong()
