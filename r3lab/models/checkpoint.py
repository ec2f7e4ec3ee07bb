"""A checkpoint by path or by hub name: a folder that is here, or one that the Hugging Face hub's own client fetches.

Only what a checkpoint is made of is fetched: JSON, templates, vocabulary and safetensors. No code, no pickled weights.
What was fetched once is found again without a network. Weights that are damaged or missing are errors that say what to
do, where transformers would go on with random ones.

    folder = checkpoint_folder("Qwen/Qwen2.5-VL-3B-Instruct")       # 7.5 GB the first time
    model = read_weights(folder, torch.bfloat16)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, PreTrainedModel
from transformers.utils import logging

from ..core.errors import R3labError, shown

QUICK_BYTES = 200_000_000  # of weights; less is read or written within two seconds and needs no progress bar


class CheckpointError(R3labError):
    """A folder that cannot be used as a policy; the message says which part is missing and how to mend it."""


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
    """The model of a checkpoint folder on the CPU; a CheckpointError where weights are damaged or missing.

    transformers only warns about missing weights and leaves them random; here they are an error. Its progress bar is
    kept for files large enough that loading takes seconds.
    """
    try:
        with quiet(sum(file.stat().st_size for file in folder.glob("*.safetensors"))):
            model, found = AutoModelForImageTextToText.from_pretrained(
                folder, dtype=dtype, attn_implementation="sdpa", output_loading_info=True
            )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(
            f"cannot read the weights in {folder}: {reason}; copy or download the *.safetensors files again"
        ) from None
    missing = sorted(found["missing_keys"])
    if missing:
        raise CheckpointError(
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
    CheckpointError
        If it is neither, or cannot be fetched: no network, no such name, or its terms were not accepted.
    """
    folder, text = Path(name), str(name)
    if text and folder.is_dir():
        return folder
    if not _NAME.fullmatch(text) or ".." in text:
        raise CheckpointError(f"{shown(text)} is no folder, and no hub name (owner/name); give one of the two")
    try:
        return Path(snapshot_download(text, allow_patterns=list(FILES), local_files_only=not fetch))
    except RepositoryNotFoundError:
        why = "the hub knows no such checkpoint, or shows it only after you log in and accept its terms"
    except LocalEntryNotFoundError:
        why = "it was not fetched before, and now the hub cannot be reached" if fetch else "it was not fetched before"
    except (HfHubHTTPError, OSError, ValueError) as error:
        why = shown(str(error), 200)
    raise CheckpointError(f"{shown(text)} is no folder here, and as a hub name: {why}")
