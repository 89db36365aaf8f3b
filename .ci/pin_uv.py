"""Writes the lines of constraints.txt into pyproject.toml, where uv reads them; run it when constraints.txt changes."""

import json
import re
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent


def main() -> None:
    """Rewrite the list ``constraint-dependencies``."""
    lines = (TOP / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [json.dumps(line.replace('"', "'")) for line in lines if line and not line.startswith("#")]
    block = "constraint-dependencies = [\n" + "".join(f"    {pin},\n" for pin in pins) + "]\n"
    file = TOP / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    text, found = re.subn(r"^constraint-dependencies = \[\n.*?^\]\n", lambda _: block, text, flags=re.M | re.S)
    assert found == 1, "pyproject.toml has no list constraint-dependencies"
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
