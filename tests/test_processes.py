"""Several processes: the update of two is that of one, whole groups each, everything decided alike."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from r3lab import train
from r3lab.cli import call
from r3lab.core.errors import R3labError
from r3lab.core.settings import from_command_line
from r3lab.models.adapters import add_lora
from r3lab.models.policy import Policy
from r3lab.train.devices import Processes, shard
from r3lab.train.log import read_log
from r3lab.train.settings import RgrpoSettings
from r3lab.train.update import ALONE

pytest.importorskip("accelerate")
SMALL = ["--prompts", "5", "--group", "3", "--max-new-tokens", "70", "--steps", "2", "--save-every", "1"]
CASES = {  # what differs from run to run; the last goes on with a run of one process
    "uneven": ["--objective", "reinforce++-baseline", "--kl-weight", "0.05", "--redraws", "1"],
    "idle": ["--prompts", "1", "--trackers", "tensorboard", "--show-every", "2"],
    "shard": ["--shard", "--resume", "--steps", "4", "--pass-groups", "1"],
}
COMMANDS = (
    "import json, sys; from r3lab.cli import call\nfor given in json.loads(sys.argv[1]): call('train rgrpo', given)"
)


def run(folder: Path, model: Path, *more: str) -> Path:
    """`r3lab train rgrpo` in this process; returns the run's folder."""
    assert call("train rgrpo", ["--model", str(model), "--out", str(folder), *SMALL, *more]) == 0
    return folder


@pytest.fixture(scope="module")
def runs(taught_folder, tmp_path_factory) -> Path:
    """Runs of `CASES`, each by one process and by two (`NAME-1`, `NAME-2`), the latter all in one launch."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("uneven", "idle"):
        run(folder / f"{name}-1", taught_folder, *CASES[name])
    shutil.copytree(run(folder / "shard-1", taught_folder), folder / "shard-2")
    run(folder / "shard-1", taught_folder, "--resume", "--steps", "4")
    script = folder / "commands.py"
    script.write_text(COMMANDS)
    given = [["--model", str(taught_folder), "--out", f"{folder / name}-2", *SMALL, *CASES[name]] for name in CASES]
    # not `accelerate launch`, which starts a single process where there is no GPU
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*launch, json.dumps(given)], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def apart(runs: Path, name: str, start: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """How far each weight of a run's policy has moved, and how far that of two processes is from it."""
    folders = (runs / f"{name}-1" / "policy", runs / f"{name}-2" / "policy", start)
    a, b, c = (torch.cat([p.detach().flatten() for p in Policy.load(f).model.parameters()]) for f in folders)
    return (a - c).abs(), (a - b).abs()


def test_two_processes_make_the_update_of_one(runs, taught_folder):
    """Uneven shares (3 and 2 of 5 groups), means over the whole batch and a reference: the same rewards, metrics and
    weights; then one process goes on."""
    moved, off = apart(runs, "uneven", taught_folder)
    assert moved.max() > 1e-4 and off.mean() < 0.02 * moved.mean()  # AdamW enlarges what rounding leaves
    one, two = (read_log(runs / f"uneven-{count}") for count in (1, 2))
    assert (one[0]["processes"], two[0]["processes"]) == (1, 2)
    for first, second in zip(one[1:], two[1:], strict=True):
        assert set(first) == set(second)
        for key, value in first.items():
            if key == "log_ratio_counts":  # a token at the edge of a bin may fall to either side
                assert sum(second[key]) == sum(value)
            elif not key.startswith("seconds"):
                assert second[key] == (None if value is None else pytest.approx(value, rel=1e-2, abs=1e-3)), key
    assert len(list((runs / "uneven-2" / "checkpoints").iterdir())) == 2
    run(runs / "uneven-2", taught_folder, *CASES["uneven"], "--resume", "--steps", "3")
    assert read_log(runs / "uneven-2")[-1]["step"] == 3


def test_sharded_layers_make_the_same_update(runs, taught_folder):
    """FSDP over two processes, from a checkpoint of one: the weights of one process, optimiser and all; what it saves
    is whole, and one process goes on with it."""
    moved, off = apart(runs, "shard", taught_folder)
    assert off.mean() < 0.02 * moved.mean()
    logs = [read_log(runs / f"shard-{count}")[1:] for count in (1, 2)]
    assert [row["step"] for row in logs[1]] == [1, 2, 3, 4]
    for first, second in zip(*logs, strict=True):
        assert second["grad_norm"] == pytest.approx(first["grad_norm"], rel=1e-2)
    run(runs / "shard-2", taught_folder, "--resume", "--steps", "5")


def test_a_process_without_a_group_waits_for_the_others(runs, taught_folder):
    """One group and two processes: the second has nothing to roll out, and both end with the policy of one."""
    one, two = runs / "idle-1", runs / "idle-2"
    assert apart(runs, "idle", taught_folder)[1].max() < 1e-5
    assert len(list((two / "trackers").rglob("events*"))) == len(list((one / "trackers").rglob("events*"))) > 0
    assert [p.name for p in (two / "rollouts").iterdir()] == ["step-000002"]


def test_what_cannot_be_sharded_is_said(taught_folder):
    """One process, LoRA matrices, fewer groups than processes: one line that says what to do."""
    policy = Policy.load(taught_folder)
    with pytest.raises(R3labError, match="accelerate launch"):
        shard(policy, ALONE)
    add_lora(policy, 2)
    with pytest.raises(R3labError, match="--lora-rank"):
        shard(policy, Processes(0, 2))


@pytest.mark.parametrize(("groups", "minibatches", "count"), [(12, 2, 2), (5, 2, 2), (3, 1, 4), (7, 3, 3)])
def test_all_groups_are_shared_out(groups, minibatches, count):
    """Every group has one process; the minibatches are those of a single process."""
    shares = [Processes(rank, count).share(groups, minibatches) for rank in range(count)]
    whole = ALONE.share(groups, minibatches)
    for number, wanted in enumerate(whole):
        assert sorted(n for share in shares for n in share[number]) == wanted
    assert [n for part in whole for n in part] == list(range(groups))


def test_alone_nothing_is_sent():
    """One process: values come back as they are."""
    weight = torch.nn.Parameter(torch.ones(2))
    ALONE.sum_gradients([weight])
    assert weight.grad is None and ALONE.total(3) == 3 and ALONE.gather({"a": [1]}) == [{"a": [1]}] and ALONE.main


def test_the_page_on_several_devices_is_what_the_launchers_read():
    """Its lines are options that accelerate, torch and our command know; the settings file is one of accelerate's."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser
    from torch.distributed.run import get_args_parser

    page = Path(train.__file__).with_name("README.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if " -m r3lab train rgrpo" in line and not line.startswith("-")]
    assert len(lines) == 3
    for line in lines:
        words = line.split()
        at = words.index("-m", 3)
        own = from_command_line(RgrpoSettings, words[at + 4 :], "r3lab train rgrpo", "")
        assert own.out == "runs/rgrpo"
        if words[0] == "accelerate":
            given = launch_command_parser().parse_args(words[2:])
            assert given.module and given.training_script == "r3lab"
            if given.config_file:
                settings = load_config_from_file(str(Path(train.__file__).parents[2] / given.config_file))
                assert settings.num_processes == 8 and settings.distributed_type.value == "MULTI_GPU"
        else:
            assert get_args_parser().parse_args(words[3:]).nproc_per_node == "2"
