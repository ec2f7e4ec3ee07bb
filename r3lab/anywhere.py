"""The course on other people's machines: the set-up cell for Colab and the badges, written in one place.

Both need the address of a public repository, which stands once, in pyproject.toml, as `Repository` under
`[project.urls]`. Without one there is neither cell nor badge: nothing is made up. When it is there, one command puts
the cell behind the parameters of every notebook and the badges under its title; doing it again changes nothing.

    python -m r3lab.anywhere notebooks/*.ipynb
    fitted(notebook, "02_rgrpo.ipynb", "https://HOST/OWNER/r3lab")
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from r3lab.errors import R3labError, shown

BRANCH = "main"
GITHUB = re.compile(r"https://github\.com/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(\.git)?/?")
_CELL = """import importlib.util
import subprocess
import sys

if importlib.util.find_spec("r3lab") is None:  # on Colab and the like; where r3lab is, nothing happens
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "git+{url}"], check=True)"""
_PICTURES = {
    "Colab": "https://colab.research.google.com/assets/colab-badge.svg",
    "Binder": "https://mybinder.org/badge_logo.svg",
}
_BADGE = re.compile(r"^\[!\[open in \w+\].*\n\n?", re.M)


def repository(pyproject: Path) -> str | None:
    """The public address of the project, as pyproject.toml has it; None where it has none."""
    section = re.search(r"^\[project\.urls\]\n(.*?)(?=^\[|\Z)", pyproject.read_text(encoding="utf-8"), re.M | re.S)
    found = section and re.search(r'^repository\s*=\s*"([^"]+)"', section[1], re.M | re.I)
    return found[1] if found else None


def setup_cell(url: str) -> str:
    """Source of the cell that installs r3lab where it is not there; it does nothing anywhere else."""
    return _CELL.format(url=url)


def badges(url: str, file: str) -> str:
    """Markdown of the badges of a notebook: Colab and Binder.

    Parameters
    ----------
    url
        Of a repository on GitHub, which is where both look.
    file
        Name of the notebook in the folder `notebooks`.

    Raises
    ------
    R3labError
        If the repository is elsewhere.
    """
    found = GITHUB.fullmatch(url)
    if not found:
        raise R3labError(f"Colab and Binder open notebooks of https://github.com/OWNER/NAME, not of {shown(url)}.")
    place = f"{found['owner']}/{found['name']}"
    targets = {
        "Colab": f"https://colab.research.google.com/github/{place}/blob/{BRANCH}/notebooks/{file}",
        "Binder": f"https://mybinder.org/v2/gh/{place}/{BRANCH}?labpath=notebooks%2F{file}",
    }
    return " ".join(f"[![open in {name}]({_PICTURES[name]})]({target})" for name, target in targets.items())


def fitted(notebook: dict[str, Any], file: str, url: str | None) -> dict[str, Any]:
    """A notebook with the set-up cell and badges for `url`, or with neither where it is None.

    Parameters
    ----------
    notebook
        As JSON; it stays as it is.
    """
    made = deepcopy(notebook)
    name = f"{file[:2]}-anywhere-01"
    cells = [cell for cell in made["cells"] if cell["id"] != name]
    head = _BADGE.sub("", "".join(cells[0]["source"]))
    if url is not None:
        title, rest = head.split("\n", 1)
        head = f"{title}\n\n{badges(url, file)}\n{rest}"
        at = next(i for i, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", []))
        source = setup_cell(url).splitlines(keepends=True)
        cell: dict[str, Any] = {
            "cell_type": "code",
            "execution_count": None,
            "id": name,
            "metadata": {},
            "outputs": [],
            "source": source,
        }
        cells.insert(at + 1, cell)
    cells[0]["source"] = head.splitlines(keepends=True)
    made["cells"] = cells
    return made


def main(arguments: Sequence[str]) -> int:
    """Fit the given notebooks to the address in the pyproject.toml above them."""
    for name in arguments:
        path = Path(name)
        url = repository(path.absolute().parent.parent / "pyproject.toml")
        notebook = fitted(json.loads(path.read_text(encoding="utf-8")), path.name, url)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
