"""The one error that a user can mend, and the two ways of putting untrusted text into its message.

Whatever a person gave us that we cannot use (a file, a question, a box, a key in a configuration) ends in an
`R3labError`; the command line prints it as one line and leaves with code 2. Everything else that is raised is
a bug of ours and keeps its traceback.

    raise R3labError(f"Unknown reward {shown(name)}.{nearest(name, REWARDS)}")
    # Unknown reward 'formt'. Did you mean 'format'?
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import PurePath

SHOWN = 80  # characters of foreign text that an error message repeats


class R3labError(ValueError):
    """An error that the user can mend; `str(error)` is one line: what came, what was wanted, what to do."""

    def __str__(self) -> str:
        return " ".join(super().__str__().split())


def shown(value: object, limit: int = SHOWN) -> str:
    """Foreign text, made fit for an error message.

    Parameters
    ----------
    value
        Anything; a string is cut before it is escaped, so a long one costs nothing. A path loses its beginning: its end
        says which file it is.
    limit
        Most characters to return.

    Returns
    -------
    str
        ``repr(value)``, in which control, bidirectional and ANSI characters are escaped, cut to `limit`.
    """
    if isinstance(value, PurePath):
        whole = str(value)
        value = whole if len(whole) <= limit - 2 else f"...{whole[5 - limit :]}"
    text = repr(value[:limit] if isinstance(value, str | bytes) else value)
    cut = len(text) > limit or (isinstance(value, str | bytes) and len(value) > limit)
    text = "".join(c if c.isprintable() else "?" for c in text[:limit])
    return text[: limit - 3] + "..." if cut else text


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name.

    Parameters
    ----------
    name
        What was given.
    known
        The names that exist.

    Returns
    -------
    str
        ``" Did you mean 'x'?"``, or ``""`` when nothing known is close.
    """
    close = difflib.get_close_matches(name[:SHOWN], list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
