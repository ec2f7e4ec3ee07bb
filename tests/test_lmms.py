"""r3lab as a model of lmms-eval: on requests of that shape alone, and through `simple_evaluate` where it is there."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from r3lab.core.arms import get_arm
from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir
from r3lab.evaluate import lmms as module
from r3lab.evaluate.lmms import GenerationSettings, R3Lab, one_sheet
from r3lab.models.policy import Policy
from r3lab.rollout.loop import rollout
from r3lab.trajectory import Trajectory
from r3lab.vlir.worlds import get_world

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = assets_dir() / "tiny" / "rgrpo"
SAMPLES = [s for s in (get_world("badges").sample("test", i) for i in range(20)) if s.needs_look][:4]
HARNESS = {"max_new_tokens": 16, "temperature": 0, "do_sample": False, "until": ["\n\n"]}  # what many tasks ask for


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.load(SHIPPED)


@pytest.fixture(scope="module")
def own(policy: Policy) -> list[Trajectory]:
    """What the loop makes of the samples, without any of lmms-eval's shapes in between."""
    return rollout(policy, SAMPLES, temperature=0)


def model(policy: Policy, **arguments: Any) -> R3Lab:
    """A model whose task "badges" holds the samples, and some odd documents behind them."""
    made = R3Lab(policy, **arguments)
    made.task_dict["badges"] = {"test": [*({"images": [s.image]} for s in SAMPLES), *ODD]}
    return made


ODD: list[dict[str, Any]] = [
    {"images": []},
    {"images": None},
    {"images": ["film.mp4"]},
    {"images": [SAMPLES[0].image], "text": "Which digit <|image_pad|> is it?"},
    {"images": [SAMPLES[0].image], "text": "Which? " * 1000},
    {"images": [SAMPLES[0].image], "text": " "},
    {"images": [Image.new("RGB", (900, 3))]},
    {"images": [Image.new("L", (9000, 9000))] * 3},
]
WHY = [
    *(
        "has none",
        "has none",
        "not 'film.mp4'",
        "control token",
        "7000 characters",
        "is empty",
        "900 x 3",
        "a sheet of",
    ),
]


def images_of(document: dict[str, Any]) -> Any:
    return document["images"]


def request(number: int, text: str | None = None, **wanted: Any) -> SimpleNamespace:
    question = SAMPLES[number].question if number < len(SAMPLES) else "Which digit is it?"
    return SimpleNamespace(args=(text or question, {**HARNESS, **wanted}, images_of, number, "badges", "test"))


