"""Records of other projects in and out: Visual-CoT, GQA, TextVQA, DocVQA, DeepEyes, Pixel-Reasoner, official VLM-R3.

    reading = read("train.json", images="photos")        # the format is told by its fields
    write(reading, "out", "vlm-r3-sft")                  # boxes from frame to frame, streaming, whole or not at all
    print(reading.taken, reading.skipped)                # 9988 Counter({'no such file': 12})

A record that does not fit is skipped with its line and reason, or ends the run with `strict=True`. A coordinate frame
that the file leaves open must be given with `frame=`. A path that leaves the folder of images is refused. Other
people's records are data: their text is kept as it stands and nothing in it is run.
"""

from ...core.records import Refused
from .formats import FORMATS, Reading, detect, read, write
from .frames import BUDGET, ConvertError, FrameName, FrameNeeded
from .record import Record

__all__ = [
    "BUDGET",
    "FORMATS",
    "ConvertError",
    "FrameName",
    "FrameNeeded",
    "Reading",
    "Record",
    "Refused",
    "detect",
    "read",
    "write",
]
