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
import math
import os
import platform
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from .. import __version__
from ..core.errors import R3labError
from ..models.adapters import restore_adapter, save_adapter
from ..models.checkpoint import quiet, read_weights
from ..models.policy import Policy
from .processes import like, load_whole, whole, whole_weights

# Learning-rate schedules: of the supervised stages, and the fall at the end of a run whose rate is constant.
#
# factor = schedule(step, steps=1000, final=0.1)
# factor = cooldown(step, steps=400, last=150)


def schedule(step: int, steps: int, final: float, warm: int = 100) -> float:
    """Factor on the learning rate: linear up over `warm` steps, then a cosine down to `final`."""
    if step < warm:
        return (step + 1) / warm
    progress = (step - warm) / max(1, steps - warm)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def cooldown(step: int, steps: int, last: int) -> float:
    """Factor on a constant rate that falls linearly towards 0 over the `last` of `steps` steps.

    What a constant rate leaves of noise in the weights is averaged out at the end; before that the run is the same as
    without (Hägele et al., arXiv 2405.18392).
    """
    return min(1.0, (steps - step) / (last + 1))


# Ctrl-C that waits for the step in progress.
#
#     with finish_step() as stop:
#         for step in ...:
#             ...
#             if stop.asked:
#                 break
#
# The first Ctrl-C is noted, a second one interrupts at once. Outside the main thread nothing is caught.


@dataclass
class Stop:
    """Whether Ctrl-C was pressed."""

    asked: bool = False


@contextmanager
def finish_step() -> Iterator[Stop]:
    """Note the first Ctrl-C instead of raising KeyboardInterrupt."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True
        print("\nstopping when this step is done; Ctrl-C again stops at once", file=sys.stderr, flush=True)

    signal.signal(signal.SIGINT, note)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


# Saving a policy and its log so that a reader never sees half of one.
#
# A checkpoint is written to a temporary folder beside its target and renamed; a log line is appended and flushed
# whole.
# What is kept here for the policy alone; optimiser and random state are not saved, so a run cannot be resumed bit for
# bit.
#
#     save_policy(policy, "runs/rgrpo/step-100")


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
