"""A checkpoint by path or by hub name, and how much memory it will need before a single weight is read or downloaded.

Only what a checkpoint is made of is fetched: JSON, templates, vocabulary and safetensors. No code, no pickled weights.
What was fetched once is found again without a network. A checkpoint is foreign: its config.json is read as any foreign
record, and held against the names and shapes in the header of its weights, before a model is built. Weights that are
damaged or missing are errors that say what to do, where transformers would go on with random ones.

    sizes = sizes_of(known_config("Qwen/Qwen2.5-VL-3B-Instruct"), torch.bfloat16)     # or config_of(folder)
    print(sizes.weights, sizes.rollout(rows=5, tokens=4000))        # bytes
    folder = checkpoint_folder("Qwen/Qwen2.5-VL-3B-Instruct")       # 7.5 GB the first time
    model = read_weights(folder, torch.bfloat16)

The memory is that of a model built on torch's `meta` device, where tensors have shapes and no content: counting their
numbers is exact for every family. Of the checkpoints that the course names the shapes ship (assets/checkpoints/, as
their own config.json has them), so that no network is needed. Simplified: activations are left out (`train.devices`
measures them once the model is loaded); of a rollout they are small beside weights, keys and values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel
from transformers.utils import logging

from ..core.errors import R3labError, nearest, shown
from ..core.files import assets_dir
from ..core.records import MAX_RECORD, Read, anything, between, fields, mapping, number, of, parse, row, text
from .families import FAMILIES, check_type, why_plain

QUICK_BYTES = 200_000_000  # of weights; less is read or written within two seconds and needs no progress bar


def said(error: Exception) -> str:
    """What a library says of a file that it cannot read, in one line, short enough for a message: whole sentences, or
    whole words."""
    words = " ".join(str(error).split()) or type(error).__name__
    if len(words) > 200:
        sentence, point, _ = words[:200].rpartition(". ")
        words = sentence if point else f"{words[:196].rpartition(' ')[0] or words[:196]} ..."
    return "".join(c if c.isprintable() else "?" for c in words)


def object_in(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a checkpoint, an R3labError if there is none."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RECORD + 1)
        if len(data) > MAX_RECORD:
            raise ValueError(f"over {MAX_RECORD:,} bytes")
        return mapping(anything)(parse(data, "it"), "it")
    except (OSError, ValueError) as error:
        raise R3labError(f"cannot read {path}: {said(error)}") from None


@contextmanager
def quiet(size: int) -> Iterator[None]:
    """Without transformers' reports on weights that are read or written, nor its bars if they have few bytes."""
    hide, level = size < QUICK_BYTES and logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.set_verbosity_error()
    if hide:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if hide:
            logging.enable_progress_bar()


