"""Write questions on one's own pictures and draw the boxes of their answers, in JupyterLab.

    from r3lab.show.annotate import annotate
    annotate("photos")                     # last line of a cell; `r3lab annotate photos` opens such a notebook

Each change is in ``photos/annotations.jsonl`` before the next one is heard: a row a question, with image, question,
answer, boxes (pixels of the picture as it is shown upright) and, where it was said, whether a look is needed. That is
what `ask`, `eval` and `train rgrpo` take as --data, and what the next call goes on with. The canvas is that of the
game (`play`); what a browser sends is checked here, and text goes into text nodes only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from IPython.display import display
from PIL import Image

from ..core.errors import R3labError, shown
from ..core.files import write_whole
from ..core.images import open_image
from ..core.protocol import MAX_ANSWER, MAX_QUESTION
from ..core.records import SchemaError, fields, fixed, flag, maybe, number, row, text_of
from ..core.rows import json_lines
from .palette import HALO, TRUTH, ink_on, look_colour
from .picture import HERE, embed, notebook_style
from .play import script, somebody_is_there
from .play_turn import read_box
from .text import one_line

FILE = "annotations.jsonl"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MOST = 100_000  # questions in one folder
_BOXES = row(fixed(number, 4), 100)
_WRITTEN = {
    "question": text_of(MAX_QUESTION, blank=True),
    "answer": text_of(MAX_ANSWER, blank=True),
    "needs_look": maybe(flag),
    "boxes": _BOXES,
}


class Annotations:
    """The questions on the pictures of a folder, without a screen; every change is on the disk when it returns.

    Parameters
    ----------
    folder : of pictures; its file of annotations is gone on with

    Attributes
    ----------
    entries : a row for each question: image, question, answer, boxes, needs_look; of a picture without one, a blank row
    at : which of them is shown
    left_out : files that are no picture that can be read, with the reason

    Raises
    ------
    R3labError
        If there is no picture, or the file cannot be gone on with as it is.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder, self.at, self.left_out = Path(folder), 0, list[str]()
        if not self.folder.is_dir():
            raise R3labError(f"{shown(self.folder)} is no folder; give the folder of your pictures.")
        self.path = self.folder / FILE
        self.entries = [self._read(line) for line in json_lines(self.path)] if self.path.is_file() else []
        known = {entry["image"] for entry in self.entries}
        for path in sorted(p for p in self.folder.iterdir() if p.suffix.lower() in PICTURES and p.name not in known):
            try:
                open_image(path)
            except R3labError as error:
                self.left_out.append(f"{path.name}: {error}")
            else:
                self.entries.append(blank(path.name))
        if not self.entries:
            raise R3labError(f"{shown(self.folder)} holds no picture that can be read ({', '.join(PICTURES)}).")

    def _read(self, line: Any) -> dict[str, Any]:
        """A row of the file; what is not one of ours is refused, since it would be written over."""
        try:
            if line.problem is not None:
                raise line.problem
            found = fields(line.data, {"image": text_of(1000), **_WRITTEN})
            picture = self.folder / found["image"]
            if picture.parent != self.folder or line.data.get("frame") != "source" or not picture.is_file():
                raise SchemaError("its picture is not in the folder, or its boxes are not in frame 'source'")
            return {**found, "boxes": [list(read_box(box, open_image(picture).size)) for box in found["boxes"]]}
        except R3labError as error:
            raise R3labError(f"{line.where}: {error} Mend it, or move {FILE} away.") from None

    @property
    def now(self) -> dict[str, Any]:
        """The row that is shown."""
        return self.entries[self.at]

    @property
    def image(self) -> Image.Image:
        """The picture that is shown, upright."""
        return open_image(self.folder / self.now["image"])

    def write(self, given: object) -> None:
        """Put question, answer, boxes and need of the row that is shown in place of those it has, and save.

        Raises
        ------
        R3labError
            If something in it cannot be; nothing is changed then.
        """
        v = fields(given, _WRITTEN, where="The annotation")
        size = self.image.size
        self.now.update(v | {"boxes": [list(read_box(box, size)) for box in v["boxes"]]})
        self._save()

    def another(self) -> None:
        """A further question on the picture that is shown."""
        if len(self.entries) >= MOST:
            raise R3labError(f"A folder takes {MOST:,} questions; make another.")
        self.entries.insert(self.at + 1, blank(self.now["image"]))
        self.at += 1

    def go(self, to: object) -> None:
        """Show that row; one that is not there is an R3labError."""
        if type(to) is not int or not 0 <= to < len(self.entries):
            raise R3labError(f"There is no row {shown(to)}; there are {len(self.entries)}, counted from 0.")
        self.at = to

    def _save(self) -> None:
        held = [e for e in self.entries if e["question"] or e["answer"] or e["boxes"] or e["needs_look"] is not None]
        lines = (json.dumps(entry | {"frame": "source", "upright": True}, ensure_ascii=False) for entry in held)
        write_whole(self.path, "".join(f"{line}\n" for line in lines).encode("utf-8"))

    @property
    def whole(self) -> int:
        """Rows that can be trained on: with a question and an answer."""
        return sum(bool(e["question"].strip() and e["answer"].strip()) for e in self.entries)


