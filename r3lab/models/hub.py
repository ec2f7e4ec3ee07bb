"""A checkpoint by path or by hub name: a folder that is here, or one that the Hugging Face hub's own client fetches.

Only what a checkpoint is made of is fetched: JSON, templates, vocabulary and safetensors. No code, no pickled weights.
What was fetched once is found again without a network.

    policy = Policy.load(checkpoint_folder("Qwen/Qwen2.5-VL-3B-Instruct"))       # 7.5 GB the first time
    policy = Policy.load(checkpoint_folder("checkpoints/mine"))
"""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from ..errors import shown
from .weights import CheckpointError

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
