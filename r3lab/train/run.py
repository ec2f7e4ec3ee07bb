"""A training run: its folder, which can be killed at any moment and goes on where it was, and what surrounds its steps.

A checkpoint is a folder `checkpoints/step-000050` with the policy in the ordinary Hugging Face format, the
optimiser's tensors (safetensors) and `state.json`: progress, settings, versions and the SHA-256 of every file. The
cold start, R-GRPO and the stages of a base (`recipes`) are kept so. It is written beside its place and renamed, so a
name that is there is whole; what was damaged later is found by its hash, and the checkpoint before is taken. All
randomness of training comes from (seed, step), so a run that goes on does bit for bit what it would have done.

    run = Run("runs/rgrpo", settings)
    begin = run.restore(policy, optimiser)      # Progress(step=0, draws=0) in a new folder
    run.save(Progress(50, 50), policy, optimiser)
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from .. import __version__
from ..core.errors import R3labError
from ..core.files import alone, recover, whole_folder
from ..core.plugins import unpinned
from ..core.records import parse, reader
from ..models.adapters import restore_adapter
from ..models.checkpoint import read_weights
from ..models.policy import Policy, save_policy, write_policy
from ..rollout.sequence import prompt_ids
from ..trajectory import Trajectory, save
from ..vlir.sample import Sample
from .devices import footprint_of, like, load_whole, readable, room, shard, whole, whole_weights
from .log import LOG, JsonlLog, facts, summary_of
from .settings import RgrpoSettings
from .update import ALONE, Alone, joined


def steps(
    label: str, left: range, every: int, save: Callable[[int], object], stopped: Callable[[], bool], shown: bool
) -> Iterator[int]:
    """The steps of a run that are left, numbered from 0, with a bar if it is to be shown.

    Parameters
    ----------
    every, save : called with the steps that are done every so many of them, at the end, and where it is stopped
    stopped : asked when a step is done whether to end there, with KeyboardInterrupt
    """
    for step in tqdm(left, label, left.stop, disable=not shown, mininterval=1, initial=left.start):
        yield step
        done, ends = step + 1, stopped()
        if done % every == 0 or done == left.stop or ends:
            save(done)
        if ends and done < left.stop:
            raise KeyboardInterrupt


STATE, OPTIMISER, BESIDE = "state.json", "optimiser.safetensors", "beside.safetensors"
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
    seconds : that they took, where the log tells the time since the start
    sums : of each number of a row of the log that is under way, where one tells of several steps: its sum, how many
    """

    step: int = 0
    draws: int = 0
    seconds: float = 0.0
    sums: dict[str, tuple[float, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """What stands in `state.json`: progress, settings, what made it, and the SHA-256 of every file beside it."""

    progress: Progress
    settings: dict[str, Any]
    versions: dict[str, str]
    threads: int
    files: dict[str, str]


class Run:
    """Checkpoints of one run; see the module's docstring.

    Parameters
    ----------
    folder : of the run
    settings : a dataclass instance; those of a run that goes on must be the same, but for `free`
    keep : checkpoints that stay, the newest ones
    """

    def __init__(self, folder: str | Path, settings: Any, keep: int = 2, free: frozenset[str] = FREE) -> None:
        self.folder, self.keep, self.free = Path(folder), keep, free
        self.settings: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
        self.said: list[str] = []  # what a user should know of `newest`
        for left in (self.folder / "checkpoints").glob(".step-*"):  # of a save that was killed
            recover(left.with_name(left.stem[1:]))

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
            if state is None:
                self.said.append(f"{folder} is damaged ({problem}); the checkpoint before it is taken")
                continue
            for key, now in self.settings.items():
                before = state.settings.get(key, now)
                if key not in self.free and before != now:
                    if unpinned(before) == unpinned(now):
                        raise R3labError(
                            f"the file of {key} {unpinned(now)} was changed since {self.folder} began; restore it, or "
                            "give another --out"
                        )
                    raise R3labError(
                        f"{self.folder} was made with {key} = {before!r}, now it is {now!r}; give the same value, or "
                        "another --out"
                    )
            return folder, state.progress
        if found:
            raise R3labError(
                f"no checkpoint in {self.folder} is whole ({_read(found[0])[0]}); start with another --out"
            )
        return None

    def begin(self) -> Progress:
        """How far the newest whole checkpoint is; `Progress()` in a new folder."""
        newest = self.newest()
        return newest[1] if newest else Progress()

    def restore(
        self, policy: Policy, optimiser: torch.optim.Optimizer, beside: torch.nn.Module | None = None
    ) -> Progress:
        """Load the newest whole checkpoint into policy, optimiser and what is trained `beside` the policy; in a new
        folder nothing is changed."""
        newest = self.newest()
        if newest is None:
            return Progress()
        folder, progress = newest
        if policy.adapter is not None:
            restore_adapter(policy, folder)
        else:
            load_whole(policy, read_weights(folder, next(policy.model.parameters()).dtype).state_dict())
        if beside is not None:
            beside.load_state_dict(load_file(folder / BESIDE))
        _restore(optimiser, load_file(folder / OPTIMISER))
        return progress

    def save(
        self,
        progress: Progress,
        policy: Policy,
        optimiser: torch.optim.Optimizer,
        writes: bool = True,
        beside: torch.nn.Module | None = None,
    ) -> Path:
        """Write a checkpoint and remove those that need not stay.

        Parameters
        ----------
        writes : one process does; the others only give it their parts of a sharded policy
        beside : what is trained beside the policy

        Raises
        ------
        R3labError
            If the disk refuses; checkpoints written before are untouched.
        """
        target = self.folder / "checkpoints" / f"step-{progress.step:06d}"
        weights, moments = whole_weights(policy), _tensors(optimiser)
        if not writes:
            return target
        with whole_folder(target, replace=True, durable=True) as part:
            write_policy(policy, part, weights=weights)
            save_file(moments, part / OPTIMISER)
            if beside is not None:
                save_file(beside.state_dict(), part / BESIDE)
            versions = {"r3lab": __version__, "python": platform.python_version()}
            versions |= {"torch": torch.__version__, "transformers": transformers.__version__}
            files = {f.name: _digest(f) for f in sorted(part.iterdir())}
            state = State(progress, self.settings, versions, torch.get_num_threads(), files)
            (part / STATE).write_text(json.dumps(asdict(state), indent=1) + "\n", encoding="utf-8")
        for folder in self.checkpoints[self.keep :]:
            shutil.rmtree(folder, ignore_errors=True)
        return target


def _digest(path: Path) -> str:
    """SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def _read(folder: Path) -> tuple[str, State | None]:
    """What is wrong with a checkpoint (empty: nothing), and its state."""
    try:
        state: State = reader(State)(parse((folder / STATE).read_bytes(), STATE), STATE)
    except (OSError, R3labError) as error:
        why = str(getattr(error, "strerror", None) or error).rstrip(".")
        return f"{STATE} cannot be read: {why}", None
    for name, digest in state.files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing", None
        if _digest(path) != digest:
            return f"{name} is not what was written", None
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


@contextmanager
def opened(
    settings: Any, keep: int, processes: Alone = ALONE, free: frozenset[str] = FREE
) -> Iterator[tuple[Run, Progress, JsonlLog]]:
    """The run in the `out` of settings of a command, how far it is, and its log as far as that; no other command has it
    meanwhile.

    Raises
    ------
    R3labError
        If there is one, and the settings do not say `resume`; or another process has it, which is named.
    """
    with alone(Path(settings.out) / LOG) if processes.main else nullcontext():
        run = Run(settings.out, settings, keep, free)
        if run.checkpoints and not settings.resume:
            raise R3labError(f"{settings.out} holds a run; give --resume to go on with it, or another --out")
        begin = run.begin()
        processes.wait()  # all have seen the folder as it was
        for line in run.said if processes.main else ():
            print(line, file=sys.stderr)
        log = JsonlLog(run.folder / LOG if processes.main else None, begin.step)
        if not log.rows:
            log({"settings": asdict(settings), "processes": processes.count})
        yield run, begin, log


def how_to_resume(argv: list[str] | None = None) -> str:
    """The command that goes on with the run of this process."""
    words = (sys.argv if argv is None else argv)[1:]
    return " ".join(["r3lab", *words, *([] if "--resume" in words else ["--resume"])])


def ended(train: Callable[[], None], policy: Policy, out: str | Path, processes: Alone = ALONE) -> int:
    """The exit code of a command that trains a policy, which is saved in `out` at the end; on Ctrl-C it is said how to
    go on."""
    try:
        train()
    except KeyboardInterrupt:
        if processes.main:
            print(f"stopped; to go on: {how_to_resume()}")
        return 130
    weights = whole_weights(policy)
    if processes.main:
        print(f"checkpoint in {save_policy(policy, Path(out) / 'policy', weights=weights)}")
    return 0


class Session:
    """What surrounds the steps of R-GRPO and is no part of the method.

    Sharding; what memory it needs, and how many groups a pass may hold; checkpoints; the end of a run whose updates are
    not finite; what is logged, of all processes. With one process, room for all groups and no `run`, it is a bar.

    Parameters
    ----------
    stop : set if the run is to end after the step in progress
    run, processes : see `rgrpo.train_rgrpo`

    Attributes
    ----------
    settings : those of the run, with as many groups in a pass of the next update as there is room for
    """

    def __init__(
        self, policy: Policy, settings: RgrpoSettings, stop: threading.Event, run: Run | None, processes: Alone
    ) -> None:
        self.policy, self.settings, self.stop, self.run, self.processes = policy, settings, stop, run, processes
        self.footprint, self.most = footprint_of(policy, settings), settings.pass_groups  # groups a pass may ever hold
        self.draws = self.not_finite = 0  # batches taken; updates in a row
        self.told = False  # what memory the run will need
        if settings.shard:
            if settings.prompts // settings.minibatches < processes.count:
                raise R3labError(
                    f"--shard needs a group of each minibatch in every process: {settings.prompts} prompts in "
                    f"{settings.minibatches} minibatches are too few for {processes.count} processes"
                )
            shard(policy, processes)

    def steps(self, optimiser: torch.optim.Optimizer, progress: bool = True) -> Iterator[int]:
        """Numbers of the steps, from where the run is; after each a checkpoint if one is due."""
        settings, processes = self.settings, self.processes
        begin = self.run.restore(self.policy, optimiser) if self.run else Progress()
        self.draws = begin.draws

        def save(done: int) -> None:
            if self.run:
                self.run.save(Progress(done, self.draws), self.policy, optimiser, processes.main)
                processes.wait()

        def stopped() -> bool:
            return any(processes.gather(self.stop.is_set()))

        left, shown = range(begin.step, settings.steps), progress and processes.main
        return steps("R-GRPO", left, settings.save_every, save, stopped, shown)

    def counted(self, batches: Iterator[Sequence[Sample]]) -> Iterator[Sequence[Sample]]:
        """The same batches; how many were taken is kept, so that a run goes on with the next one."""
        for batch in batches:
            if self.run and self.processes.main and not self.told:
                print(self.foreseen(batch), file=sys.stderr)
                self.told = True
            self.draws += 1
            yield batch

    def foreseen(self, samples: Sequence[Sample]) -> str:
        """What the run will need of memory, from its first samples, with one look and as many tokens as it may take."""
        policy, prompt = self.policy, 0
        for sample in samples:
            size = policy.overview_size(sample.image.size)
            tokens = size[0] * size[1] // policy.layout.factor**2
            prompt = max(prompt, len(prompt_ids(policy, sample.question, size, tokens)))
        completion = self.settings.max_new_tokens + policy.layout.crop_tokens[1]
        return self.footprint.told(self.settings, prompt, completion)

    def fit(self, trajectories: Sequence[Trajectory]) -> None:
        """Let passes hold as many of these groups as the memory has room for; where it has none for a single one, as
        few layers as that takes are computed again in the backward pass, from here on."""
        held, layers, again = room(self.policy.device), len(self.policy.text.layers), self.settings.checkpointing

        def short() -> float:  # of all processes, which decide alike: layers that lie in parts are put together at once
            return max(self.processes.gather(self.footprint.lacks(trajectories, held)))

        def enough(count: int) -> bool:
            self.settings = replace(self.settings, checkpointing=count)
            self.footprint = footprint_of(self.policy, self.settings)
            return not short()

        if again < layers and (lack := short()):
            enough(bisect_left(range(layers), True, again + 1, key=enough))  # the last that was tried may be another
            if self.processes.main:
                what = f"{self.settings.checkpointing} of {layers} layers are computed again in the backward pass"
                tqdm.write(f"memory for a group of rollouts is {readable(lack)} short; from here on {what}")
        fits = self.footprint.groups_that_fit(trajectories, held)
        limits = [groups for groups in (fits, self.most) if groups]  # 0: no limit
        self.settings = replace(self.settings, pass_groups=min(limits, default=0))

    def noted(self, step: int, trajectories: list[Trajectory], made: dict[str, Any]) -> dict[str, Any]:
        """Take note of an update's metrics, which are returned: of memory that ran short, of what is not finite; an
        R3labError after `max_skipped` updates in a row that were not."""
        if "pass_groups" in made:
            self.most = int(made["pass_groups"])
            self.settings = replace(self.settings, pass_groups=self.most)
            tqdm.write(f"step {step + 1}: out of memory; from here on {self.most} groups in a pass")
        self.not_finite = self.not_finite + 1 if "skipped" in made else 0
        if self.not_finite and self.run:
            folder = self.run.folder / f"not-finite-{step + 1}-{self.processes.rank}"
            save(trajectories, folder)
            tqdm.write(f"step {step + 1}: an update that is not finite was left out; its rollouts are in {folder}")
        if self.not_finite >= self.settings.max_skipped:
            raise R3labError(
                f"{self.not_finite} updates in a row were not finite (step {step + 1}); the policy is as the last "
                "finite one left it. Lower --learning-rate"
            )
        return made

    def row(self, step: int, groups: dict[int, list[Trajectory]], redrawn: int, *measured: Any) -> dict[str, Any]:
        """What a step is logged with, of all processes: what `step_metrics` makes of `measured`, rewards and on."""
        own = [(n, [facts(t) for t in group]) for n, group in groups.items()]
        every = sorted((one for part in self.processes.gather(own) for one in part), key=itemgetter(0))
        row = step_metrics([f for _, found in every for f in found], *measured)
        if self.settings.cooldown:
            row["learning_rate"] = self.settings.rate(step)
        if self.settings.redraws:
            row["redrawn"] = redrawn
        return {"step": step + 1, **row}


def step_metrics(
    found: Sequence[dict[str, Any]], rewards: torch.Tensor, updates: list[dict], rolling: float, updating: float
) -> dict[str, Any]:
    """What one step is logged with: reward and its parts, groups without a signal, looks of who was free, ratios, time.

    Parameters
    ----------
    found : `facts` of the step's trajectories
    rewards : (N, G)
    updates : metrics of each update
    rolling, updating : seconds
    """
    tokens, free = sum(f["tokens"] for f in found), [f for f in found if not f.get("forced")]
    left_out = sum("skipped" in u for u in updates)
    row = {
        "reward": float(rewards.mean()),
        "reward_std": float(rewards.std(dim=1).mean()),
        **{f"reward/{name}": sum(f["rewards"][name] for f in found) / len(found) for name in found[0]["rewards"]},
        "zero_variance": float((rewards.amax(1) == rewards.amin(1)).double().mean()),
        "entropy": sum(f["entropy"] for f in found) / tokens,
        "length": tokens / len(found),
        **{k: v for k, v in summary_of(free).items() if k != "n"},
        **({"skipped": left_out} if left_out else {}),
        **joined([(1, u) for u in updates if "skipped" not in u], sums=()),
        **{"seconds_rollout": rolling, "seconds_update": updating},
    }
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}
