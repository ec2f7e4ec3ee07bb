"""The plain path: any image-text-to-text model of transformers that has a chat template, one row at a time.

The model's own processor makes the prompt, and the block of tokens of each crop; the model's own cache reads token by
token. A new crop has the whole sequence read again, with all its images: exact in every architecture (recurrent
states, windows, images whose tokens see each other both ways), and slow. Token in, token out holds as on the fast path:
sampled text is never turned into ids again. On loading, a sequence is read both ways; where the cache gives other
numbers than the whole sequence, it is not used, and `cached` says so. Rows of `families.FAMILIES` take the fast path
instead. Simplified: an image's place is what the chat template writes for one; nothing is trained here,
and attention is not read.

    policy = Policy.load("checkpoints/gemma-3-4b-it")       # a PlainPolicy, by its model type
    ids = policy.prompt("Which digit?", photo)
    logits, cache = policy.whole(ids, [photo])              # (L, V)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from ..core.errors import R3labError, shown
from ..core.geometry import Box, Frame, Size, crop_size
from ..core.records import fields
from .cache import cache_name
from .checkpoint import SAFE, config_of, object_in, read_weights, said
from .families import LARGEST, PROCESSOR, Family, Layout, frame_of, why_plain
from .policy import Block, Policy
from .template import chat_frame

FACTOR = 28  # pixels of a token's side, to which crops are cut; the processor resizes them again as it will
TOLERANCE = 1e-3  # nats between cache and whole sequence, float32; in half precision a hundred times that
SIDE, SIDES = 1 << 13, ("height", "width", "shortest_edge", "longest_edge", "tile_size", "max_image_size")
ROWS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")  # of the processor, one entry a token
OURS = ("preprocessor_config.json", "processor_config.json")  # hold r3lab's own section


class PlainPolicy(Policy):
    """A policy that is read by its own processor and cache; see the module's docstring.

    Attributes
    ----------
    reader : the processor of transformers
    files : content of the files that it was made from, by name
    place : what the chat template writes where an image stands
    reason : why not the fast path
    cached : whether tokens are read one by one on the model's own cache; if not, each has the whole sequence read
    """

    plain = True

    def __init__(
        self, model: Any, tokenizer: Any, reader: Any, files: dict[str, dict[str, Any]], name: str = "policy"
    ) -> None:
        kind, own = model.config.model_type, own_section(files)
        frame, self.reason = frame_of(kind), why_plain(model.config)
        self.model, self.tokenizer, self.reader, self.name = model, tokenizer, reader, name
        self.processor, self.folder, self.adapter, self.files = {"r3lab": own}, None, None, files
        self.family = Family(kind, frame)
        crop = tuple(own.get("crop_tokens") or self.family.crop_tokens)
        self.layout = Layout(FACTOR // 2, 2, 1, (0.5,) * 3, (0.5,) * 3, (1, LARGEST), crop)
        self.step, self.bare = int(own.get("coordinate_step", 1)), own.get("prompt") == "bare"
        self.frame = Frame(own.get("frame", frame))
        self._pieces = {}
        self.image_id = _image_id(model.config, tokenizer, reader)
        with_image, without = (chat_frame(tokenizer, images)[0] for images in (1, 0))
        self.place = _added(with_image, without)
        if not self.place:
            raise R3labError("The chat template does not place one image; copy the checkpoint's original template.")
        special = {*tokenizer.all_special_ids, *(i for i, t in tokenizer.added_tokens_decoder.items() if t.special)}
        ids = self._read(self.place, [Image.new("RGB", (64, 64))])["input_ids"][0].tolist()
        self.vision_start, self.vision_end = [], []  # a crop's block brings its own
        self.forbidden = sorted({self.image_id, *(i for i in ids if i in special)} - {tokenizer.eos_token_id})
        self._keeps = "logits_to_keep" in signature(model.forward).parameters
        self.seen_at = lru_cache(maxsize=256)(self._seen_at)
        self.cached = True

    # -- loading -------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, folder: Path, device: torch.device, kind: torch.dtype) -> PlainPolicy:
        """As `Policy.load`, of a folder whose config.json was checked."""
        files = {name: object_in(folder / name) for name in OURS if (folder / name).is_file()}
        if not files:
            raise R3labError(f"{folder} has no {OURS[0]}: the image processor is missing; copy it into the folder")
        own_section(files)  # what it refuses need not be loaded
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **SAFE)
            reader = processor_in(folder, tokenizer)
            if not tokenizer.chat_template:
                tokenizer.chat_template = getattr(reader, "chat_template", None)
            weights = read_weights(folder, kind).to(device).eval()
            policy = cls(weights, tokenizer, reader, files, folder.resolve().name)
            policy._try()
        except R3labError:
            raise
        except Exception as error:  # of three libraries, about files from elsewhere
            raise R3labError(f"cannot use the checkpoint in {folder}: {said(error)}; copy its files again") from None
        policy.folder = folder
        return policy

    @torch.no_grad()
    def _try(self) -> None:
        """Read a small prompt as a whole and token by token: is the cache exact?"""
        images = [Image.new("RGB", (64, 48), "red"), Image.new("RGB", (48, 64), "blue")]
        text = self.ids("A first look, and a second.")
        ids = [*self.prompt("What?", images[0]), *text, *self.block(images[1]).ids, *text]
        logits, _ = self.whole(ids, images)
        if torch.isnan(logits).any() or len(self.tokenizer) > logits.shape[-1]:
            raise ValueError("the model's numbers are no numbers, or its vocabulary lacks tokens of the tokenizer")
        cut, wanted = len(ids) - len(text), logits.log_softmax(-1)
        _, cache = self.whole(ids[:cut], images)
        worst, limit = 0.0, TOLERANCE * (1 if next(self.model.parameters()).dtype == torch.float32 else 100)
        try:
            for at in range(cut, len(ids)):
                step = self.more(ids[at], cache).log_softmax(-1)
                worst = max(worst, float((step - wanted[at])[torch.isfinite(step)].abs().max()))
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError):
            worst = float("inf")
        self.cached = worst <= limit

    # -- sequences -----------------------------------------------------------------------------------------------

    def _read(self, text: str, images: Sequence[Image.Image]) -> Any:
        """What the processor makes of a text with places for images."""
        bos = self.tokenizer.bos_token
        start = bool(bos) and not text.startswith(bos) and text != self.place * len(images)
        return self.reader(text=[text], images=[list(images)], return_tensors="pt", add_special_tokens=start)

    def prompt(self, text: str, image: Image.Image) -> list[int]:
        """Ids of a question on an image, through the checkpoint's chat template and processor."""
        before, after = chat_frame(self.tokenizer)
        ids: list[int] = self._read(before + text + after, [image])["input_ids"][0].tolist()
        if self.image_id not in ids or len(ids) > 4 * LARGEST:
            raise R3labError(f"the processor of {shown(self.name)} makes {len(ids):,} tokens, or none of the image")
        return ids

    def block(self, crop: Image.Image) -> Block:
        """The tokens of a crop as the processor writes them; those between its first and its last are its own."""
        ids = self._read(self.place, [crop])["input_ids"][0].tolist()
        first, last = ids.index(self.image_id), len(ids) - 1 - ids[::-1].index(self.image_id)
        return Block(ids[:first], ids[first : last + 1], ids[last + 1 :], (last + 1 - first, 1))

    def inputs(self, ids: Sequence[int], images: Sequence[Image.Image]) -> dict[str, torch.Tensor]:
        """What the model's forward takes for a whole sequence: ids, its images, and what the processor says of each."""
        made = self._read(self.place * len(images), images)
        wanted, held = list(ids).count(self.image_id), int((made["input_ids"] == self.image_id).sum())
        if wanted != held:
            raise R3labError(f"the sequence has {wanted} image tokens and its {len(images)} images have {held}")
        row = torch.tensor([list(ids)])
        found = {"input_ids": row, "attention_mask": torch.ones_like(row)}
        for name in ROWS[2:]:
            if name in made:
                found[name] = (row == self.image_id).long()
        found |= {name: value for name, value in made.items() if name not in ROWS and torch.is_tensor(value)}
        kind = next(self.model.parameters()).dtype
        return {n: v.to(self.device, kind) if v.is_floating_point() else v.to(self.device) for n, v in found.items()}

    @torch.no_grad()
    def whole(
        self, ids: Sequence[int], images: Sequence[Image.Image], places: Sequence[int] | None = None
    ) -> tuple[torch.Tensor, Any]:
        """Logits of a sequence with its images in order, and the model's cache behind it.

        Parameters
        ----------
        places : indices of the tokens behind which logits are wanted (default: all); the head is not computed at others

        Returns
        -------
        logits (L, V), L of the places; cache
        """
        wanted = list(range(len(ids))) if places is None else list(places)
        given: dict[str, Any] = self.inputs(ids, images)
        if few := self._keeps and places is not None:
            given["logits_to_keep"] = torch.tensor(wanted, device=self.device)
        out = self.model(**given, use_cache=True, return_dict=True)
        return self.masked(out.logits[0] if few else out.logits[0, wanted]), out[cache_name(type(self.model))]

    @torch.no_grad()
    def more(self, token: int, cache: Any) -> torch.Tensor:
        """Logits (V,) behind a text token, read on a cache that holds all before it; no mask, for nothing is padded."""
        ids = torch.tensor([[token]], device=self.device)
        held = {cache_name(type(self.model)): cache}
        out = self.model(input_ids=ids, **held, use_cache=True, return_dict=True)
        return self.masked(out.logits[0, -1])

    def masked(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits in float32, with the ids that must never be sampled at minus infinity."""
        logits = logits.float()
        logits[..., self.forbidden] = float("-inf")
        return logits

    # -- images --------------------------------------------------------------------------------------------------

    def overview_size(self, image: Size) -> Size:
        """Pixels (width, height) at which an image is looked at; its own where the processor cuts it into tiles."""
        return self.seen_at(image)

    def _seen_at(self, size: Size) -> Size:
        made = self._read(self.place, [Image.new("RGB", size)])
        vision = getattr(self.model.config, "vision_config", None)
        patch = getattr(vision, "patch_size", 0)
        patch = patch[0] if isinstance(patch, list | tuple) else patch
        for name in ("image_grid_thw", "spatial_shapes"):  # in patches; rows before columns
            if name in made and len(made[name]) == 1:
                high, wide = made[name][0].tolist()[-2:]
                return wide * patch, high * patch
        pixels = made.get("pixel_values")
        if torch.is_tensor(pixels) and pixels.dim() >= 4 and pixels[..., 0, 0, 0].numel() == 1:
            return int(pixels.shape[-1]), int(pixels.shape[-2])
        return size

    def crop_size(self, box: Box, source: Size) -> tuple[float, Size]:
        """Zoom of a look, and pixels (width, height) at which its crop is given to the processor."""
        return crop_size(box, source, FACTOR, *self.layout.crop_tokens)

    def image_positions(self, start: int, columns: int, rows: int) -> tuple[torch.Tensor, int]:
        """Positions as of text: the model makes its own."""
        return torch.arange(start, start + columns * rows).expand(3, -1), start + columns * rows

    def _not_here(self, *given: Any, **more: Any) -> Any:
        raise R3labError(
            f"{shown(self.name)} runs on the plain path ({self.reason}): it can be asked, measured and explained by "
            "replay; training, attention and value maps want a family of the table (`r3lab doctor --model`)"
        )

    encode = rows = padded = read = hidden = bundle = text_parameters = trained = frozen = _not_here
    vision = text = property(_not_here)


def own_section(files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """r3lab's own section in a processor's files; image sizes that it should not be asked for are refused.

    Raises
    ------
    R3labError
        If a field does not fit.
    """
    own: dict[str, Any] = {}
    for name, data in files.items():
        _bounded(data, name)
        section = fields(data, {}, {"r3lab": PROCESSOR["r3lab"]}, name)["r3lab"]
        own |= {key: value for key, value in (section or {}).items() if value is not None}
    return own


def _bounded(data: Any, where: str, key: str = "", pixels: bool = False) -> None:
    """Raise where a processor would make images of sides over `SIDE`."""
    if isinstance(data, dict):
        pixels = pixels or "Qwen2VL" in str(data.get("image_processor_type"))  # its edges are numbers of pixels
        for name, value in data.items():
            _bounded(value, where, name, pixels)
    elif isinstance(data, list):
        for value in data:
            _bounded(value, where, key, pixels)
    elif key in SIDES and isinstance(data, int | float) and not 0 < data <= (SIDE**2 if pixels else SIDE):
        raise R3labError(f"{where}: {key} is {shown(data)}; images may have sides of 1 to {SIDE:,} pixels")


def _of_torchvision(error: BaseException | None) -> bool:
    """Whether an error comes of torchvision, which is not there; some versions say so only in its cause."""
    while error is not None and "orchvision" not in str(error):
        error = error.__cause__ or error.__context__
    return error is not None


def lacks_torchvision(folder: Path) -> bool:
    """Whether the image processor of a folder wants torchvision, which is not there."""
    try:
        AutoImageProcessor.from_pretrained(folder, **SAFE)
    except (ImportError, ValueError, OSError) as error:  # another fault is told by what loads it
        return _of_torchvision(error)
    return False


def processor_in(folder: Path, tokenizer: Any) -> Any:
    """The processor of a folder, without its video half where torchvision, which that needs, is not installed.

    Raises
    ------
    R3labError
        If transformers has none for it.
    """
    kind = config_of(folder).model_type
    try:
        return AutoProcessor.from_pretrained(folder, **SAFE)
    except (ImportError, ValueError) as error:
        if not _of_torchvision(error):
            raise
    import transformers

    try:
        base = getattr(transformers, PROCESSOR_MAPPING_NAMES.get(kind, ""), None)
        image = AutoImageProcessor.from_pretrained(folder, **SAFE)
    except (ImportError, ValueError):
        raise R3labError(f"the image processor of {shown(kind)} needs torchvision: pip install torchvision") from None
    if base is None:
        raise R3labError(f"transformers has no processor for model type {shown(kind)}; install torchvision, or another")
    half = type(base.__name__, (base,), {"check_argument_for_proper_class": _or_none})
    parts = {"image_processor": image, "tokenizer": tokenizer}
    table = object_in(folder / OURS[1]) if (folder / OURS[1]).is_file() else {}
    more = {name: value for name, value in table.items() if isinstance(value, int) and name.endswith("seq_length")}
    return half(**{name: parts.get(name) for name in base.get_attributes()}, **more)


def _or_none(self: Any, name: str, argument: Any) -> Any:
    return None if argument is None else super(type(self), self).check_argument_for_proper_class(name, argument)


def _image_id(config: Any, tokenizer: Any, reader: Any) -> int:
    """Id of the token that stands for a part of an image."""
    for name in ("image_token_id", "image_token_index"):
        if isinstance(getattr(config, name, None), int):
            return int(getattr(config, name))
    token = getattr(reader, "image_token", None)
    if not isinstance(token, str):
        raise R3labError("neither config.json nor the processor says which token stands for an image")
    return int(tokenizer.convert_tokens_to_ids(token))


def _added(longer: str, shorter: str) -> str:
    """What is in the longer text and not in the shorter, which are alike before and after it."""
    same = next((i for i, (a, b) in enumerate(zip(longer, shorter, strict=False)) if a != b), len(shorter))
    return longer[same : same + len(longer) - len(shorter)]
