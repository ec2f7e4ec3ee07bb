"""A checkpoint by path or name: found or refused with a reason, foreseen from its configuration, of every family."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FAMILIES as TAUGHT
from conftest import taught
from seen import needs_torchvision
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from r3lab.cli.ask import Asked
from r3lab.cli.doctor import checkpoint
from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir
from r3lab.core.geometry import Frame
from r3lab.core.images import cut, open_image, resize
from r3lab.evaluate.run import fingerprint
from r3lab.models import checkpoint as hub
from r3lab.models.adapters import add_lora
from r3lab.models.checkpoint import FILES, KNOWN, checkpoint_folder, config_of, known_config, said, sizes_of
from r3lab.models.families import FAMILIES, family_of, tiles
from r3lab.models.plain import processor_in
from r3lab.models.policy import Policy, Row, check_template, save_policy
from r3lab.models.template import chat_frame
from r3lab.models.tiny import miniature
from r3lab.recipes.lessons import vocabulary
from r3lab.rollout.loop import rollout
from r3lab.rollout.sequence import prompt_ids
from r3lab.train.devices import footprint_of
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
    first, again, other = (next(miniature("smolvlm", vocabulary(), seed).model.parameters()) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    with pytest.raises(R3labError, match="llava"):
        miniature("llava", vocabulary())


@pytest.mark.parametrize(("name", "billions"), list(zip(KNOWN, (3.75, 2.13, 2.25), strict=True)))
def test_known_checkpoints_have_the_number_of_weights_that_their_pages_state(name: str, billions: float) -> None:
    sizes = sizes_of(known_config(name), torch.bfloat16)
    assert sizes.parameters / 1e9 == pytest.approx(billions, abs=0.005)
    assert 0.7 < sizes.trained / sizes.parameters < 0.95
    with pytest.raises(R3labError, match=f"Did you mean '{name}'"):
        known_config(name + "x")


def test_commands_take_every_name_and_none_downloads_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, a policy that ships, one of the hub that was fetched before; else the line that fetches it."""
    for read in (Policy.load, fingerprint, checkpoint):
        with pytest.raises(R3labError, match="folder at someone/a-model; one of the hub is fetched once"):
            read(Path("someone/a-model"))
    shipped = checkpoint_folder("cold-start")
    assert shipped == assets_dir() / "tiny" / "cold-start" and Policy.load("cold-start").name == "cold-start"
    assert fingerprint(Path("cold-start")) == fingerprint(shipped)
    asked: list[bool] = []

    def fetched(name: str, local_files_only: bool, **more: Any) -> str:
        asked.append(local_files_only)
        return str(shipped)

    monkeypatch.setattr(hub, "snapshot_download", fetched)
    assert checkpoint("someone/a-model") == checkpoint(str(shipped)) and Policy.load("someone/a-model").name
    assert asked == [True, True]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rgrpo").mkdir()
    assert checkpoint_folder("rgrpo") == Path("rgrpo"), "a folder that is there is meant"
    with pytest.raises(R3labError, match="Did you mean 'cold-start'"):
        Policy.load("cold_start")


@pytest.mark.parametrize(
    "name", ["", "nowhere", "../../no/such", "a/b/c", "https://hub/a/b", "a/..", "a\x1b[31m/b", "/no/such"]
)
def test_neither_a_folder_nor_a_name_is_refused_without_a_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "snapshot_download", lambda *a, **k: pytest.fail("asked the hub"))
    with pytest.raises(R3labError, match="no checkpoint folder at") as error:
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
    with pytest.raises(R3labError, match="one of the hub is fetched once"):
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
    assert {k for k, row in FAMILIES.items() if row.tiles} == {"smolvlm", "idefics3", "internvl"}
    assert family_of("smolvlm").frame == Frame.RELATIVE


def test_the_prompt_is_the_one_that_the_familys_processor_writes(smolvlm):
    """`<image>` of the chat template becomes the marks and as many image tokens as a tile has; of all of these, and of
    the names of rows and columns, none can ever be sampled."""
    policy = Policy.load(smolvlm)
    assert policy.overview_size((640, 200)) == (64, 64) and policy.crop_size((0, 0, 30, 90), (640, 200))[1] == (64, 64)
    ids = prompt_ids(policy, "Which digit?", (64, 64), 16)
    first = ids.index(policy.image_id)
    assert ids[first : first + 16] == [policy.image_id] * 16 and ids.count(policy.image_id) == 16
    marks = [policy.tokenizer.convert_ids_to_tokens(i) for i in (*ids[first - 2 : first], ids[first + 16])]
    assert marks == ["<fake_token_around_image>", "<global-img>", "<fake_token_around_image>"]
    names = set(policy.tokenizer.convert_ids_to_tokens(policy.forbidden))
    assert names == {"<image>", "<fake_token_around_image>", "<global-img>", "<row_1_col_1>", "<row_1_col_2>"}