def read_weights(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model of a checkpoint folder on the CPU; an R3labError where weights are damaged, missing or of other shapes.

    transformers only warns about missing weights and leaves them random; here they are an error. Its progress bar is
    kept for files large enough that loading takes seconds.
    """
    if (folder / "adapter_config.json").is_file():
        raise R3labError(
            f"{folder} holds a checkpoint and an adapter; move adapter_config.json into a folder of its own"
        )
    config, held = config_of(folder), shapes_in(folder)
    wrong = f"cannot read the weights in {folder}"
    advice = "use the config.json that was saved with these weights"
    wanted = _counted if why_plain(config) else _wanted
    for what, asked, there in wanted(config, held):  # first: a million layers take minutes to build
        if asked != there:
            raise R3labError(f"{wrong}: config.json asks for {asked} {what}, they have {there}; {advice}")
    try:
        with quiet(sum(file.stat().st_size for file in folder.glob("*.safetensors"))):
            model, found = AutoModelForImageTextToText.from_pretrained(
                folder, dtype=dtype, attn_implementation="sdpa", output_loading_info=True, **SAFE
            )
    except MemoryError:
        raise R3labError(f"{wrong}: there is not enough memory; close other programs or take a smaller one") from None
    except Exception as error:  # the files are whole: what fails is what the configuration makes of them
        why = "config.json asks for tensors of other shapes" if "mismatch" in str(error) else said(error)
        raise R3labError(f"{wrong}: {why}; {advice}") from None
    missing = sorted(found["missing_keys"])
    if missing:
        raise R3labError(
            f"the weights in {folder} lack {len(missing)} tensors that its config.json asks for, the first is "
            f"{missing[0]!r}; {advice}"
        )
    return model


def shapes_in(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in the weights of a folder, from the headers of their files.

    Raises
    ------
    R3labError
        If there are none, or a file is incomplete.
    """
    index, names = folder / "model.safetensors.index.json", ["model.safetensors"]
    if not (folder / names[0]).is_file() and index.is_file():
        table = fields(object_in(index), {"weight_map": mapping(_FILE)}, where=str(index))
        names = sorted(set(table["weight_map"].values()))
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:
        try:
            with safe_open(folder / name, "pt") as file:
                held = list(file.keys())
                shapes |= {key: tuple(file.get_slice(key).get_shape()) for key in held}
        except (OSError, ValueError, SafetensorError) as error:
            raise R3labError(
                f"cannot read the weights in {folder}: {name}: {said(error)}; copy or download the *.safetensors files "
                "again"
            ) from None
    return shapes


def _wanted(config: Any, held: dict[str, tuple[int, ...]]) -> Iterator[tuple[str, Any, Any]]:
    """What a configuration asks for, and what the weights of such shapes have of it."""
    text, vision = config.get_text_config(), config.vision_config
    depth = getattr(vision, "depth", None) or vision.num_hidden_layers
    for part, seen, asked in (("text model", False, text.num_hidden_layers), ("vision tower", True, depth)):
        layers = {found[1] for name in held if ("vis" in name) == seen and (found := _LAYER.search(name))}
        yield f"layers in the {part}", asked, len(layers)
    table = next((shape for name, shape in held.items() if name.endswith("embed_tokens.weight")), ())
    yield "(tokens, numbers a token)", (text.vocab_size, text.hidden_size), table
    last = max(getattr(vision, "deepstack_visual_indexes", None) or [0])
    yield "as the last layer whose features are used", last, min(last, depth - 1)


def _counted(config: Any, held: dict[str, tuple[int, ...]]) -> Iterator[tuple[str, Any, Any]]:
    """As `_wanted`, where the names of a model's parts are not known: its size; copies of tied weights pass."""
    asked, there = sizes_of(config, torch.float32).parameters, sum(math.prod(shape) for shape in held.values())
    yield "numbers", f"{asked:,}", f"{asked if 0.9 * there <= asked <= 1.01 * there else there:,}"


SAFE: Any = {"trust_remote_code": False, "use_safetensors": True}  # no code, no pickled weights
_FILE = of("the name of a *.safetensors file", lambda name: bool(re.fullmatch(r"[\w.-]+\.safetensors", str(name))))
_LAYER = re.compile(r"(?:layers?|blocks)\.(\d{1,6})\.")
FILES = ("*.json", "*.safetensors", "*.jinja", "merges.txt", "vocab.txt")
SHIPPED = {  # name -> folder of the assets: badges alone, which the lessons take apart, and all four worlds
    "cold-start": "tiny/cold-start",
    "rgrpo": "tiny/rgrpo",
    "worlds-cold-start": "worlds/cold-start",
    "worlds": "worlds/rgrpo",
}
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def checkpoint_folder(name: str | Path, fetch: bool = True) -> Path:
    """The folder of a checkpoint.

    Parameters
    ----------
    name
        A folder; or, if there is no such folder, the name of a policy that ships (`SHIPPED`), or `owner/name` on the
        hub.
    fetch
        False: of the hub, use only what was fetched before. Commands do, so that none waits for a download unasked.

    Raises
    ------
    R3labError
        If it is none of these, or cannot be fetched: no network, no such name, or its terms were not accepted.
    """
    folder, text = Path(name), str(name)
    if text and folder.is_dir():
        return folder
    if text in SHIPPED:
        return assets_dir() / SHIPPED[text]
    missing = f"no checkpoint folder at {shown(text, 300)[1:-1] or shown(text)}"
    if not _NAME.fullmatch(text) or ".." in text:
        names = f"{', '.join(SHIPPED)}.{nearest(text, SHIPPED)}"
        raise R3labError(f"{missing}; give the folder that holds config.json, owner/name of the hub, or {names}")
    try:
        return Path(snapshot_download(text, allow_patterns=list(FILES), local_files_only=not fetch))
    except RepositoryNotFoundError:
        why = "the hub knows no such checkpoint, or shows it only after you log in and accept its terms"
    except LocalEntryNotFoundError:
        why = "it was not fetched before, and now the hub cannot be reached"
        if not fetch:
            call = f"python -c 'from r3lab import models; models.checkpoint_folder(\"{text}\")'"
            raise R3labError(f"{missing}; one of the hub is fetched once, with a network: {call}") from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        why = shown(str(error), 200)
    raise R3labError(f"{missing}, and as a hub name: {why}")


@dataclass(frozen=True)
class Sizes:
    """What a model of one configuration takes.

    Attributes
    ----------
    parameters : numbers in all weights; tied ones count once
    trained : those outside the vision tower, which R-GRPO and the cold start train
    element : bytes a number
    cached : bytes of keys and values, a token of one row; recurrent states, which do not grow, are left out
    """

    parameters: int
    trained: int
    element: int
    cached: int

    @property
    def weights(self) -> int:
        """Bytes of the loaded model."""
        return self.parameters * self.element

    def rollout(self, rows: int, tokens: int) -> int:
        """Bytes of the model and of the keys and values of `rows` rollouts of `tokens` tokens, prompt included."""
        return self.weights + rows * tokens * self.cached

    @property
    def training(self) -> int:
        """Bytes held all the time when everything but the vision tower is trained: weights, gradients, AdamW's two."""
        return self.weights + 3 * self.trained * self.element


def config_of(folder: str | Path) -> Any:
    """The configuration of a checkpoint folder.

    Raises
    ------
    R3labError
        If there is none, it cannot be read, or its family is not supported.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise R3labError(f"{folder} has no config.json; give the folder of a checkpoint in the Hugging Face format")
    path = folder / "config.json"
    data = object_in(path)
    check_type(fields(data, {"model_type": text}, where=str(path))["model_type"])
    for section in ("text_config", "vision_config", "audio_config"):
        fields(data.get(section) or {}, {}, SIZES, f"{path}: {section}")
    fields(data, {}, SIZES, str(path))
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # of transformers' own checks, which have no common kind
        raise R3labError(f"cannot read {path}: {said(error)}") from None


def _one_or_more(read: Read) -> Read:
    """One value, or a list: for each side of an image, or each layer."""
    return lambda value, where: row(read, 512)(value, where) if isinstance(value, list) else read(value, where)


SIZES: dict[str, Read] = (
    {  # of config.json, its text_config and its vision_config; a family has some of them
        name: _one_or_more(between(1, most))
        for most, names in (
            (16, "spatial_merge_size temporal_patch_size scale_factor in_channels in_chans num_channels"),
            (512, "num_hidden_layers depth patch_size spatial_patch_size"),
            (4096, "num_attention_heads num_heads num_key_value_heads head_dim window_size"),
            (1 << 17, "hidden_size embed_dim out_hidden_size image_size"),
            (1 << 24, "vocab_size intermediate_size num_position_embeddings max_position_embeddings"),
        )
        for name in names.split()
    }
    | {"mlp_ratio": of("a number up to 512", lambda value: 0 < number(value, "") <= 512)}
    | {"downsample_ratio": of("a part of 1, such as 0.5", lambda value: value in [1 / n for n in range(1, 17)])}
    | dict.fromkeys(("deepstack_visual_indexes", "fullatt_block_indexes"), row(between(0, 511), 512))
)


KNOWN = ("Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen3-VL-2B-Instruct", "HuggingFaceTB/SmolVLM-Instruct")


def known_config(name: str) -> Any:
    """The configuration of a checkpoint that the course names: the shapes of its parts.

    Raises
    ------
    R3labError
        If it is another one.
    """
    if name not in KNOWN:
        raise R3labError(f"The shapes of {shown(name)} do not ship.{nearest(name, KNOWN)} Known: {', '.join(KNOWN)}.")
    return config_of(assets_dir() / "checkpoints" / name)


def sizes_of(config: Any, dtype: torch.dtype) -> Sizes:
    """Count what a configuration asks for.

    Parameters
    ----------
    config
        From `config_of`, or one of transformers' own.
    dtype
        In which the weights will be loaded.

    Raises
    ------
    R3labError
        If its family is not supported.
    """
    family = None if why_plain(config) else FAMILIES[config.model_type]
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, attn_implementation="sdpa", trust_remote_code=False)
    every = {id(p): p.numel() for p in model.parameters()}
    vision = family.vision if family else ()
    seen = {id(p) for name in vision for p in getattr(model.model, name).parameters()}
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None) or ["attention"] * text.num_hidden_layers
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return Sizes(
        parameters=sum(every.values()),
        trained=sum(count for key, count in every.items() if key not in seen),
        element=dtype.itemsize,
        cached=2
        * sum(kind.endswith("attention") for kind in kinds if kind != "linear_attention")
        * heads
        * head
        * dtype.itemsize,
    )
