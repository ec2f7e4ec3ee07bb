"""A run that is killed, interrupted or damaged goes on bit for bit; one on LoRA matrices keeps them alone."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from r3lab.cli import call
from r3lab.core.errors import R3labError
from r3lab.core.files import first_interrupt
from r3lab.models.adapters import CONFIG, WEIGHTS, adapter_parameters, add_lora, without_adapter
from r3lab.models.policy import Policy, save_policy
from r3lab.rollout.loop import rollout
from r3lab.train.log import read_log, trackers
from r3lab.train.river import load_river
from r3lab.train.run import Progress, Run, how_to_resume, opened
from r3lab.train.settings import RgrpoSettings, UpdateSettings
from r3lab.train.update import update
from r3lab.trajectory import load
from r3lab.vlir.sample import write_vlir
from r3lab.vlir.worlds import get_world

SMALL = ["--prompts", "2", "--group", "2", "--max-new-tokens", "24", "--save-every", "2", "--steps", "8"]
KILLED = """
import os, random, signal, sys, time
import torch
torch.set_num_threads(1)  # no thread is running when the process forks
from r3lab.cli import call
chance, kills, arguments = random.Random(0), 0, sys.argv[1:]
for attempt in range(200):
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(call("train rgrpo", arguments + ["--resume"]))
    if kills < 5:
        time.sleep(chance.uniform(0.1, 1.2))
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    kills += os.WIFSIGNALED(status)
    if os.WIFEXITED(status):
        print(kills)
        sys.exit(os.WEXITSTATUS(status))
"""


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of a checkpoint folder."""
    return Policy.load(folder).model.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return set(a) == set(b) and all(torch.equal(a[k], b[k]) for k in a)


def untimed(log: Path) -> list[dict]:
    """Rows of a log without what differs from run to run."""
    return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in read_log(log)[1:]]


@pytest.fixture(scope="module")
def whole(taught_folder, tmp_path_factory) -> Path:
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert call("train rgrpo", ["--model", str(taught_folder), "--out", str(out), *SMALL]) == 0
    finally:
        torch.set_num_threads(threads)
    return out


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_again_and_again_it_ends_as_if_nothing_had_happened(whole, taught_folder, tmp_path):
    """SIGKILL at random moments, `--resume` after each: the same weights and the same log."""
    command = [sys.executable, "-c", KILLED, "--model", str(taught_folder), "--out", str(tmp_path), *SMALL]
    run = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 2  # it may be done before it was killed five times
    assert same(weights(whole / "policy"), weights(tmp_path / "policy"))
    assert untimed(whole / "log.jsonl") == untimed(tmp_path / "log.jsonl")
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_two_runs_do_not_write_into_one_folder(tmp_path):
    """From the first moment, not only while a checkpoint is saved; the process is named, and the folder free again."""
    settings, lock = RgrpoSettings(out=str(tmp_path / "out")), tmp_path / "out" / ".log.jsonl.lock"
    lock.parent.mkdir()
    lock.write_text("1")
    with pytest.raises(R3labError, match="process 1 is writing to .*out/log.jsonl'; wait for it"), opened(settings, 2):
        pass
    lock.write_text("999999999")  # of a process that was killed
    with opened(settings, 2):
        assert lock.read_text() == str(os.getpid()) and (tmp_path / "out" / "log.jsonl").exists()
    assert not lock.exists()
    (tmp_path / "file").touch()
    with pytest.raises(R3labError, match="Cannot write"), opened(RgrpoSettings(out=str(tmp_path / "file" / "x")), 2):
        pass


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(taught_folder, tmp_path, capsys, monkeypatch):
    """Code 130, a checkpoint of the step in progress; the run goes on with the same numbers."""
    import r3lab.train.rgrpo as rgrpo

    arguments = ["--model", str(taught_folder), "--out", str(tmp_path), *SMALL[:-1], "5"]
    monkeypatch.setattr(sys, "argv", ["r3lab", "train", "rgrpo", *arguments])
    ordinary, calls = rgrpo.draw, []

    def pressed(*given):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return ordinary(*given)

    with monkeypatch.context() as patch:
        patch.setattr(rgrpo, "draw", pressed)
        assert call("train rgrpo", arguments) == 130
    said = capsys.readouterr()
    assert said.out.strip().endswith("--resume") and "step is done" in said.err
    newest = Run(tmp_path, RgrpoSettings(model=str(taught_folder)), 2).checkpoints[0]
    assert newest.name == "step-000003"
    with pytest.raises(R3labError, match="--resume"):
        call("train rgrpo", arguments)
    assert call("train rgrpo", [*arguments, "--resume"]) == 0
    assert [row["step"] for row in read_log(tmp_path / "log.jsonl")[1:]] == list(range(1, 6))


