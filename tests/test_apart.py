"""Nothing of the host meets a tensor of the device: what a GPU would refuse, or wait for, fails on every laptop.

The device that is pretended is `meta`: tensors have shapes and no numbers, so that whatever reads one back (`item`,
`tolist`, a length that hangs on it) is an error, and `Apart` refuses an operation on tensors of both sides. A CUDA
graph is pretended by `Recorded`: operations noted once and run again on the same tensors, with no Python in between.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from transformers.utils import import_utils

from r3lab.models import attention, decoder
from r3lab.models.cache import SHORT, SlotCache
from r3lab.models.decoder import VIEW, Decoder, fits
from r3lab.models.policy import Features, Policy, Row
from r3lab.rollout.loop import rollout
from r3lab.train.objective import PUBLISHED, aggregate, surrogate
from r3lab.train.update import packed_logprobs

DEVICE = torch.device("meta")
MOVES = ("aten._to_copy.default", "aten.copy_.default")  # from one side to the other, on purpose


class Apart(TorchDispatchMode):
    """Refuses operations on tensors of the host and of the device, numbers aside; counts what is moved."""

    moved = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [a for a in tree_flatten((args, kwargs or {}))[0] if isinstance(a, torch.Tensor) and a.dim()]
        on = {tensor.device.type for tensor in tensors}
        if len(on) > 1 and str(func) not in MOVES:
            raise AssertionError(f"{func} meets tensors of host and device")
        found = func(*args, **(kwargs or {}))
        if str(func) in MOVES and tensors and isinstance(found, torch.Tensor):
            self.moved += tensors[-1].device != found.device
        return found


@pytest.fixture()
def far(family_policy: Policy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Policy]:
    """A policy of each family on the pretended device; transformers' own check that there are as many image tokens as
    features reads back, and is not ours to judge."""
    for module in {type(family_policy.model.model).__module__}:
        monkeypatch.setattr(f"{module}.torch_compilable_check", lambda *a, **k: None, raising=False)
    monkeypatch.setattr(import_utils, "torch_compilable_check", lambda *a, **k: None)
    model = copy.deepcopy(family_policy.model).to(DEVICE)
    yield Policy(model, family_policy.tokenizer, family_policy.processor)


class Recorded(TorchDispatchMode):
    """Notes what a step does; called, does it again: what a CUDA graph does, addresses and all."""

    def __init__(self, step: Callable[[], None]) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []
        with self:
            step()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, found))
        return found

    def __call__(self) -> None:
        for func, args, kwargs, found in self.calls:
            for old, new in zip(tree_flatten(found)[0], tree_flatten(func(*args, **kwargs))[0], strict=True):
                assert "scalar" not in str(func), "a number is read back"
                same = isinstance(old, int) or old.untyped_storage().data_ptr() == new.untyped_storage().data_ptr()
                if not same:  # neither written in place nor a view
                    old.copy_(new)


@contextmanager
def ours() -> Iterator[None]:
    """Ends quietly where transformers itself reads back (DeepStack of Qwen3-VL, images of SmolVLM)."""
    try:
        with Apart():
            yield
    except (NotImplementedError, RuntimeError) as error:
        files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        if "transformers" not in next(f for f in reversed(files) if "/torch/" not in f and f != __file__):
            raise


def seen(features: Features) -> Features:
    """The features of an image, on the device."""
    return Features(features.tokens.to(DEVICE), [deep.to(DEVICE) for deep in features.deep], features.grid)


def test_a_step_of_the_decoder(far: Policy) -> None:
    """Rows of a shared beginning, some of which are placed; a step moves a handful of small tensors, in any layer."""
    cache, step = SlotCache(len(far.text.layers)), Decoder(far)
    assert fits(far)
    with Apart() as mode, torch.no_grad():
        cache.start(2, DEVICE)
        rows = far.padded([[40] * (SHORT + 9)] * 2, [far.positions(Row([40] * (SHORT + 9), []))] * 2)
        cache.place(torch.arange(2), rows.lengths, rows.ids.shape[1])
        far.read(rows.ids, rows.positions, [], cache=cache, attention_mask=cache.mask())
        cache.advance()
        cache.share(torch.tensor([0, 0, 0, 1, 1]))
        for placed in ([0, 1, 2, 3, 4], [0, 2, 3]):
            before = mode.moved
            cache.place(torch.tensor(placed), torch.ones(len(placed), dtype=torch.int64), 1)
            at = torch.full((len(placed),), SHORT + 9)
            states = step.step(torch.full((len(placed),), 41, device=DEVICE), at, cache)
            cache.advance()
            assert far.logits(states).shape == (len(placed), far.model.lm_head.out_features)
            assert mode.moved - before <= 4, "more copies than places, slots and positions"
        draws, before = step.ahead(cache, 1.0), mode.moved
        for _ in range(3):
            draws.once(VIEW)
        assert mode.moved == before, "a step that a graph is made of moves nothing"


def graph(step: Any, device: torch.device) -> Recorded:
    """In the place of `decoder.captured`: a graph that is made has not run."""
    draws = step.func.__self__
    held = [part.clone() for part in (draws.given, draws.number)]
    found = Recorded(step)
    draws.given.copy_(held[0])
    draws.number.copy_(held[1])
    return found


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_tokens_drawn_ahead_are_those_drawn_one_by_one(
    family_policy: Policy, samples: list[Any], monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    """Boxes, messages, ends and forced words anywhere among the tokens of a look, plainly and as graphs."""
    asked: dict[str, Any] = {"temperature": temperature, "seed": 3, "max_looks": 1, "max_new_tokens": 44}

    def rolled() -> list[Any]:
        return rollout(family_policy, samples[:4], 3, forced=("", "", "look"), **asked)

    wanted = rolled()
    assert any(t.looks for t in wanted) and any(t.answer is not None for t in wanted), "boxes and ends"
    assert len({t.sampled_mask.count(True) for t in wanted}) > 1, "at different tokens"
    for count, way in ((3, decoder.captured), (8, graph)):
        monkeypatch.setitem(decoder.AHEAD, "cpu", count)
        monkeypatch.setattr(decoder, "captured", way)
        for t, own in zip(rolled(), wanted, strict=True):
            for name in ("ids", "kinds", "looks", "finish", "answer"):
                assert getattr(t, name) == getattr(own, name)
            for a, b in ((t.logprobs, own.logprobs), (t.entropies, own.entropies)):
                assert [x for x in a if x is not None] == pytest.approx([x for x in b if x is not None], abs=2e-5)


def test_what_draws_ahead_is_made_anew_for_another_temperature_or_cache(policy: Policy) -> None:
    """And kept for the same."""
    step, caches = Decoder(policy), [SlotCache(len(policy.text.layers)) for _ in range(2)]
    for cache in caches:
        cache.start(2, torch.device("cpu"))
    first = step.ahead(caches[0], 0.0)
    assert step.ahead(caches[0], 0.0) is first
    assert step.ahead(caches[0], 1.0).temperature == 1.0 and step.ahead(caches[1], 1.0).cache is caches[1]


@torch.no_grad()
def test_a_graph_is_left_when_what_it_reads_lies_elsewhere(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wide block that a row reads makes the cache grow; one graph before, another after, and the same tokens."""
    monkeypatch.setitem(decoder.AHEAD, "cpu", 4)
    found, made = [], []
    for way in (decoder.captured, lambda *given: made.append(graph(*given)) or made[-1]):
        monkeypatch.setattr(decoder, "captured", way)
        cache, step = SlotCache(len(policy.text.layers)), Decoder(policy)
        cache.start(2, policy.device)
        for width, kept in ((9, 9), (400, 2)):
            ids, at = torch.full((2, width), 40 + width % 7), torch.arange(width).expand(3, 2, -1)
            cache.place(torch.arange(2), torch.tensor([kept, kept - 1]), width)
            policy.read(ids, at, [], cache=cache, attention_mask=cache.mask())
            cache.advance()
            for _ in range(2):
                found.append(step.ahead(cache, 0.0)([0, 1], [41, 42], [12, 30])[:2])
                cache.cursor += 1
    assert len(made) == 2
    for graphs, plain in zip(found[4:], found[:4], strict=True):
        assert graphs[0] == plain[0] and torch.allclose(torch.tensor(graphs[1]), torch.tensor(plain[1]), atol=1e-5)


