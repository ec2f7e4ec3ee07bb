"""Families of square tiles: what stands around a tile, what may never be sampled, what a broken checkpoint says."""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import FAMILIES as TAUGHT
from conftest import taught

from r3lab.core.errors import R3labError
from r3lab.core.geometry import Frame
from r3lab.models.families import FAMILIES, TILE_MARKS, family_of
from r3lab.models.policy import Policy
from r3lab.rollout.sequence import prompt_ids


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
