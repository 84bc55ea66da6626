# SPDX-License-Identifier: GPL-3.0-or-later
"""What a result says of how it was made."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from gnuradio.neuralfec import models

PACKAGE = Path(__file__).parents[1] / "python" / "neuralfec"
SCRIPT = "from neuralfec import provenance\nprint(provenance.command())\nprint(provenance.commit())"


def told(folder, *arguments):
    """Command and commit as a program tells them that runs in a copy of the package."""
    run = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return run.stdout.splitlines()


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    run = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def copy_of_the_package(folder):
    for file in ("__init__.py", "provenance.py"):
        (folder / "neuralfec").mkdir(exist_ok=True, parents=True)
        shutil.copy(PACKAGE / file, folder / "neuralfec" / file)
    (folder / "app.py").write_text(SCRIPT)


def test_command_can_be_typed_again(tmp_path):
    copy_of_the_package(tmp_path)
    assert told(tmp_path, "app.py", "--snr", "1 2")[0] == "app.py --snr '1 2'"
    assert told(tmp_path, tmp_path / "app.py", "-v")[0] == "app.py -v"
    assert told(tmp_path, "-m", "app", "-v")[0] == "python -m app -v"
    # Folders of this machine are nobody else's.
    inside, outside = tmp_path / "a" / "b.json", tmp_path.parent / "c.json"
    words = told(tmp_path, "app.py", inside, outside, f"--out={outside}", "/dev/null")[0]
    assert words == "app.py a/b.json c.json --out=c.json /dev/null"
    (tmp_path / "elsewhere").mkdir()
    assert told(tmp_path / "elsewhere", tmp_path / "app.py")[0] == "app.py"


def stored_commands():
    """Commands by where they stand: in results and in the cards of models."""
    for file in sorted((PACKAGE.parents[1] / "results").glob("*.json")):
        for command in re.findall(r'"command": "((?:[^"\\]|\\.)*)"', file.read_text()):
            yield file.name, command
    for name in models.shipped():
        yield name, models.read_card(name).training.command


def test_stored_commands_name_no_folder_of_a_machine():
    found = list(stored_commands())
    assert len(found) > 60
    wrong = [one for one in found if re.search(r"(^|[\s='\"])/(?!dev/)\w", one[1])]
    assert not wrong, wrong


def test_commit_is_that_of_the_project_alone(tmp_path):
    tree = tmp_path / "python"
    copy_of_the_package(tree)
    assert told(tree, "app.py")[1] == "None"
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "t")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert told(tree, "app.py")[1] == commit
    (tree / "app.py").write_text(SCRIPT + "\n")
    assert told(tree, "app.py")[1] == commit + "+"
    # The same files in somebody else's repository.
    tree.rename(tmp_path / "lib")
    assert told(tmp_path / "lib", "app.py")[1] == "None"
