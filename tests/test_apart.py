"""Nothing of the host meets a tensor of the device: what a GPU would refuse, or wait for, fails on every laptop.

The device that is pretended is `meta`: tensors have shapes and no numbers, so that whatever reads one back (`item`,
`tolist`, a length that hangs on it) is an error, and `Apart` refuses an operation on tensors of both sides.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from transformers.utils import import_utils

from r3lab.models import attention
from r3lab.models.cache import SHORT, SlotCache
from r3lab.models.decoder import Decoder, fits
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
    cache, decoder = SlotCache(len(far.text.layers)), Decoder(far)
    assert fits(far)
    with Apart() as mode, torch.no_grad():
        cache.start(2, DEVICE)
        rows = far.padded([[40] * (SHORT + 9)] * 2, [far.positions(Row([40] * (SHORT + 9), []))] * 2)
        cache.place(torch.arange(2), rows.lengths, rows.ids.shape[1])
        far.read(rows.ids, rows.positions, [], attention_mask=cache.mask(), past_key_values=cache, use_cache=True)
        cache.advance()
        cache.share(torch.tensor([0, 0, 0, 1, 1]))
        for placed in ([0, 1, 2, 3, 4], [0, 2, 3]):
            before = mode.moved
            cache.place(torch.tensor(placed), torch.ones(len(placed), dtype=torch.int64), 1)
            at = torch.full((len(placed),), SHORT + 9)
            states = decoder.step(torch.full((len(placed),), 41, device=DEVICE), at, cache)
            cache.advance()
            assert far.logits(states).shape == (len(placed), far.model.lm_head.out_features)
            assert mode.moved - before <= 4, "more copies than places, slots and positions"


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