def test_a_cold_start_that_was_killed_goes_on_bit_for_bit(taught_folder, tmp_path, monkeypatch):
    """Killed in its fourth step, of which two are kept; without --resume, or of another length, it is refused."""
    import r3lab.train.sft as sft

    world = get_world("badges")
    write_vlir(tmp_path / "data", [(s, world.rationale(s)) for s in (world.sample("train", i) for i in range(5))])
    given = ["--model", str(taught_folder), "--data", str(tmp_path / "data"), "--batch", "2", "--save-every", "2"]
    assert call("train sft", [*given, "--steps", "5", "--out", str(tmp_path / "whole")]) == 0
    ordinary, done = sft.descend, []

    def killed(*given):
        done.append(1)
        if len(done) == 4:
            raise SystemError("killed")
        return ordinary(*given)

    given += ["--out", str(tmp_path / "killed")]
    with monkeypatch.context() as patch, pytest.raises(SystemError):
        patch.setattr(sft, "descend", killed)
        call("train sft", [*given, "--steps", "5"])
    for refused, said in ((["--steps", "5"], "give --resume"), (["--steps", "6", "--resume"], "made with steps = 5")):
        with pytest.raises(R3labError, match=said):
            call("train sft", [*given, *refused])
    assert call("train sft", [*given, "--steps", "5", "--resume"]) == 0
    assert same(weights(tmp_path / "whole" / "policy"), weights(tmp_path / "killed" / "policy"))
    assert untimed(tmp_path / "whole" / "log.jsonl") == untimed(tmp_path / "killed" / "log.jsonl")


def test_a_second_ctrl_c_interrupts_at_once():
    """The first is noted, the second raises; afterwards the signal is as it was."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), first_interrupt() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture()
def two(whole, tmp_path) -> Path:
    """A copy of the run's folder."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def settings_of(folder: Path, **changes) -> RgrpoSettings:
    """Those of a run, with changes."""
    return RgrpoSettings(**{**read_log(folder / "log.jsonl")[0]["settings"], **changes})


def test_a_damaged_checkpoint_is_passed_over(two):
    """One bit of the newest: the one before is taken, and that is said; with none whole it is an error."""
    run = Run(two, settings_of(two))
    first, second = run.checkpoints[:2]
    assert run.newest()[0] == first and not run.said
    data = bytearray((first / "optimiser.safetensors").read_bytes())
    data[-1] ^= 1
    (first / "optimiser.safetensors").write_bytes(data)
    folder, progress = run.newest()
    assert folder == second and progress.step == int(second.name[5:])
    assert "optimiser.safetensors is not what was written" in run.said[0]
    for checkpoint in run.checkpoints[1:]:
        (checkpoint / "model.safetensors").unlink()
    with pytest.raises(R3labError, match="no checkpoint"):
        run.newest()


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda state: state["progress"].update(score=1.5), "'score'"),  # of an older version
        (lambda state: state["progress"].update(step="9"), "progress: step"),
        (lambda state: state.update(files=["model.safetensors"]), "files"),
        (lambda state: state.pop("settings"), "settings"),
    ],
)
def test_a_state_of_another_make_is_told_in_a_line(two, edit, said):
    run = Run(two, settings_of(two))
    for folder in run.checkpoints:
        state = json.loads((folder / "state.json").read_text())
        edit(state)
        (folder / "state.json").write_text(json.dumps(state))
    with pytest.raises(R3labError, match=f"no checkpoint in .* is whole .*state.json cannot be read.*{said}"):
        run.newest()


