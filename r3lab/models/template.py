"""How a checkpoint puts a question: its chat template, a program from elsewhere, run once with nothing at stake.

A chat template is Jinja, which loops, multiplies and calls. It is rendered in a process of its own that may use two
seconds of one core and 1 GiB (where the system can limit memory; else time alone ends it), in Jinja's sandbox, with a
mark in the place of the question. What stands before and after the mark is kept: no later question meets the program.
The environment is that of transformers' `apply_chat_template`, and tests hold the two against each other.

    before, after = chat_frame(tokenizer)
    text = before + question + after
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from functools import lru_cache
from typing import Any

from ..core.errors import R3labError, shown

SECONDS, BYTES, LENGTH = 2, 1 << 30, 100_000  # of processor time, of memory, characters of what it writes
PATIENCE = 60  # seconds until an answer, on a machine with other work
QUESTION = "\uf8d0question\uf8d1"  # private characters, that no template looks for
_CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from r3lab.models import template; template.child()"


def chat_frame(tokenizer: Any, images: int = 1) -> tuple[str, str]:
    """What a checkpoint writes before and after a question on one image (or none), up to where the answer begins.

    Raises
    ------
    R3labError
        If its template fails, takes too much time or memory, or does not write the question once as it stands.
    """
    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:
        raise R3labError(f"The chat template cannot be used: {shown(str(error), 200)}") from None
    text = rendered(template, json.dumps(tokenizer.special_tokens_map), images)
    before, mark, after = text.partition(QUESTION)
    if not mark or QUESTION in after:
        raise R3labError("The chat template does not write the question once as it stands; copy the original template.")
    return before, after


@lru_cache
def rendered(template: str, tokens: str, images: int = 1) -> str:
    """The text of a template for one turn of so many images and the question's mark; special tokens as JSON."""
    given = json.dumps({"template": template, "tokens": json.loads(tokens), "images": images})
    command = [sys.executable, "-I", "-c", _CHILD, json.dumps(sys.path)]
    try:
        done = subprocess.run(command, input=given.encode(), capture_output=True, timeout=PATIENCE, check=False)
        found = json.loads(done.stdout) if not done.returncode else None
    except (subprocess.TimeoutExpired, ValueError):
        found = None
    if found is None:
        raise R3labError(f"The chat template takes more than {SECONDS} s or {BYTES >> 30} GiB; copy the original one.")
    if "error" in found:
        raise R3labError(f"The chat template fails: {shown(found['error'], 200)}; copy the original template.")
    return found["text"]


def child() -> None:
    """The other process: read a template from standard input, and write what it makes, or its error, as JSON."""
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        for kind, most in (("CORE", 0), ("CPU", SECONDS), ("AS", BYTES)):
            try:
                resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (most, most))
            except (ValueError, OSError):  # macOS has no limit of addresses
                continue
    try:
        given = json.loads(sys.stdin.buffer.read())
        text = _render(given["template"], given["tokens"], given["images"])
        answer = {"text": text} if len(text) <= LENGTH else {"error": f"it writes over {LENGTH:,} characters"}
    except Exception as error:  # whatever a program from elsewhere does
        answer = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
    sys.stdout.write(json.dumps(answer))


def _render(template: str, tokens: dict[str, Any], images: int) -> str:
    """Source of the environment: transformers, `utils.chat_template_utils`."""
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}`, which marks what an assistant wrote, as if it were not there."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def to_json(value: Any, ensure_ascii: bool = False, **more: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **more)

    def fail(message: str) -> None:
        raise jinja2.TemplateError(message)

    place = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    place.filters["tojson"] = to_json
    place.globals |= {"raise_exception": fail, "strftime_now": datetime.now().strftime}
    content = [*[{"type": "image"}] * images, {"type": "text", "text": QUESTION}]
    return place.from_string(template).render(
        messages=[{"role": "user", "content": content}],
        tools=None,
        documents=None,
        add_generation_prompt=True,
        **tokens,
    )