TEMPLATE = (  # of InternVL3.5, for one turn of an image and a text
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<IMG_CONTEXT>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@needs_torchvision("internvl")
def test_an_internvl_reads_what_its_processor_writes(tmp_path):
    """Ids and pixels of a prompt and a crop behind it are those of transformers' processor for images of one tile, and
    the model's own forward on what that makes gives the same logits."""
    policy = miniature("internvl", vocabulary(), plain=False)
    policy.tokenizer.chat_template = TEMPLATE
    folder = save_policy(policy, tmp_path / "one")
    marks = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    table = json.loads((folder / "tokenizer_config.json").read_text()) | marks | {"video_token": "<video>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(table))
    own = {"processor_class": "InternVLProcessor", "image_seq_length": policy.model.config.image_seq_length}
    (folder / "processor_config.json").write_text(json.dumps(own))
    policy = Policy.load(folder, device="cpu")
    reader = processor_in(folder, policy.tokenizer)
    photo = open_image(ROOT / "assets" / "photos" / "coffee.jpg")
    [before, after], size = chat_frame(policy.tokenizer), policy.overview_size(photo.size)
    box = (10.0, 20.0, 90.0, 60.0)
    images = [resize(photo, size), cut(photo, box, policy.crop_size(box, photo.size)[1])]
    text = f"{before}Which digit?{after}I look.<IMG_CONTEXT>It is"
    wanted = reader(text=[text], images=[[photo, images[1]]], return_tensors="pt", crop_to_patches=False)
    seen = policy.encode(images)
    ids = [*prompt_ids(policy, "Which digit?", size, len(seen[0].tokens)), *policy.ids("I look.")]
    ids += [*policy.block(images[1]).ids, *policy.ids("It is")]
    assert ids == wanted["input_ids"][0].tolist()
    each = ids.count(policy.image_id) // 2
    assert policy.layout.overview_tokens == policy.layout.crop_tokens == (each, each), "as its processor counts"
    names = set(policy.tokenizer.convert_ids_to_tokens(policy.forbidden))
    assert names == {"<IMG_CONTEXT>", "<img>", "</img>", "<video>"}
    torch.testing.assert_close(tiles(images, policy.layout), wanted["pixel_values"], atol=1e-6, rtol=0)
    with torch.no_grad():
        theirs = policy.model(**wanted).logits[0]
        ours = policy.logits(policy.hidden(policy.rows([Row(ids, seen)])))[0]
    allowed = torch.isfinite(ours)
    torch.testing.assert_close(ours[allowed], theirs[allowed], atol=1e-5, rtol=0)
    bare = edited(folder, tmp_path / "bare", *SIZE, "image_mean", value=None)
    assert Policy.load(bare).layout.mean == pytest.approx(GotOcr2ImageProcessorPil.image_mean)


def test_tiles_and_tokenizers_that_do_not_fit_are_refused(smolvlm, taught_folder, tmp_path):
    """max_image_size must be a multiple of patch size times scale factor; the mark that is missing is named."""
    with pytest.raises(R3labError, match="70 x 70 pixels, not a square whose side is a multiple of 16"):
        Policy.load(edited(smolvlm, tmp_path / "odd", *SIZE, "max_image_size", value={"longest_edge": 70}))
    folder = shutil.copytree(smolvlm, tmp_path / "other")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(taught_folder / name, folder / name)
    with pytest.raises(R3labError, match="<fake_token_around_image>"):
        Policy.load(folder)


def test_a_policy_that_was_loaded_is_saved_byte_for_byte_as_one_that_was_made(small, tmp_path):
    """Nothing in the folder says how it was loaded: a run that was killed and goes on leaves the same files."""
    again = save_policy(Policy.load(small), tmp_path / "again")
    files = {path.name: path.read_bytes() for path in small.iterdir()}
    assert len(files) > 5 and files == {path.name: path.read_bytes() for path in again.iterdir()}


# A checkpoint from elsewhere


def edited(source: Path, folder: Path, file: str, *path: str, value: Any) -> Path:
    """A copy of a checkpoint in which one field of a JSON file is another."""
    shutil.copytree(source, folder)
    whole = inner = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (folder / file).write_text(json.dumps(whole))
    return folder


TEXT, VISION, SIZE = ("config.json", "text_config"), ("config.json", "vision_config"), ("preprocessor_config.json",)
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ((*TEXT, "num_hidden_layers"), 0, "num_hidden_layers must be a whole number from 1"),
        ((*TEXT, "num_hidden_layers"), 10**6, "must be a whole number from 1 to 512"),
        ((*TEXT, "num_hidden_layers"), 500, "asks for 500 layers in the text model, they have 4"),
        ((*TEXT, "num_hidden_layers"), True, "must be a whole number"),
        ((*TEXT, "num_attention_heads"), 0, "num_attention_heads must be"),
        ((*TEXT, "num_attention_heads"), 8, "tensors of other shapes"),
        ((*TEXT, "head_dim"), 0, "head_dim must be"),
        ((*TEXT, "hidden_size"), {}, "hidden_size must be"),
        ((*TEXT, "hidden_size"), 4096, r"asks for \(499, 4096\)"),
        ((*TEXT, "vocab_size"), 10**6, r"asks for \(1000000, 128\)"),
        ((*TEXT, "rope_parameters"), [], "rope_parameters"),
        ((*TEXT, "rope_parameters"), {"rope_type": "evil"}, "evil"),
        ((*TEXT, "hidden_act"), "evil", "evil"),
        ((*TEXT, "rms_norm_eps"), float("nan"), "no numbers"),
        (TEXT, "x", "text_config must be an object"),
        ((*VISION, "depth"), 400, "asks for 400 layers in the vision tower, they have 4"),
        ((*VISION, "patch_size"), 0, "patch_size must be"),
        ((*VISION, "num_heads"), 5, "cannot use"),
        ((*VISION, "spatial_merge_size"), 4, "merge_size is 2, and 4 in config.json"),
        ((*VISION, "deepstack_visual_indexes"), [10**9], "from 0 to 511"),
        ((*VISION, "deepstack_visual_indexes"), [4], "asks for 4 as the last layer"),
        (("config.json", "model_type"), ["x"], "model_type must be text"),
        (("config.json", "image_token_id"), 10**9, "cannot use"),
        ((*SIZE, "size"), {"shortest_edge": 10**13}, "shortest_edge must be a whole number from 1"),
        ((*SIZE, "size"), {"shortest_edge": 2**30, "longest_edge": 2**30}, "images of 4,194,304 to 4,194,304 tokens"),
        ((*SIZE, "size"), 7, "size must be an object"),
        ((*SIZE, "patch_size"), 16, "patch_size is 16, and 8 in config.json"),
        ((*SIZE, "image_std"), [0, 1, 1], r"image_std\[0\] must be"),
        ((*SIZE, "r3lab", "coordinate_step"), 0, "coordinate_step must be"),
        ((*SIZE, "r3lab", "crop_tokens"), [4, 10**9], "crop_tokens"),
        (("adapter_config.json", "base_model_name_or_path"), "/tmp", "a checkpoint and an adapter"),
    ],
)
def test_a_checkpoint_that_lies_is_refused_in_a_line(
    place: tuple[str, ...], value: Any, words: str, taught_folder: Path, tmp_path: Path
) -> None:
    folder = edited(taught_folder, tmp_path / "lies", *place, value=value)
    with pytest.raises(R3labError, match=words) as error:
        check_template(Policy.load(folder))
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)


