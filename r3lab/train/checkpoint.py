"""Saving a policy and its log so that a reader never sees half of one.

A checkpoint is written to a temporary folder beside its target and renamed; a log line is appended and flushed whole.
What is kept here for the policy alone; optimiser and random state are not saved, so a run cannot be resumed bit for
bit.

    save_policy(policy, "runs/rgrpo/step-100")
    log = JsonlLog("runs/rgrpo/log.jsonl"); log({"step": 1, "reward": 0.3})
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from ..errors import R3labError
from ..models.adapters import save_adapter
from ..models.policy import Policy
from ..models.weights import quiet


def round_to_half(model: torch.nn.Module) -> None:
    """Round every weight to what float16 can hold, in place: what is measured afterwards is what is stored."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().to(parameter.dtype))


def save_policy(
    policy: Policy, folder: str | Path, half: bool = False, weights: dict[str, torch.Tensor] | None = None
) -> Path:
    """Write a checkpoint in the ordinary Hugging Face format, replacing an older one only when all of it is written.

    Of a policy with LoRA matrices these alone are written, in peft's format.

    Parameters
    ----------
    half : store float16 (and round the weights in memory); config.json keeps the dtype in which they are computed
    weights : all of them, by name, of a policy that holds parts of them (`sharding.whole_weights`)

    Raises
    ------
    R3labError
        If the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise R3labError(f"cannot write a checkpoint to {folder}: {error.strerror}; choose another folder") from None
    try:
        if policy.adapter is not None:
            save_adapter(policy, partial)
        else:
            _save_whole(policy, partial, half, weights)
        for file in partial.iterdir():
            file.chmod(0o644)
        partial.chmod(0o755)
        old = folder.with_name(f".{folder.name}-old")
        if folder.exists():
            os.replace(folder, old)
        os.replace(partial, folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise R3labError(
            f"cannot write a checkpoint to {folder}: {error}; free some space or choose another folder"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _save_whole(policy: Policy, folder: Path, half: bool, weights: dict[str, torch.Tensor] | None) -> None:
    """Weights, configuration, tokenizer and processor."""
    computed = next(policy.model.parameters()).dtype
    if half:
        round_to_half(policy.model)
        policy.model.half()
    try:
        with quiet(sum(p.nbytes for p in policy.model.parameters())):
            policy.model.save_pretrained(folder, state_dict=weights)
    finally:
        policy.model.to(computed)
    config = json.loads((folder / "config.json").read_text())
    for part in (config, config.get("text_config", {}), config.get("vision_config", {})):
        part["dtype"] = str(computed).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    policy.tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(policy.processor, indent=2) + "\n")


class JsonlLog:
    """Append one JSON object a line; every line is flushed. `rows` keeps them for live curves.

    Parameters
    ----------
    path : file to write, anew; None to keep the rows in memory alone
    through : keep what an earlier run wrote there, as far as this step
    """

    def __init__(self, path: str | Path | None, through: int = 0) -> None:
        self.path = Path(path) if path else None
        self.rows: list[dict[str, Any]] = []
        if self.path:
            if through and self.path.is_file():
                self.rows = [row for row in read_log(self.path) if row.get("step", 0) <= through]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")

    def __call__(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if self.path:
            with self.path.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a JSONL log; a last line cut off by a kill is left out."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise R3labError(
                    f"{path} line {number} is not JSON; the log was edited or two runs wrote to it"
                ) from None
    return rows
