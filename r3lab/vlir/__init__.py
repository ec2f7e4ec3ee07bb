"""VLIR: samples of worlds and files, rationales by a program or an endpoint, filters, conversion, the card."""

from __future__ import annotations

from ..core import lazy

# What lessons use, by the module that it is imported from when it is first used.
NAMES = {
    "card": ("measure",),
    "convert": ("read", "write"),
    "convert.source": ("BUDGET", "FrameName", "MEANING", "from_source", "settle", "to_source"),
    "filters": ("FILTERS", "FilterReport", "Query", "agrees", "filter_samples", "judged", "told"),
    "rationale": ("imperfect", "in_turn", "jitter"),
    "rules": ("Limits",),
    "sample": ("Rationale", "Sample", "crops", "read_vlir", "to_record", "write_vlir"),
    "teacher": ("EndpointSettings", "teach"),
}
HOMES = {name: home for home, names in NAMES.items() for name in names}

__getattr__, __dir__ = lazy(__name__, HOMES)
