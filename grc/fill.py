# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill the drop-downs of the block definitions from the registries: fill.py SOURCE DESTINATION.

A definition says `options: "@codes@"`, and gets the list of what there is. Each paragraph of its
documentation becomes one line: the tab that shows it breaks lines itself, and wrapped ones would
be ragged.
"""

import json
import re
import sys
from pathlib import Path

DOCUMENTATION = re.compile(r"(?ms)^documentation: \|-\n(.*?)(?=^\S)")
# Of a list, of an example or of a parameter ("Check rule: ..."): what begins a line of its own.
OWN_LINE = re.compile(r"\s|- |https?:|\d+\. |[A-Z0-9\"][^.,;:]{0,40}: ")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))

from neuralfec import codes, decoders, models  # noqa: E402
from neuralfec.phy import constellation, interleaving  # noqa: E402

# Of names that take arguments, those that a menu shows; any other can be typed.
CODES = {
    "conv": [
        "conv:7,5:1000:zero",
        "conv:7,5:100:none",
        "conv:171,133:1000:zero",
        "conv:171,133:1000:tail-biting",
        "conv:171,133@110110:1000:zero",
        "conv:7,5/7:1000:zero",
    ],
    "polar-nr": ["polar-nr:64,32", "polar-nr:128,64,crc11", "polar-nr:256,128,crc24c"],
    "polar-rptu": ["polar-rptu:128,64"],
    "rm": ["rm:2,6"],
    "bch": ["bch:63,45"],
}
DECODERS = {
    "bp": ["bp:50"],
    "min-sum": ["min-sum:50"],
    "scl": ["scl:8", "scl:32"],
    "ae-sc": ["ae-sc:64"],
    "scl-osd": ["scl-osd:8,3"],
    "osd": ["osd:2", "osd:3", "osd:3,early"],
    "syndrome-osd": ["syndrome-osd:2"],
    "syndrome-ae": ["syndrome-ae:8"],
}


def menu(registry, shown):
    """The specs of a registry that need no argument, and those that are shown of the others."""
    found = []
    for name, entry in registry.entries.items():
        takes_none = not entry.takes or entry.takes.startswith("[")
        found += shown.get(name, [name] if takes_none else [])
    return found


def lists():
    """What each placeholder stands for."""
    all_codes = menu(codes.REGISTRY, CODES)
    convolutional = [spec for spec in all_codes if spec.startswith("conv:")]
    shipped = models.shipped()
    # Tables of more than 20 bits would not fit, and models without bits are floats' networks.
    quantizers = {
        name.partition("/")[2]: models.read_card(name).parameters
        for name in shipped
        if name.startswith("quantization/")
    }
    quantizers = {name: card for name, card in quantizers.items() if 0 < card["bits"] <= 20}
    found = {
        "codes": all_codes,
        "codes:conv": convolutional,
        "codes:block": [spec for spec in all_codes if spec not in convolutional],
        "codes:polar": [spec for spec in all_codes if spec.startswith(("polar-", "nr-polar"))],
        "decoders": ["auto", *menu(decoders.REGISTRY, DECODERS)],
        "constellations": list(constellation.NAMES),
        "interleavers": list(interleaving.NAMES),
        "quantizers": list(quantizers),
        "quantizers:k": [str(card["bits_per_symbol"]) for card in quantizers.values()],
        "quantizers:bits": [str(card["bits"]) for card in quantizers.values()],
    }
    for system in ("sequence", "syndrome", "feedback"):
        named = [name for name in shipped if name.startswith(f"{system}/")]
        # Empty: the one that is shipped for the code.
        found[f"models:{system}"] = named if system == "feedback" else ["", *named]
    return found


def unwrapped(documentation: str) -> str:
    """Join the lines of each paragraph, indented by four spaces."""
    lines: list[str] = []
    for line in documentation.splitlines():
        text = line[4:]
        if lines and text and lines[-1].strip() and not OWN_LINE.match(text):
            lines[-1] += f" {text}"
        else:
            lines.append(line.rstrip())
    return "".join(f"{line}\n" for line in lines)


def main(source: Path, destination: Path) -> None:
    """Write all definitions below source, filled, to destination."""
    found = lists()
    destination.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.rglob("*.yml")):
        text = re.sub(r'"@([a-z:]+)@"', lambda match: json.dumps(found[match[1]]), file.read_text())
        text = DOCUMENTATION.sub(lambda match: f"documentation: |-\n{unwrapped(match[1])}", text)
        (destination / file.name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