def test_rows_of_attention(far: Policy) -> None:
    """Those that two heads are trained by: nothing of them is read back."""
    attention.select(far.model)
    row = Row([40, 41, 42, 43, 44], [])
    with ours(), attention.watching((1,)) as watched:
        far.hidden(far.rows([row, row]))
        at = [torch.tensor([k, k + 1]) for k in (0, 2, 1)]
        attention.log_weights(watched[1], *at, (0, 1)).mean().backward()
    assert all(p.grad is None or p.grad.device == DEVICE for p in far.model.parameters())


def test_the_packed_update(far: Policy, family_policy: Policy, samples: list[Any]) -> None:
    """A group with its crops, from its records to gradients; what is logged of it is read back, and left out here."""
    store: dict[str, Features] = {}
    group = rollout(family_policy, samples[:1], 3, seed=1, max_new_tokens=40, max_looks=1, features=store)
    near = {key: seen(features) for key, features in store.items()}
    with ours():
        now = packed_logprobs(far, group, near, 1.0)
        pushed, _ = surrogate(now.new, now.old, torch.ones(3, 1).to(DEVICE), now.mask, PUBLISHED)
        aggregate(pushed, now.mask, PUBLISHED, rows=3).backward()
        assert any(p.grad is not None for p in far.text_parameters())
