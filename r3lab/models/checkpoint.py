"""A checkpoint by path or by hub name, and how much memory it will need before a single weight is read or downloaded.

Only what a checkpoint is made of is fetched: JSON, templates, vocabulary and safetensors. No code, no pickled weights.
What was fetched once is found again without a network. Weights that are damaged or missing are errors that say what to
do, where transformers would go on with random ones.

    sizes = sizes_of(known_config("Qwen/Qwen2.5-VL-3B-Instruct"), torch.bfloat16)     # or config_of(folder)
    print(sizes.weights, sizes.rollout(rows=5, tokens=4000))        # bytes
    folder = checkpoint_folder("Qwen/Qwen2.5-VL-3B-Instruct")       # 7.5 GB the first time
    model = read_weights(folder, torch.bfloat16)

The memory is that of a model built on torch's `meta` device, where tensors have shapes and no content: counting their
numbers is exact for every family. Of the checkpoints that the course names the shapes ship (assets/checkpoints/, as
their own config.json has them), so that no network is needed. Simplified: activations are left out (`train.memory`
measures them once the model is loaded); of a rollout they are small beside weights, keys and values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel
from transformers.utils import logging

from ..core.errors import R3labError, nearest, shown
from ..core.files import assets_dir
from .families import family_of

QUICK_BYTES = 200_000_000  # of weights; less is read or written within two seconds and needs no progress bar


def first_line(error: Exception) -> str:
    """What a library says of a file that it cannot read, short enough for a message."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


@contextmanager
def quiet(size: int) -> Iterator[None]:
    """Without transformers' progress bars while so many bytes of weights are read or written, if they are few."""
    hide = size < QUICK_BYTES and logging.is_progress_bar_enabled()
    if hide:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if hide:
            logging.enable_progress_bar()


def read_weights(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model of a checkpoint folder on the CPU; an R3labError where weights are damaged or missing.

    transformers only warns about missing weights and leaves them random; here they are an error. Its progress bar is
    kept for files large enough that loading takes seconds.
    """
    try:
        with quiet(sum(file.stat().st_size for file in folder.glob("*.safetensors"))):
            model, found = AutoModelForImageTextToText.from_pretrained(
                folder, dtype=dtype, attn_implementation="sdpa", output_loading_info=True
            )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise R3labError(
            f"cannot read the weights in {folder}: {first_line(error)}; copy or download the *.safetensors files again"
        ) from None
    missing = sorted(found["missing_keys"])
    if missing:
        raise R3labError(
            f"the weights in {folder} lack {len(missing)} tensors that its config.json asks for, the first is "
            f"{missing[0]!r}; use the config.json that was saved with these weights"
        )
    return model


FILES = ("*.json", "*.safetensors", "*.jinja", "merges.txt", "vocab.txt")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def checkpoint_folder(name: str | Path, fetch: bool = True) -> Path:
    """The folder of a checkpoint.

    Parameters
    ----------
    name
        A folder; or `owner/name` on the hub, if there is no such folder.
    fetch
        False: use only what was fetched before.

    Raises
    ------
    R3labError
        If it is neither, or cannot be fetched: no network, no such name, or its terms were not accepted.
    """
    folder, text = Path(name), str(name)
    if text and folder.is_dir():
        return folder
    if not _NAME.fullmatch(text) or ".." in text:
        raise R3labError(f"{shown(text)} is no folder, and no hub name (owner/name); give one of the two")
    try:
        return Path(snapshot_download(text, allow_patterns=list(FILES), local_files_only=not fetch))
    except RepositoryNotFoundError:
        why = "the hub knows no such checkpoint, or shows it only after you log in and accept its terms"
    except LocalEntryNotFoundError:
        why = "it was not fetched before, and now the hub cannot be reached" if fetch else "it was not fetched before"
    except (HfHubHTTPError, OSError, ValueError) as error:
        why = shown(str(error), 200)
    raise R3labError(f"{shown(text)} is no folder here, and as a hub name: {why}")


@dataclass(frozen=True)
class Sizes:
    """What a model of one configuration takes.

    Attributes
    ----------
    parameters : numbers in all weights; tied ones count once
    trained : those outside the vision tower, which R-GRPO and the cold start train
    element : bytes a number
    cached : bytes of keys and values, a token of one row
    """

    parameters: int
    trained: int
    element: int
    cached: int

    @property
    def weights(self) -> int:
        """Bytes of the loaded model."""
        return self.parameters * self.element

    def rollout(self, rows: int, tokens: int) -> int:
        """Bytes of the model and of the keys and values of `rows` rollouts of `tokens` tokens, prompt included."""
        return self.weights + rows * tokens * self.cached

    @property
    def training(self) -> int:
        """Bytes held all the time when everything but the vision tower is trained: weights, gradients, AdamW's two."""
        return self.weights + 3 * self.trained * self.element


def config_of(folder: str | Path) -> Any:
    """The configuration of a checkpoint folder.

    Raises
    ------
    R3labError
        If there is none, it cannot be read, or its family is not supported.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise R3labError(f"{folder} has no config.json; give the folder of a checkpoint in the Hugging Face format")
    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise R3labError(f"cannot read {folder / 'config.json'}: {first_line(error)}") from None
    family_of(config.model_type)
    return config


KNOWN = ("Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen3-VL-2B-Instruct", "HuggingFaceTB/SmolVLM-Instruct")


def known_config(name: str) -> Any:
    """The configuration of a checkpoint that the course names: the shapes of its parts.

    Raises
    ------
    R3labError
        If it is another one.
    """
    if name not in KNOWN:
        raise R3labError(f"The shapes of {shown(name)} do not ship.{nearest(name, KNOWN)} Known: {', '.join(KNOWN)}.")
    return config_of(assets_dir() / "checkpoints" / name)


def sizes_of(config: Any, dtype: torch.dtype) -> Sizes:
    """Count what a configuration asks for.

    Parameters
    ----------
    config
        From `config_of`, or one of transformers' own.
    dtype
        In which the weights will be loaded.

    Raises
    ------
    R3labError
        If its family is not supported.
    """
    family = family_of(config.model_type)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    every = {id(p): p.numel() for p in model.parameters()}
    seen = {id(p) for name in family.vision for p in getattr(model.model, name).parameters()}
    text = config.get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return Sizes(
        parameters=sum(every.values()),
        trained=sum(count for key, count in every.items() if key not in seen),
        element=dtype.itemsize,
        cached=2 * text.num_hidden_layers * text.num_key_value_heads * head * dtype.itemsize,
    )