def blank(image: str) -> dict[str, Any]:
    """The row of a picture of which nothing was written yet."""
    return {"image": image, "question": "", "answer": "", "boxes": [], "needs_look": None}


class Annotator(anywidget.AnyWidget):
    """The widget on a folder's `Annotations`."""

    _esm = script("annotate.js")
    _css = notebook_style((HERE / "play.css").read_text(encoding="utf-8"))
    state = traitlets.Dict().tag(sync=True)
    picture = traitlets.Unicode().tag(sync=True)  # a data URI

    def __init__(self, annotations: Annotations) -> None:
        self.annotations, self._serial = annotations, 0
        super().__init__()
        self._show()
        self.on_msg(lambda _widget, content, _buffers: self.hear(content))

    def _show(self) -> None:
        """Send the picture and its row."""
        with self.hold_sync():
            self.picture = embed(self.annotations.image, 900_000, 1600).uri
            self._tell()

    def _tell(self, notice: str = "") -> None:
        own, self._serial = self.annotations, self._serial + 1
        colour = look_colour(2)
        self.state = {
            **own.now,
            "image": one_line(own.now["image"], 200),
            "at": own.at,
            "of": len(own.entries),
            "whole": own.whole,
            "size": list(own.image.size),
            "file": one_line(str(own.path), 300),
            "notice": one_line(notice, 300),
            "left_out": [one_line(line, 200) for line in own.left_out[:5]],
            "halo": list(HALO),
            "hand": {"name": "new", "colour": colour, "ink": ink_on(colour), "dashed": True},
            "kept": {"name": "box", "colour": TRUTH, "ink": ink_on(TRUTH), "dashed": False},
            "serial": self._serial,
        }

    def hear(self, message: object) -> None:
        """Do what a message asks for, and tell what came of it; what makes no sense does nothing.

        Parameters
        ----------
        message
            ``{"do": "write" | "go" | "another", "at": row, "to": row, "entry": {...}}``, untrusted; an entry is written
            before anything else is done.
        """
        own = self.annotations
        if not isinstance(message, dict) or message.get("at") != own.at:
            return  # of a row that is not shown any more
        try:
            if "entry" in message:
                own.write(message["entry"])
            if message.get("do") == "go":
                own.go(message.get("to"))
            elif message.get("do") == "another":
                own.another()
            else:
                return self._tell()
        except R3labError as error:
            return self._tell(str(error))
        self._show()


class Annotate:
    """What `annotate` gives: shown as the last line of a cell.

    Attributes
    ----------
    annotations : the questions, without a screen
    """

    def __init__(self, folder: str | Path) -> None:
        self.annotations = Annotations(folder)

    def __repr__(self) -> str:
        own = self.annotations
        return f"{own.whole} of {len(own.entries)} rows of {own.path} have question and answer"

    def _ipython_display_(self) -> None:
        if somebody_is_there():
            display(Annotator(self.annotations))
        else:  # a headless run keeps words
            display({"text/plain": f"{self!r}; run this cell in JupyterLab to write more."}, raw=True)


def annotate(folder: str | Path) -> Annotate:
    """Go through the pictures of a folder: draw boxes, write question and answer; see the module.

    Parameters
    ----------
    folder : of pictures; ``annotations.jsonl`` in it is written, and gone on with

    Raises
    ------
    R3labError
        If there is no picture in it, or its file of annotations is not one.
    """
    return Annotate(folder)