# -- what a task asks for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "temperature", "tokens", "until"),
    [
        ({}, 0.0, 512, ()),
        ({"max_new_tokens": 16, "temperature": 0, "top_p": 0.2, "num_beams": 1, "top_k": 9}, 0.0, 512, ()),
        ({"max_new_tokens": 16384}, 0.0, 16384, ()),
        ({"temperature": 0.7, "top_p": 1.0, "until": "\n"}, 0.7, 512, ("\n",)),
        ({"temperature": 0.7, "do_sample": False, "until": ["a", "", "b"]}, 0.0, 512, ("a", "b")),
        ({"do_sample": True, "until": None, "image_aspect_ratio": "original"}, 1.0, 512, ()),
        ({"do_sample": True, "temperature": 0.0}, 0.0, 512, ()),
    ],
)
def test_a_tasks_settings_are_read(wanted: dict, temperature: float, tokens: int, until: tuple) -> None:
    assert GenerationSettings.of(wanted, 512) == GenerationSettings(temperature, tokens, until)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"num_beams": 4}, "num_beams 4 cannot be had.*--gen_kwargs num_beams=1"),
        ({"do_sample": True, "temperature": 1, "top_p": 0.9}, "top_p 0.9 cannot be had.*top_p=1"),
        ({"do_sample": True, "temperature": 1, "top_k": 50}, "top_k 50 cannot be had"),
        ({"do_sample": True, "temperature": -1}, "temperature must be"),
        ({"do_sample": True, "temperature": float("nan")}, "temperature must be"),
        ({"do_sample": True, "temperature": "hot"}, "temperature must be a number from 0, got 'hot'"),
        ({"max_new_tokens": True}, "max_new_tokens must be"),
        ({"max_new_tokens": float("inf")}, "max_new_tokens must be"),
        ({"until": 7}, "until must be text"),
        ({"until": ["a", 7]}, "until must be text"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_answered(policy: Policy, wanted: dict, words: str) -> None:
    with pytest.raises(R3labError, match=f"task badges: {words}"):
        model(policy, strict=False).generate_until([request(4), request(0, **wanted)])


def test_an_answer_ends_where_the_task_says() -> None:
    assert GenerationSettings(until=("\n\n", ".")).ended("No. 7\n\nIt was easy.") == "No"
    assert GenerationSettings(until=("\n\n",)).ended("7") == "7" and GenerationSettings(until=(".",)).ended(None) == ""


# -- answers -----------------------------------------------------------------------------------------------------------


def test_the_content_of_the_answer_comes_back_and_nothing_else(policy: Policy, own: list[Trajectory]) -> None:
    """Through the loop, with its looks, though the task allows fewer tokens than the reasoning has."""
    assert all(t.looks for t in own) and min(sum(t.sampled_mask) for t in own) > HARNESS["max_new_tokens"]
    asked = [request(i, f"<image>\n{s.question}") for i, s in enumerate(SAMPLES)]
    assert model(policy, batch_size=4).generate_until(asked) == [t.answer for t in own]
    right = sum(t.answer == s.answer for t, s in zip(own, SAMPLES, strict=True))
    assert right >= 3, "else the comparison above says little"


def test_the_arguments_of_the_model_reach_the_loop(policy: Policy, own: list[Trajectory]) -> None:
    asked = [request(i) for i in range(len(SAMPLES))]
    assert model(policy, max_new_tokens=16).generate_until(asked) == [""] * 4  # cut off: no answer, and no reasoning
    blind = rollout(policy, SAMPLES, temperature=0, max_looks=0)
    answers = [t.answer or "" for t in blind]
    assert model(policy, max_looks=0).generate_until(asked) == answers != [t.answer for t in own]
    unseen = rollout(policy, SAMPLES, temperature=0, arm=get_arm("full-image-again"))
    answers = [t.answer or "" for t in unseen]
    assert model(policy, arm="full-image-again").generate_until(asked) == answers != [t.answer for t in own]


def test_a_task_ends_the_answer_and_not_the_reasoning(policy: Policy, own: list[Trajectory]) -> None:
    """`The` and a full stop are in every reasoning."""
    asked = [request(i, until=["The", ". "]) for i in range(len(SAMPLES))]
    assert model(policy).generate_until(asked) == [t.answer for t in own]
    assert model(policy).generate_until([request(0, until=[own[0].answer])]) == [""]


def test_samples_depend_on_their_place_and_not_on_their_company(policy: Policy) -> None:
    """A task with repeats sends one request several times: replies differ, and come again with the seed."""
    asked = [request(0, temperature=1.0, do_sample=True)] * 6
    few = {"max_new_tokens": 64}
    together = model(policy, batch_size=6, **few).generate_until(asked)
    split = model(policy, batch_size=2, **few)
    assert together == [*split.generate_until(asked[:3]), *split.generate_until(asked[3:])]
    drawn = Counter(together + model(policy, seed=1, **few).generate_until(asked))
    assert len(drawn) > 1, "every random stream was the same"


def test_requests_of_several_settings_come_back_in_order(policy: Policy, own: list[Trajectory]) -> None:
    asked = [request(i, **({"max_new_tokens": 600} if i % 2 else {})) for i in range(len(SAMPLES))]
    assert model(policy, batch_size=2).generate_until(asked) == [t.answer for t in own]


def test_several_images_are_one_sheet() -> None:
    """Side by side, so that the second is seen."""
    shown = one_sheet([SAMPLES[0].image, SAMPLES[1].image])
    assert shown is not None and shown.size == (512 + 8 + 512, 512) and one_sheet([]) is one_sheet(None) is None
    assert shown.getpixel((512 + 8, 0)) == SAMPLES[1].image.getpixel((0, 0))
    assert one_sheet([SAMPLES[0].image.convert("P")]).mode == "RGB"  # type: ignore[union-attr]


@pytest.mark.parametrize("which", range(len(ODD)))
def test_what_cannot_be_asked_ends_the_run_with_its_place_or_is_told_and_unanswered(
    policy: Policy, own: list[Trajectory], which: int, capsys: pytest.CaptureFixture[str]
) -> None:
    number = len(SAMPLES) + which
    odd = request(number, ODD[which].get("text"))
    with pytest.raises(R3labError, match=rf"task badges, document {number}: .*{WHY[which]}.*strict=False"):
        model(policy).generate_until([odd])
    easy = model(policy, strict=False)
    assert easy.generate_until([odd, request(0)]) == ["", own[0].answer] and easy.refused == 1
    assert f"document {number}: " in capsys.readouterr().err


def test_an_unknown_argument_is_named_and_a_policy_is_wanted(policy: Policy, tmp_path: Path) -> None:
    with pytest.raises(R3labError, match="no argument 'max_look'.*Did you mean 'max_looks'"):
        R3Lab(policy, max_look=3)
    with pytest.raises(R3labError, match="pretrained=FOLDER"):
        R3Lab()
    with pytest.raises(R3labError, match="no checkpoint folder"):
        R3Lab(str(tmp_path / "none"))
    with pytest.raises(R3labError, match="'one-lok'.*Did you mean 'one-look'"):
        R3Lab(policy, arm="one-lok")
    for wrong in ({"batch_size": 0}, {"batch_size": "auto"}, {"max_new_tokens": 0.5}, {"max_looks": -1}):
        with pytest.raises(R3labError, match=f"{next(iter(wrong))} must be a whole number"):
            R3Lab(policy, **wrong)


def test_likelihoods_and_rounds_are_refused_with_the_reason(policy: Policy) -> None:
    asked = SimpleNamespace(args=("Which?", lambda d: " 7", images_of, 0, "seedbench_ppl", "test"))
    with pytest.raises(R3labError, match="'seedbench_ppl'.*reasoning and looks of its own.*generate_until"):
        R3Lab(policy).loglikelihood([asked])
    with pytest.raises(R3labError, match="in one round.*output_type generate_until"):
        R3Lab(policy).generate_until_multi_round([asked])


def test_a_missing_part_of_lmms_eval_is_not_taken_for_its_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("lmms_eval"):
            raise ModuleNotFoundError("No module named 'loguru'", name="loguru")
        return real(name, *args, **kwargs)

    real = __import__
    monkeypatch.setattr("builtins.__import__", broken)
    with pytest.raises(ModuleNotFoundError, match="loguru"):
        importlib.reload(module)
    monkeypatch.undo()
    importlib.reload(module)


# -- through lmms-eval -------------------------------------------------------------------------------------------------

TASKS = {
    "badges.yaml": """
task: badges
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_visual: !function badges.images
doc_to_text: "<image>{{question}}"
doc_to_target: answer
generation_kwargs: {max_new_tokens: 16, temperature: 0, do_sample: false, until: ["\\n\\n"]}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
""",
    "badges_choice.yaml": """
task: badges_choice
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_visual: !function badges.images
doc_to_text: question
doc_to_choice: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
doc_to_target: "{{answer}}"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
""",
    "badges.py": """
from PIL import Image


def images(doc, lmms_eval_specific_kwargs=None):
    return [Image.open(doc["image"])]

""",
    "run.py": """
import json
import sys

from lmms_eval.evaluator import simple_evaluate
from lmms_eval.tasks import TaskManager

folder, policy, *tasks = sys.argv[1:]
manager = TaskManager(include_path=folder, include_defaults=False, model_name="r3lab")
given = {"model": "r3lab", "model_args": f"pretrained={policy}", "batch_size": 4}
found = simple_evaluate(**given, tasks=tasks, task_manager=manager)
kept = {"results": found["results"], "resps": {t: [s["resps"] for s in found["samples"][t]] for t in tasks}}
with open(folder + "/found.json", "w") as out:
    json.dump(kept, out)
""",
}


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with local tasks and their data, and r3lab registered in it as an installation would."""
    if importlib.util.find_spec("lmms_eval") is None:
        pytest.skip("lmms-eval is not installed: pip install -e '.[eval]' brings it")
    folder = tmp_path_factory.mktemp("harness")
    rows = []
    for sample in SAMPLES:
        sample.image.save(folder / f"{sample.id}.png")
        rows.append({"question": sample.question, "answer": sample.answer, "image": str(folder / f"{sample.id}.png")})
    (folder / "data.json").write_text(json.dumps(rows))
    for name, text in TASKS.items():
        (folder / name).write_text(text.replace("DATA", str(folder / "data.json")))
    points = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]["lmms_eval.models"]
    info = folder / "site" / "r3lab-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: r3lab\nVersion: 0\n")
    lines = "\n".join(f"{name} = {target}" for name, target in points.items())
    (info / "entry_points.txt").write_text(f"[lmms_eval.models]\n{lines}\n")
    return folder


def evaluate(folder: Path, *tasks: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, without a network: lmms-eval changes SSL and file locks of the process that it is in."""
    paths = [str(folder / "site"), str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "home")}
    environment = {**os.environ, **offline, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, str(folder / "run.py"), str(folder), str(SHIPPED), *tasks]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)