def test_other_settings_are_refused_by_name(two):
    """What the numbers depend on must be the same; how long, where and how often to save may change."""
    with pytest.raises(R3labError, match="learning_rate = 0.00015, now it is 0.001"):
        Run(two, settings_of(two, learning_rate=1e-3)).newest()
    assert Run(two, settings_of(two, steps=99, save_every=7, keep=5)).newest() is not None


def test_the_newest_stay_and_a_disk_that_refuses_leaves_them(policy, tmp_path, monkeypatch):
    """Of three the last two; a full disk while the fourth is saved: a clear error, and no half checkpoint."""
    import r3lab.train.run as module

    run = Run(tmp_path, RgrpoSettings(), keep=2)
    optimiser = torch.optim.AdamW(policy.model.parameters(), lr=1e-3)
    for step in (10, 20, 30):
        run.save(Progress(step, step), policy, optimiser)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(R3labError, match="No space left"):
        run.save(Progress(40, 40), policy, optimiser)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-000020", "step-000030"]
    assert run.newest()[1].step == 30


def test_the_command_that_goes_on():
    """The same words, `--resume` once."""
    assert how_to_resume(["x", "train", "rgrpo", "--steps", "9"]) == "r3lab train rgrpo --steps 9 --resume"
    assert how_to_resume(["x", "train", "rgrpo", "--resume"]) == "r3lab train rgrpo --resume"


def test_rollouts_are_kept_to_look_at(taught_folder, tmp_path):
    """Every second step a group, scored, with its images; and tensorboard has the metrics of the log."""
    out = tmp_path / "run"
    more = ["--show-every", "2", "--trackers", "tensorboard"]
    assert call("train rgrpo", ["--model", str(taught_folder), "--out", str(out), *SMALL[:-1], "4", *more]) == 0
    assert sorted(p.name for p in (out / "rollouts").iterdir()) == ["step-000002", "step-000004"]
    group = load(out / "rollouts" / "step-000004")
    assert len({t.sample_id for t in group}) == 1
    assert len(group) == 2
    assert all(t.rewards and t.images for t in group)
    river = load_river(out / "river")  # the same held-out samples, before training and at each of these steps
    assert river.steps == (0, 2, 4) and len(river.subjects) == 6 == len(river.images)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next((out / "trackers").rglob("events*")).parent)).Reload()
    rows = read_log(out / "log.jsonl")[1:]
    assert [e.value for e in events.Scalars("reward")] == pytest.approx([row["reward"] for row in rows])
    assert [e.step for e in events.Scalars("reward")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "said"),
    [("tensorbord", "Did you mean 'tensorboard'"), ("comet_ml", "not installed: pip install comet_ml")],
)
def test_a_tracker_that_is_not_there(name, said, tmp_path):
    """Unknown or not installed: said before anything is trained."""
    with pytest.raises(R3labError, match=said), trackers(name, tmp_path, RgrpoSettings()):
        raise AssertionError("opened")
    assert not list(tmp_path.iterdir())


LORA = ["--prompts", "3", "--group", "3", "--max-new-tokens", "70", "--save-every", "2", "--lora-rank", "4"]
LORA += ["--kl-weight", "0.1", "--learning-rate", "0.003"]


@pytest.fixture(scope="module")
def trained(taught_folder, tmp_path_factory):
    """Folder of a run of four steps on LoRA matrices."""
    out = tmp_path_factory.mktemp("lora")
    assert call("train rgrpo", ["--model", str(taught_folder), "--out", str(out), "--steps", "4", *LORA]) == 0
    return out


@torch.no_grad()
def answers(policy: Policy, samples) -> list[list[float]]:
    """Log-probabilities of sampled text, as a fingerprint of a policy."""
    return [[p for p in t.logprobs if p is not None] for t in rollout(policy, samples[:2], seed=1, max_new_tokens=20)]