def test_code_beside_a_checkpoint_is_not_run(taught_folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """Neither asked for nor run, whoever says yes to every question."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.chdir(tmp_path)
    classes = {f"Auto{kind}": f"evil.{kind}" for kind in ("Config", "ModelForImageTextToText")}
    for name, file, key, value in (
        ("unknown", "config.json", "model_type", "evil"),
        ("known", "config.json", "model_type", "qwen3_vl"),
        ("words", "tokenizer_config.json", "auto_map", {"AutoTokenizer": ["evil.Words", "evil.Words"]}),
    ):
        folder = edited(taught_folder, tmp_path / f"{name}-0", file, key, value=value)
        folder = edited(folder, tmp_path / name, "config.json", "auto_map", value=classes)
        (folder / "evil.py").write_text("open('ran', 'w').write('x')\nclass Words: pass\n")
        if name == "unknown":
            with pytest.raises(R3labError, match="'evil' is not supported"):
                Policy.load(folder)
        else:
            assert Policy.load(folder).family.model_type == "qwen3_vl"
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_are_not_read_even_where_an_index_names_them(taught_folder: Path, tmp_path: Path) -> None:
    for file in ("pytorch_model.bin", "../model.safetensors"):
        folder = edited(taught_folder, tmp_path / file[-3:], INDEX, "weight_map", value={"lm_head.weight": file})
        (folder / "model.safetensors").rename(folder / "other.safetensors")
        with pytest.raises(R3labError, match=r"must be the name of a \*.safetensors file"):
            Policy.load(folder)


def test_an_incomplete_download_is_told_from_weights_of_another_model(taught_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(taught_folder, tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(R3labError, match="copy or download the .* files again"):
        Policy.load(folder)
    folder = edited(taught_folder, tmp_path / "other", *TEXT, "intermediate_size", value=100)
    with pytest.raises(R3labError, match="use the config.json that was saved with these weights"):
        Policy.load(folder)


RICH = """{%- set ns = namespace(images=0) %}
{% if not messages[0].role == 'system' %}<|im_start|>system
You are {{ {'a': 'hélpful'} | tojson }}.<|im_end|>
{% endif %}
{% for message in messages %}
    {% generation %}<|im_start|>{{ message.role | capitalize }}:{{ bos_token or '' }}{% endgeneration +%}
    {%- for part in message.content %}
        {%- if part.type == 'image' %}{% set ns.images = ns.images + 1 %}{{ '<|vision_start|><|image_pad|>' }}
        {%- elif loop.index > 5 %}{% break %}
        {%- else %}{{ part['text'].strip() }}{{ eos_token }}{{ strftime_now('%d')[:0] }}{% endif %}
    {%- endfor %}
{% endfor %}
{% if add_generation_prompt and not tools %}<|im_start|>assistant {{ ns.images }}
{% endif %}"""


@pytest.mark.parametrize("template", ["own", RICH], ids=["own", "rich"])
def test_a_question_is_framed_as_transformers_would(family_policy: Policy, template: str) -> None:
    words = copy.deepcopy(family_policy.tokenizer)
    if template != "own":
        words.chat_template = template
    question = 'Which <digit> \\ is "it"?'
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
    wanted = words.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
    assert question.join(chat_frame(words)) == wanted


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "more than 2 s or 1 GiB"),
        ("{{ 'A' * 10**10 }}", "MemoryError"),
        ("{{ 'A' * 10**6 }}", "over 100,000 characters"),
        ("{{ raise_exception('no') }}", "TemplateError: no"),
        ("{{ messages.x.y }}", "has no attribute 'x'"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{% if %}", "Expected an expression"),
        ("{{ " + "(" * 5000, "fails|more than"),
        ("<|image_pad|>", "write the question once"),
        ("{{ messages[0].content[1].text | upper }}", "write the question once"),
        ("{{ messages[0].content[1].text }}", "does not place one image"),
        ("<|image_pad|>{{ messages[0].content[1].text * 2 }}", "write the question once"),
    ],
)
def test_a_template_that_fails_or_does_not_end_is_refused(template: str, words: str, policy: Policy) -> None:
    policy.tokenizer.chat_template = template
    with pytest.raises(R3labError, match=words):
        check_template(policy)


def test_an_adapter_that_lies_is_refused(policy: Policy, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    add_lora(policy, rank=2)
    folder = save_policy(policy, tmp_path / "adapter")
    for index, (name, value, words) in enumerate(
        (
            ("r", 10**6, "r must be a whole number from 1 to 1,024"),
            ("r", 3, "of another shape"),
            ("target_modules", "(a+)+b", "target_modules must be"),
            ("rank_pattern", {"(a+)+b": 10**9}, "'rank_pattern' is set"),
            ("use_dora", True, "'use_dora' is set"),
            ("base_model_name_or_path", "/no/such", "which is not there"),
            ("base_model_name_or_path", None, "must be text"),
        )
    ):
        with pytest.raises(R3labError, match=words):
            Policy.load(edited(folder, tmp_path / str(index), "adapter_config.json", name, value=value))


def test_a_librarys_long_complaint_ends_with_a_sentence_or_a_word() -> None:
    first = "The connection was refused by the hub after three attempts."
    assert said(OSError(f"{first} {'Then it went on about it. ' * 20}")).endswith("Then it went on about it")
    told = said(OSError("header " * 100))
    assert told.endswith("header ...") and len(told) <= 200
    assert said(OSError("short.")) == "short." and said(OSError()) == "OSError"
