"""The plain path: checkpoints of families that are no rows of the table, from disk, exact, and with all that asks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from seen import needs_torchvision
from transformers import AutoConfig

from r3lab.cli import main
from r3lab.core.errors import R3labError
from r3lab.core.geometry import Frame
from r3lab.explain.explain import explain
from r3lab.explain.trials import Settings
from r3lab.models import plain as loading
from r3lab.models.families import FAMILIES, PLAIN, why_plain
from r3lab.models.plain import PlainPolicy
from r3lab.models.policy import Policy, check_template, save_policy
from r3lab.models.tiny import PLAIN_SIZES, miniature
from r3lab.recipes.lessons import vocabulary
from r3lab.rollout import plain
from r3lab.rollout.loop import rollout
from r3lab.rollout.plain import logits_of
from r3lab.rollout.resume import resume
from r3lab.train.sft import encode_batch
from r3lab.trajectory import Kind, Trajectory, load, save

KINDS = [pytest.param(kind, marks=needs_torchvision(kind)) for kind in PLAIN_SIZES]
TEXT = 'It is small. {"bbox_2d": [100, 200, 600, 700]} Now {"bbox_2d": [9, 9, 3, 3]} I see. <answer>3</answer>'
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint of each family of the plain path, saved to disk."""
    return save_policy(miniature(request.param, vocabulary()), tmp_path_factory.mktemp("plain") / request.param)


@pytest.fixture(scope="module")
def policy(folder: Path) -> Policy:
    return Policy.load(folder, device="cpu")


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one of them."""
    return save_policy(miniature("gemma3", vocabulary()), tmp_path_factory.mktemp("plain") / "gemma")


def says(monkeypatch: pytest.MonkeyPatch, policy: Policy, text: str = TEXT) -> None:
    """Make the policy write a text, token by token, each with the log-probability that it gives it."""

    ids, wholly = iter([*policy.ids(text), policy.tokenizer.eos_token_id]), plain.finish

    def draw(logits: torch.Tensor, *given: Any) -> list[list[Any]]:
        token = next(ids)
        return [[token], [float(logits.log_softmax(-1)[0, token])], [1.0]]

    def finish(own: Policy, state: Any, *given: Any) -> Trajectory:
        nonlocal ids
        ids = iter([*policy.ids(text), policy.tokenizer.eos_token_id][state.trajectory.kinds.count(Kind.SAMPLED) :])
        return wholly(own, state, *given)

    monkeypatch.setattr(plain, "draw", draw)
    monkeypatch.setattr(plain, "finish", finish)


def worst(policy: Policy, t: Trajectory) -> float:
    """How far a record's log-probabilities are from those of one pass over the whole of it."""
    sampled = [i for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED]
    fresh = logits_of(policy, t, [i - 1 for i in sampled]).log_softmax(-1)
    return max(abs(float(row[t.ids[i]]) - t.logprobs[i]) for row, i in zip(fresh, sampled, strict=True))


def test_every_family_of_the_plain_path_that_is_named_has_a_tiny_checkpoint() -> None:
    assert set(PLAIN_SIZES) == set(PLAIN) - {"qwen3_5_moe"} and not set(PLAIN) & set(FAMILIES)