def test_at_first_nothing_changes_and_only_matrices_are_trained(family_policy, samples):
    """In every family: the policy answers as before, and what is trained are the matrices of its text model."""
    policy = copy.deepcopy(family_policy)
    before = answers(policy, samples)
    add_lora(policy, rank=2)
    assert answers(policy, samples) == [pytest.approx(row, abs=1e-5) for row in before]
    matrices = adapter_parameters(policy)
    layers = policy.model.config.get_text_config().num_hidden_layers
    assert len(matrices) == layers * 7 * 2
    assert {id(p) for p in policy.text_parameters()} == {id(p) for p in matrices.values()}
    with pytest.raises(R3labError, match="loaded from a folder"):
        add_lora(Policy(policy.model, policy.tokenizer, policy.processor), rank=2)


def test_only_the_matrices_are_kept_and_come_back(trained, taught_folder, samples, tmp_path):
    """Checkpoints hold the adapter alone; loaded by path, the policy is the trained one; without it, the base."""
    folder = trained / "policy"
    assert {f.name for f in folder.iterdir()} - {"README.md"} == {CONFIG, WEIGHTS}
    assert all(".lora_" in name for name in load_file(folder / WEIGHTS))
    policy, base = Policy.load(folder), Policy.load(taught_folder)
    assert answers(policy, samples) != answers(base, samples)
    with without_adapter(policy):
        assert answers(policy, samples) == [pytest.approx(row, abs=1e-6) for row in answers(base, samples)]
    again = Policy.load(save_policy(policy, tmp_path / "again"))
    assert answers(policy, samples) == answers(again, samples)


def test_the_reference_of_the_kl_term_is_the_base(taught_folder, samples):
    """At first the distance is zero; once the matrices have moved it is not."""
    policy, store = Policy.load(taught_folder), {}
    add_lora(policy, rank=2)
    found = rollout(policy, samples[:1], group=2, seed=5, max_new_tokens=20, features=store)
    found[0].advantage, found[1].advantage = 1.0, 0.5
    optimiser = torch.optim.SGD(policy.text_parameters(), lr=1.0)
    settings = UpdateSettings(kl_weight=0.1)
    first, second = (update(policy, found, store, optimiser, settings, policy) for _ in range(2))
    assert first["kl"] == pytest.approx(0, abs=1e-9) and second["kl"] > 1e-6
    assert all(p.requires_grad for p in adapter_parameters(policy).values())


def test_peft_itself_loads_it(trained, taught_folder, samples):
    """`PeftModel.from_pretrained` gives the same hidden states."""
    peft = pytest.importorskip("peft")
    policy, base = Policy.load(trained / "policy"), Policy.load(taught_folder)
    theirs = peft.PeftModel.from_pretrained(base.model, str(trained / "policy")).eval()
    ids = torch.tensor([policy.ids("Which digit is on the red circle?")])
    with torch.no_grad():
        torch.testing.assert_close(policy.model(input_ids=ids).logits, theirs(input_ids=ids).logits)


def test_a_run_goes_on_bit_for_bit(trained, taught_folder, tmp_path):
    """Two steps, then two more with --resume."""
    arguments = ["--model", str(taught_folder), "--out", str(tmp_path), *LORA]
    assert call("train rgrpo", [*arguments, "--steps", "2"]) == 0
    assert call("train rgrpo", [*arguments, "--steps", "4", "--resume"]) == 0
    a, b = (load_file(folder / "policy" / WEIGHTS) for folder in (trained, tmp_path))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_an_adapter_without_its_checkpoint_says_what_is_missing(trained, tmp_path):
    """The base was moved; or the file is cut."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    for name in (CONFIG, WEIGHTS):
        (folder / name).write_bytes((trained / "policy" / name).read_bytes())
    (folder / WEIGHTS).write_bytes(b"12345678")
    with pytest.raises(R3labError, match="copy the file again"):
        Policy.load(folder)
    config = json.loads((folder / CONFIG).read_text()) | {"base_model_name_or_path": str(tmp_path / "elsewhere")}
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(R3labError, match="which is not there"):
        Policy.load(folder)
