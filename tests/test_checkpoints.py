"""A checkpoint by path or name: found or refused with a reason, foreseen from its configuration, of every family."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FAMILIES as TAUGHT
from conftest import taught

from r3lab.cli.ask import Asked
from r3lab.core.errors import R3labError
from r3lab.core.geometry import Frame
from r3lab.core.images import open_image
from r3lab.models import checkpoint as hub
from r3lab.models.checkpoint import FILES, KNOWN, checkpoint_folder, config_of, known_config, sizes_of
from r3lab.models.families import FAMILIES, TILE_MARKS, family_of
from r3lab.models.policy import Policy, save_policy
from r3lab.models.tiny import miniature
from r3lab.recipes.lessons import vocabulary
from r3lab.rollout.loop import rollout
from r3lab.rollout.sequence import prompt_ids
from r3lab.train.memory import footprint_of
from r3lab.train.settings import RgrpoSettings
from r3lab.trajectory import Kind

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", params=FAMILIES)
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random checkpoint of each family, without anything of r3lab's own in it."""
    folder = tmp_path_factory.mktemp("small") / request.param
    return save_policy(miniature(request.param, vocabulary()), folder)


def test_what_is_foreseen_is_what_is_held(small: Path) -> None:
    """Before a weight is read: the bytes, what is trained, and the keys and values of a token."""
    foreseen = sizes_of(config_of(small), torch.float32)
    policy = Policy.load(small, device="cpu")
    held = {id(p): p.nbytes for p in policy.model.parameters()}
    footprint = footprint_of(policy, RgrpoSettings())
    assert foreseen.weights == sum(held.values()) == footprint.weights
    assert foreseen.trained * foreseen.element == footprint.gradients
    assert foreseen.cached == footprint.cached
    assert foreseen.training == footprint.fixed
    assert foreseen.rollout(3, 100) == foreseen.weights + 300 * footprint.cached
    half = sizes_of(config_of(small), torch.bfloat16)
    assert 2 * half.weights == foreseen.weights and 2 * half.cached == foreseen.cached


def test_a_plain_checkpoint_is_told_how_to_write_a_box_and_goes_through_the_loop(small: Path) -> None:
    policy = Policy.load(small, device="cpu")
    assert "r3lab" not in policy.processor and not policy.bare and policy.step == 1
    assert policy.family is FAMILIES[policy.model.config.model_type]
    photo = open_image(ROOT / "assets" / "photos" / "coffee.jpg")
    [t] = rollout(policy, [Asked("a", photo, "What is it?")], temperature=0, max_new_tokens=3)
    assert "What is it?" in t.prompt_text and "bbox_2d" in t.prompt_text
    assert t.kinds.count(Kind.SAMPLED) <= 3 and t.frame is policy.family.frame


def test_the_seed_decides_the_weights() -> None:
    first, again, other = (miniature("smolvlm", vocabulary(), seed) for seed in (0, 0, 1))
    weights = [next(one.model.parameters()) for one in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    with pytest.raises(R3labError, match="llava"):
        miniature("llava", vocabulary())


@pytest.mark.parametrize(("name", "billions"), list(zip(KNOWN, (3.75, 2.13, 2.25), strict=True)))
def test_known_checkpoints_have_the_number_of_weights_that_their_pages_state(name: str, billions: float) -> None:
    sizes = sizes_of(known_config(name), torch.bfloat16)
    assert sizes.parameters / 1e9 == pytest.approx(billions, abs=0.005)
    assert 0.7 < sizes.trained / sizes.parameters < 0.95


def test_an_unknown_name_has_no_shapes() -> None:
    with pytest.raises(R3labError, match="Did you mean 'Qwen/Qwen2.5-VL-3B-Instruct'"):
        known_config("Qwen/Qwen2.5-VL-3B")


@pytest.mark.parametrize(
    "name", ["", "nowhere", "../../no/such", "a/b/c", "https://hub/a/b", "a/..", "a\x1b[31m/b", "/no/such"]
)
def test_neither_a_folder_nor_a_name_is_refused_without_a_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "snapshot_download", lambda *a, **k: pytest.fail("asked the hub"))
    with pytest.raises(R3labError, match="no folder") as error:
        checkpoint_folder(name)
    assert "\x1b" not in str(error.value)


