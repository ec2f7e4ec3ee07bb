"""The folder of a training run, which can be killed at any moment and goes on where it was.

A checkpoint is a folder `checkpoints/step-000050` with the policy in the ordinary Hugging Face format, the
optimiser's tensors (safetensors) and `state.json`: progress, settings, versions and the SHA-256 of every file. It is
written beside its place and renamed, so a name that is there is whole; what was damaged later is found by its hash, and
the checkpoint before is taken. All randomness of training comes from (seed, step), so a run that goes on does bit for
bit what it would have done.

    run = Run("runs/rgrpo", settings)
    begin = run.restore(policy, optimiser)      # Progress(step=0, draws=0) in a new folder
    run.save(Progress(50, 50, reward), policy, optimiser)
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from .. import __version__
from ..errors import R3labError
from ..models.adapters import restore_adapter
from ..models.policy import Policy
from ..models.weights import read_weights
from .checkpoint import save_policy
from .sharding import like, load_whole, whole, whole_weights

STATE, OPTIMISER = "state.json", "optimiser.safetensors"
FREE = frozenset(
    {"out", "steps", "save_every", "keep", "resume", "pass_groups", "show_every", "trackers", "shard"}
)  # settings that may change between parts of a run


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    step : steps done
    draws : batches of samples taken
    score : mean reward of the steps since the checkpoint before; the best is kept
    """

    step: int = 0
    draws: int = 0
    score: float = 0.0


class Run:
    """Checkpoints of one run; see the module's docstring.

    Parameters
    ----------
    folder : of the run
    settings : a dataclass instance; those of a run that goes on must be the same, but for `FREE`
    keep : checkpoints that stay, the newest ones; the best stays as well
    """

    def __init__(self, folder: str | Path, settings: Any, keep: int = 2) -> None:
        self.folder, self.keep = Path(folder), keep
        self.settings: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
        self.said: list[str] = []  # what a user should know of `newest`
        for left in (self.folder / "checkpoints").glob(".*"):  # of a save that was killed
            shutil.rmtree(left, ignore_errors=True)

    @property
    def checkpoints(self) -> list[Path]:
        """Folders of checkpoints, the newest first."""
        return sorted((self.folder / "checkpoints").glob("step-*"), reverse=True)

    def newest(self) -> tuple[Path, Progress] | None:
        """The newest checkpoint that is whole, and how far it is; None if there is none.

        Raises
        ------
        R3labError
            If it was made with other settings (naming the first that differs), or none of several is whole.
        """
        found = self.checkpoints
        self.said = []
        for folder in found:
            problem, state = _read(folder)
            if problem:
                self.said.append(f"{folder} is damaged ({problem}); the checkpoint before it is taken")
                continue
            for key, now in self.settings.items():
                before = state["settings"].get(key, now)
                if key not in FREE and before != now:
                    raise R3labError(
                        f"{self.folder} was made with {key} = {before!r}, now it is {now!r}; give the same value, or "
                        "another --out"
                    )
            return folder, Progress(**state["progress"])
        if found:
            raise R3labError(
                f"no checkpoint in {self.folder} is whole ({_read(found[0])[0]}); start with another --out"
            )
        return None

    def restore(self, policy: Policy, optimiser: torch.optim.Optimizer) -> Progress:
        """Load the newest whole checkpoint into policy and optimiser; in a new folder nothing is changed."""
        newest = self.newest()
        if newest is None:
            return Progress()
        folder, progress = newest
        if policy.adapter is not None:
            restore_adapter(policy, folder)
        else:
            load_whole(policy, read_weights(folder, next(policy.model.parameters()).dtype).state_dict())
        _restore(optimiser, load_file(folder / OPTIMISER))
        return progress

    def save(self, progress: Progress, policy: Policy, optimiser: torch.optim.Optimizer, writes: bool = True) -> Path:
        """Write a checkpoint and remove those that need not stay.

        Parameters
        ----------
        writes : one process does; the others only give it their parts of a sharded policy

        Raises
        ------
        R3labError
            If the disk refuses; checkpoints written before are untouched.
        """
        target = self.folder / "checkpoints" / f"step-{progress.step:06d}"
        part = target.with_name(f".{target.name}")
        weights, moments = whole_weights(policy), _tensors(optimiser)
        if not writes:
            return target
        shutil.rmtree(part, ignore_errors=True)
        try:
            save_policy(policy, part, weights=weights)
            save_file(moments, part / OPTIMISER)
            state = {
                "progress": asdict(progress),
                "settings": self.settings,
                "versions": {
                    "r3lab": __version__,
                    "python": platform.python_version(),
                    "torch": torch.__version__,
                    "transformers": transformers.__version__,
                },
                "threads": torch.get_num_threads(),
                "files": {f.name: _digest(f) for f in sorted(part.iterdir())},
            }
            (part / STATE).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
            shutil.rmtree(target, ignore_errors=True)
            part.rename(target)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(part, ignore_errors=True)
            raise R3labError(
                f"cannot write a checkpoint to {target}: {error}; free some space or choose another --out. "
                f"What was saved before is whole"
            ) from None
        self._prune()
        return target

    def _prune(self) -> None:
        """Keep the newest and the best."""
        scores = {folder: state["progress"]["score"] for folder in self.checkpoints if (state := _state(folder))}
        best = max(scores, key=lambda f: scores[f], default=None)
        for folder in self.checkpoints[self.keep :]:
            if folder != best:
                shutil.rmtree(folder, ignore_errors=True)


def _digest(path: Path) -> str:
    """SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def _state(folder: Path) -> dict[str, Any] | None:
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return state if isinstance(state, dict) and {"progress", "settings", "files"} <= set(state) else None
    except (OSError, ValueError):
        return None


def _read(folder: Path) -> tuple[str, dict[str, Any]]:
    """What is wrong with a checkpoint (empty: nothing), and its state."""
    state = _state(folder)
    if state is None:
        return f"{STATE} cannot be read", {}
    for name, digest in state["files"].items():
        path = folder / str(name)
        if not path.is_file():
            return f"{name} is missing", {}
        if _digest(path) != digest:
            return f"{name} is not what was written", {}
    return "", state


def _tensors(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The state of an optimiser as named tensors: NUMBER.KEY for each parameter in order."""
    found = {}
    for number, own in optimiser.state_dict()["state"].items():
        for key, value in own.items():
            found[f"{number}.{key}"] = whole(torch.as_tensor(value).detach()).contiguous().cpu()
    return found


def _restore(optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put what `_tensors` gave back."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    held = [p for g in optimiser.param_groups for p in g["params"]]
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        moment = value.shape == held[int(number)].shape
        state.setdefault(int(number), {})[key] = like(value, held[int(number)]) if moment else value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def how_to_resume(argv: list[str] | None = None) -> str:
    """The command that goes on with the run of this process."""
    words = (sys.argv if argv is None else argv)[1:]
    return " ".join(["r3lab", *words, *([] if "--resume" in words else ["--resume"])])
