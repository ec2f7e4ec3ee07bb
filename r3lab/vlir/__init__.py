"""VLIR: samples of worlds and files, rationales by a program or an endpoint, filters, conversion, the card."""

from __future__ import annotations

from ..core import lazy

# What lessons use, imported when it is first used.
HOMES = {
    "measure": "card",
    **dict.fromkeys(("read", "write"), "convert"),
    **dict.fromkeys(("BUDGET", "FrameName", "MEANING", "from_source", "settle", "to_source"), "convert.frames"),
    "Record": "convert.record",
    **dict.fromkeys(
        (
            "FILTERS",
            "FilterReport",
            "Query",
            "agrees",
            "crops",
            "filter_samples",
            "judged",
            "told",
        ),
        "filters",
    ),
    **dict.fromkeys(("imperfect", "in_turn", "jitter"), "rationale"),
    "Limits": "rules",
    **dict.fromkeys(("Rationale", "Sample", "read_vlir", "to_record", "write_vlir"), "sample"),
    "EndpointSettings": "teacher.endpoint",
    "teach": "teacher",
}

__getattr__, __dir__ = lazy(__name__, HOMES)