@pytest.mark.slow
def test_lmms_eval_finds_r3lab_by_name_and_scores_a_local_task(harness: Path, own: list[Trajectory]) -> None:
    """The score is that of the loop's own answers, counted here; what was scored holds no reasoning."""
    ran = evaluate(harness, "badges")
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads((harness / "found.json").read_text())
    right = sum(t.answer == s.answer for t, s in zip(own, SAMPLES, strict=True)) / len(SAMPLES)
    assert found["resps"]["badges"] == [[[t.answer]] for t in own]
    assert found["results"]["badges"]["exact_match,none"] == pytest.approx(right)


@pytest.mark.slow
def test_a_task_that_wants_likelihoods_ends_with_the_reason(harness: Path) -> None:
    ran = evaluate(harness, "badges_choice")
    assert ran.returncode != 0 and "r3lab gives no likelihoods" in ran.stderr


def test_the_registration_is_what_lmms_eval_expects() -> None:
    pytest.importorskip("lmms_eval", reason="pip install -e '.[eval]' brings it")
    from lmms_eval.api.model import lmms
    from lmms_eval.models.registry_v2 import ModelRegistryV2

    registry = ModelRegistryV2()
    registry.register_manifest(importlib.import_module("r3lab.evaluate.lmms").manifest())
    found = registry.get_model_class("r3lab")
    assert issubclass(found, lmms) and not found.__abstractmethods__