def test_a_folder_is_taken_as_it_is_and_a_name_fetches_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def fetched(name: str, **more: Any) -> str:
        asked.append((name, more))
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", fetched)
    assert checkpoint_folder(tmp_path) == tmp_path and not asked
    assert checkpoint_folder("someone/a-model") == tmp_path
    assert asked == [("someone/a-model", {"allow_patterns": list(FILES), "local_files_only": False})]
    assert not any(pattern.endswith((".py", ".bin", ".pt", ".pkl", "*")) for pattern in FILES)


def test_a_name_that_cannot_be_fetched_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(R3labError, match="was not fetched before"):
        checkpoint_folder("no-one/no-such-model", fetch=False)
    for trouble, words in (
        (hub.LocalEntryNotFoundError("x"), "cannot be reached"),
        (OSError("no space left"), "no space left"),
        (ValueError("odd"), "odd"),
    ):

        def fails(*a: Any, trouble: Exception = trouble, **k: Any) -> str:
            raise trouble

        monkeypatch.setattr(hub, "snapshot_download", fails)
        with pytest.raises(R3labError, match=words):
            checkpoint_folder("someone/a-model")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no config.json"), ("{", "cannot read"), ('{"model_type": "bert"}', "'bert' is not supported")],
)
def test_a_configuration_that_cannot_be_used_is_named(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(R3labError, match=words):
        config_of(tmp_path)


@pytest.fixture(scope="module")
def smolvlm(tmp_path_factory):
    """Folder of a tiny SmolVLM, hardly taught."""
    return taught("smolvlm", tmp_path_factory.mktemp("smol") / "policy", steps=1)


def test_every_row_of_the_table_is_tested():
    """The families that the other tests run are those of the table."""
    assert set(TAUGHT) == set(FAMILIES)
    assert {k for k, row in FAMILIES.items() if row.tiles} == {"smolvlm", "idefics3"}
    assert family_of("smolvlm").frame == Frame.RELATIVE


def test_the_prompt_is_the_one_that_the_familys_processor_writes(smolvlm):
    """`<image>` of the chat template becomes the marks and as many image tokens as a tile has."""
    policy = Policy.load(smolvlm)
    assert policy.overview_size((640, 200)) == (64, 64) and policy.crop_size((0, 0, 30, 90), (640, 200))[1] == (64, 64)
    ids = prompt_ids(policy, "Which digit?", (64, 64), 16)
    first = ids.index(policy.image_id)
    assert ids[first : first + 16] == [policy.image_id] * 16 and ids.count(policy.image_id) == 16
    marks = [policy.tokenizer.convert_ids_to_tokens(i) for i in (*ids[first - 2 : first], ids[first + 16])]
    assert (tuple(marks[:2]), tuple(marks[2:])) == TILE_MARKS


def test_ids_of_images_can_never_be_sampled(smolvlm):
    """The image token, the marks and the names of rows and columns."""
    policy = Policy.load(smolvlm)
    names = set(policy.tokenizer.convert_ids_to_tokens(policy.forbidden))
    assert names == {"<image>", "<fake_token_around_image>", "<global-img>", "<row_1_col_1>", "<row_1_col_2>"}


def test_a_tile_that_tokens_do_not_fill_is_refused(smolvlm, tmp_path):
    """max_image_size must be a multiple of patch size times scale factor."""
    folder = shutil.copytree(smolvlm, tmp_path / "odd")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_image_size": {"longest_edge": 70}}))
    with pytest.raises(R3labError, match="70 pixels, not a multiple of 16"):
        Policy.load(folder)


def test_a_tokenizer_without_the_marks_is_refused(smolvlm, taught_folder, tmp_path):
    """Naming the token that is missing."""
    folder = shutil.copytree(smolvlm, tmp_path / "other")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(taught_folder / name, folder / name)
    with pytest.raises(R3labError, match="<fake_token_around_image>"):
        Policy.load(folder)