def test_a_record_is_what_one_pass_over_it_gives(
    policy: Policy, samples: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the cache, behind crops and messages, greedy and sampled: 1e-5; and it lives on disk like any."""
    assert isinstance(policy, PlainPolicy) and policy.cached
    free = rollout(policy, samples[:2], 2, temperature=0.7, seed=3, max_new_tokens=12, forced=("", "look"))
    assert [t.ids for t in free] != [t.ids for t in rollout(policy, samples[:2], 2, seed=4, max_new_tokens=12)]
    assert all(0 <= e < 7 for t in free for e in t.entropies if e is not None)
    assert not {i for t in free for i, k in zip(t.ids, t.kinds, strict=True) if k == Kind.SAMPLED} & set(
        policy.forbidden
    )
    says(monkeypatch, policy)
    [t] = rollout(policy, samples[:1], temperature=0)
    assert (t.answer, t.finish, t.response_text) == ("3", "answered", TEXT)
    assert [look.valid for look in t.looks] == [True, False] and "[invalid box: x2 <= x1]" in t.text
    assert t.frame is policy.frame and worst(policy, t) < 1e-5
    crop = t.looks[0].crop_span
    before = [t.ids[i] for i in range(t.looks[0].span[1], crop[0])]
    after = t.ids[crop[1] :]
    block = policy.block(t.images[t.looks[0].crop.hash])
    assert t.ids[slice(*crop)] == block.inside and before == block.before
    assert after[: len(block.after)] == block.after and policy.image_id in block.inside
    t.check()
    assert load(save(t, tmp_path / "record")) == t
    monkeypatch.undo()
    assert max(worst(policy, one) for one in rollout(policy, samples[:2], 1, seed=3, max_new_tokens=12)) < 1e-5


def test_a_prompt_is_what_the_familys_processor_writes(policy: Policy, samples: list) -> None:
    question = "Which digit?"
    turn = {
        "role": "user",
        "content": [{"type": "image", "image": samples[0].image}, {"type": "text", "text": question}],
    }
    told = {"tokenize": True, "return_dict": True, "add_generation_prompt": True}
    template = policy.tokenizer.chat_template
    wanted = policy.reader.apply_chat_template([[turn]], chat_template=template, **told)["input_ids"][0]
    assert policy.prompt(question, samples[0].image) == list(wanted)
    check_template(policy)


def test_records_go_on_from_where_they_stand(policy: Policy, samples: list, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off after a word, in a box, behind a crop: the same end."""
    says(monkeypatch, policy)
    [t] = rollout(policy, samples[:1], temperature=0)
    sampled = [i for i, kind in enumerate(t.kinds) if kind == Kind.SAMPLED]
    end = t.looks[0].crop_span[1] + len(policy.block(t.images[t.looks[0].crop.hash]).after)
    for cut in (sampled[2], sampled[8], end, sampled[-3]):
        [again] = resume(policy, [t.until(cut)])
        assert (again.ids, again.answer, [look.span for look in again.looks]) == (t.ids, "3", [k.span for k in t.looks])
        assert again.logprobs[cut:] == pytest.approx(
            [p if p is None else pytest.approx(p, abs=1e-5) for p in t.logprobs[cut:]]
        )


def test_rows_that_go_on_together_are_drawn_apart(policy: Policy, samples: list) -> None:
    [t] = rollout(policy, samples[:1], temperature=1.0, max_new_tokens=1)
    begun, told = t.until(t.prompt_length), {"temperature": 1.0, "seed": 3, "max_new_tokens": 6}
    one, other = resume(policy, [begun, begun], **told)
    assert one.ids != other.ids and one.ids == resume(policy, [begun], **told)[0].ids


def test_a_cache_that_is_not_exact_is_not_used(gemma: Path, samples: list, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Policy.load(gemma, device="cpu")
    more = PlainPolicy.more
    for wrong in (lambda self, token, cache: more(self, 5, cache), lambda self, token, cache: [][0]):
        monkeypatch.setattr(PlainPolicy, "more", wrong)
        slow = Policy.load(gemma, device="cpu")
        assert right.cached and not slow.cached
        monkeypatch.undo()
        a, b = (rollout(one, samples[:1], temperature=0, max_new_tokens=8)[0] for one in (right, slow))
        assert a.ids == b.ids and worst(slow, b) < 1e-5


def test_ask_report_explain_and_eval_run_on_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = Path(__file__).parent.parent / "assets" / "pictures" / "badges.png"
    given = ["ask", str(picture), "Which digit?", "--model", str(folder), "--out", str(tmp_path / "asked")]
    assert main(given) == 0 and "answer: " in capsys.readouterr().out
    assert main(["report", str(tmp_path / "asked"), "-o", str(tmp_path / "report.html")]) == 0
    assert main(["explain", str(tmp_path / "asked"), "--model", str(folder), "--out", str(tmp_path / "why")]) == 0
    words = f"eval --world badges --arm interleaved --arm direct --limit 2 --max-new-tokens 4 --model {folder}"
    assert main([*words.split(), "--out", str(tmp_path / "eval")]) == 0
    table = (tmp_path / "eval" / "table.md").read_text()
    assert "interleaved - direct" in table


def test_a_look_is_explained_by_replay(gemma: Path, samples: list, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other crops, overviews and questions in their turn; no attention is read, and none is told."""
    policy = Policy.load(gemma, device="cpu")
    says(monkeypatch, policy)
    [t] = rollout(policy, samples[:1], temperature=0)
    found = explain(policy, t, settings=Settings(*[1] * 8))
    assert [look.refused for look in found.looks] == ["", "x2 <= x1"] and found.looks[0].drawn is None
    assert found.evidence.crops[0].tried == 1 and found.evidence.crops[0].changed == 0 and found.gap < 1e-4
    assert not found.looks[0].worth and not found.maps and "changed the answer in 0 of 1" in found.looks[0].sentence
    other = miniature("gemma3", vocabulary(), seed=5)
    with pytest.raises(R3labError, match="other weights"):
        explain(other, t)


def test_what_it_cannot_do_is_said(gemma: Path, samples: list) -> None:
    policy = Policy.load(gemma, device="cpu")
    for wanted in (lambda: encode_batch(policy, []), lambda: policy.trained(True), lambda: policy.text):
        with pytest.raises(R3labError, match="plain path .image tokens see each other both ways"):
            wanted()


def test_what_falls_back_says_why_and_what_runs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`doctor` and `ask` name path and reason; training refuses with both, before it has made a folder."""
    kind, picture = folder.name, Path(__file__).parent.parent / "assets" / "pictures" / "badges.png"
    why = PLAIN[kind][1]
    assert main(["doctor", "--model", str(folder)]) == 0
    assert f"{kind}: plain, one row at a time, for {why}" in capsys.readouterr().out
    assert main(["ask", str(picture), "Which digit?", "--model", str(folder), "--out", str(tmp_path / "asked")]) == 0
    assert f"plain path, exact and slow, one row at a time: {why}" in capsys.readouterr().out
    small = ["--steps", "1", "--prompts", "2", "--group", "2", "--out", str(tmp_path / "run")]
    for more in ([], ["--lora-rank", "2"]):
        assert main(["train", "rgrpo", "--model", str(folder), *small, *more]) == 2
        told = capsys.readouterr().err
        assert f"plain path ({why}): it can be asked, measured and explained" in told
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", PLAIN_SIZES)
def test_the_doctor_needs_no_weights_to_name_the_path(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of a family whose processor needs a package that is not here."""
    sizes = PLAIN_SIZES[kind]
    plain = {name: value for name, value in sizes.more.items() if not isinstance(value, str)}
    text = {"vocab_size": 64, **sizes.text}
    AutoConfig.for_model(kind, text_config=text, vision_config=sizes.vision, **plain).save_pretrained(tmp_path)
    assert main(["doctor", "--model", str(tmp_path)]) == 0
    assert f"{kind}: plain, one row at a time, for {PLAIN[kind][1]}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ({"model_type": "llama"}, "its text model is 'llama', and the table has it with qwen2 and qwen3"),
        ({"model_type": "gpt_oss"}, "see a window of the tokens before them"),
        ({"model_type": "qwen2", "layer_types": ["sliding_attention"] * 32}, "see a window"),
        ({"model_type": "qwen2"}, ""),
    ],
)
def test_a_row_is_left_where_its_text_model_is_another(text: dict[str, Any], why: str) -> None:
    """An InternVL on a text model that the fast path was not held to, or one with windows, falls back by itself."""
    found = why_plain(AutoConfig.for_model("internvl", text_config=text))
    assert why in found and bool(why) == bool(found)


def test_a_package_that_is_missing_is_named(
    gemma: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where an older transformers cannot import the processor, and says why only in the cause; nothing is copied again
    because of it."""

    def unable(*_: object, **__: object) -> None:
        cause = ModuleNotFoundError("No module named 'torchvision'")
        raise ModuleNotFoundError("Could not import module 'Gemma3Processor'. Are its requirements there?") from cause

    assert main(["doctor", "--model", str(gemma)]) == 0 and "torchvision" not in capsys.readouterr().out
    for one in (loading.AutoProcessor, loading.AutoImageProcessor):
        monkeypatch.setattr(one, "from_pretrained", unable)
    with pytest.raises(R3labError, match="needs torchvision: pip install torchvision$"):
        Policy.load(gemma)
    assert main(["doctor", "--model", str(gemma)]) == 1 and "Missing: torchvision." in capsys.readouterr().out


def test_the_doctor_tells_the_path_the_memory_and_the_frame(
    gemma: Path, taught_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--model", str(gemma)]) == 0
    told = capsys.readouterr().out
    assert "gemma3: plain, one row at a time, for image tokens see each other both ways" in told
    assert "relative-1000-yx, of its family" in told and "GB of weights in" in told
    assert main(["doctor", "--model", str(taught_folder)]) == 0
    assert "qwen3_vl: fast" in capsys.readouterr().out
    assert main(["doctor", "--model", str(tmp_path / "none")]) == 2
    other = shutil.copytree(gemma, tmp_path / "other")
    own = json.loads((other / "processor_config.json").read_text()) | {"r3lab": {"frame": "overview"}}
    (other / "processor_config.json").write_text(json.dumps(own))
    capsys.readouterr()
    assert main(["doctor", "--model", str(other)]) == 0 and "overview, set in its files" in capsys.readouterr().out
    assert Policy.load(other, device="cpu").frame is Frame.OVERVIEW


@pytest.mark.parametrize(
    ("file", "path", "value", "words"),
    [
        ("config.json", ("text_config", "num_hidden_layers"), 10**6, "from 1 to 512"),
        ("config.json", ("text_config", "vocab_size"), 10**6, "asks for .* numbers, they have"),
        ("config.json", ("text_config", "hidden_size"), 4096, "asks for .* numbers, they have"),
        ("config.json", ("vision_config", "num_hidden_layers"), 300, "asks for .* numbers, they have"),
        ("config.json", ("model_type",), "bert", "'bert' is not supported"),
        ("config.json", ("image_token_index",), 10**8, "makes 34 tokens, or none of the image"),
        ("preprocessor_config.json", ("size", "height"), 10**6, "height is 1000000; images may have sides of 1 to"),
        ("preprocessor_config.json", ("image_processor_type",), "evil", "cannot use"),
        ("preprocessor_config.json", ("auto_map",), {"AutoImageProcessor": "evil.Words"}, ""),
        ("processor_config.json", ("r3lab",), {"frame": "inches"}, "frame must be one of source"),
        ("processor_config.json", ("auto_map",), {"AutoProcessor": "evil.Words"}, ""),
        ("tokenizer_config.json", ("chat_template",), "{{ messages[0].content[-1].text }}", "does not place one image"),
    ],
)
def test_a_checkpoint_that_lies_is_refused_and_its_code_is_not_run(
    file: str, path: tuple[str, ...], value: Any, words: str, gemma: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(gemma, tmp_path / "lies")
    if path == ("chat_template",):
        (folder / "chat_template.jinja").unlink()
    whole = inner = json.loads((folder / file).read_text())
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (folder / file).write_text(json.dumps(whole))
    (folder / "evil.py").write_text("open('ran', 'w').write('x')\nclass Words: pass\n")
    if words:
        with pytest.raises(R3labError, match=words) as error:
            Policy.load(folder, device="cpu")
        assert len(str(error.value)) < 500 and "\n" not in str(error.value)
    else:
        assert isinstance(Policy.load(folder, device="cpu"), PlainPolicy)
    assert not (tmp_path / "ran").exists()
