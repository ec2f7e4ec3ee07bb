"""A policy: a checkpoint with its tokenizer, its family and the few operations that the loop and training need.

    policy = Policy.load("assets/tiny/rgrpo")
    features = policy.encode([image])            # vision tower, once an image
    hidden = policy.hidden(policy.rows([row]))   # text model over whole sequences

Text goes in and out as token ids: nothing in r3lab turns sampled text into ids again.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from ..core.arms import INTERLEAVED, Arm
from ..core.errors import R3labError, shown
from ..core.files import recover, whole_folder
from ..core.geometry import Box, Frame, Size, crop_size, fit_tokens
from ..core.protocol import bare, question_text
from . import adapters, attention, families
from .cache import cache_name
from .checkpoint import SAFE, checkpoint_folder, config_of, object_in, quiet, read_weights, said
from .template import chat_frame

Weights = dict[str, torch.Tensor]  # by name


class Block(NamedTuple):
    """The tokens that show an image: marks before it, its own, marks after it; and (columns, rows) of its own."""

    before: list[int]
    inside: list[int]
    after: list[int]
    grid: Size

    @property
    def ids(self) -> list[int]:
        """All of them."""
        return [*self.before, *self.inside, *self.after]


@dataclass
class Features:
    """What the vision tower made of one image: tokens (n, D), DeepStack features [(n, D)], grid (columns, rows)."""

    tokens: torch.Tensor
    deep: list[torch.Tensor]
    grid: Size

    def detach(self) -> Features:
        """The same without a graph."""
        return Features(self.tokens.detach(), [d.detach() for d in self.deep], self.grid)


@dataclass
class Row:
    """One sequence: ids with a run of image tokens for each of its images, in order."""

    ids: list[int]
    images: list[Features]


@dataclass
class Rows:
    """Right-padded rows ready for the text model: ids (B, L), positions (3, B, L), lengths (B,), features in order."""

    ids: torch.Tensor
    positions: torch.Tensor
    lengths: torch.Tensor
    images: list[Features]


class Policy:
    """A vision-language model that the loop can drive; see the module's docstring.

    Examples
    --------
    >>> r3lab.Policy.load(r3lab.assets_dir() / "tiny" / "rgrpo").device.type in ("cpu", "cuda")
    True
    """

    plain = False  # True of a `plain.PlainPolicy`, which the model's own processor and cache run
    reason = ""  # why it takes that path

    def __init__(
        self, model: Any, tokenizer: PreTrainedTokenizerBase, processor: dict[str, Any], name: str = "policy"
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.processor = processor  # content of preprocessor_config.json
        self.files = {"preprocessor_config.json": processor}
        self.layout: families.Layout = families.read_layout(processor, model.config)
        self.name = name
        self.folder: Path | None = None  # where it was loaded from
        self.adapter: Any = None  # peft's configuration, if LoRA matrices were injected
        own = processor.get("r3lab") or {}
        self.step = int(own.get("coordinate_step", 1))  # written coordinates are multiples of this
        self.bare = own.get("prompt") == "bare"  # the prompt is the question alone
        self.family: families.Family = families.family_of(model.config.model_type)
        self.frame = Frame(own.get("frame", self.family.frame))  # in which it writes boxes
        self.image_id: int = model.config.image_token_id
        self.vision_start, self.vision_end, other = families.vision_marks(model.config, tokenizer, self.family)
        self.forbidden = sorted({self.image_id, *self.vision_start, *self.vision_end, *other})  # never sampled
        self._never = torch.tensor(self.forbidden)
        self._pieces: dict[int, str] = {}
        attention.select(model)

    # -- loading -------------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device | None = None, dtype: str | None = None) -> Policy:
        """Load a checkpoint folder in the ordinary Hugging Face format, or a LoRA adapter with the one it belongs to.

        Parameters
        ----------
        folder : path with config.json, *.safetensors, tokenizer and preprocessor_config.json, or with an adapter; or a
            name, see `checkpoint_folder`
        device : default CUDA if there is one, else the CPU
        dtype : "float32" on a CPU, "bfloat16" on CUDA, unless given

        Raises
        ------
        R3labError
            Naming the missing part.
        """
        folder = Path(folder)
        if not folder.is_dir():
            recover(folder)
        folder = checkpoint_folder(folder, fetch=False)
        if (folder / adapters.CONFIG).is_file() and not (folder / "config.json").is_file():
            base, config = adapters.base_folder(folder)
            policy = cls.load(base, device, dtype)
            adapters.inject(policy, config)
            adapters.restore_adapter(policy, folder)
            policy.name = folder.resolve().name
            return policy
        config = config_of(folder)
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        kind = getattr(torch, dtype) if dtype else (torch.bfloat16 if device.type == "cuda" else torch.float32)
        if families.why_plain(config):
            from . import PlainPolicy  # a policy too: it stands on this module

            return PlainPolicy.open(folder, device, kind)
        for file, what in (("tokenizer_config.json", "tokenizer"), ("preprocessor_config.json", "image processor")):
            if not (folder / file).is_file():
                raise R3labError(f"{folder} has no {file}: the {what} is missing; copy it into the folder")
        if not list(folder.glob("*.safetensors")):
            raise R3labError(f"{folder} has no *.safetensors weights; other weight formats are not loaded")
        processor = object_in(folder / "preprocessor_config.json")
        families.read_layout(processor, config)  # what it refuses need not be loaded
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **SAFE)
            model = read_weights(folder, kind).to(device)
            policy = cls(model.eval(), tokenizer, processor, name=folder.resolve().name)
            policy._try()
        except R3labError:
            raise
        except Exception as error:  # of three libraries, about files from elsewhere
            raise R3labError(f"cannot use the checkpoint in {folder}: {said(error)}; copy its files again") from None
        policy.folder = folder
        return policy

    @torch.no_grad()
    def _try(self) -> None:
        """Read the smallest image once: sizes that fit the weights and not each other fail here."""
        side = self.layout.tile or self.layout.factor
        [seen] = self.encode([Image.new("RGB", (side, side))])
        ids = [*self.vision_start, *[self.image_id] * len(seen.tokens), *self.vision_end]
        logits = self.logits(self.hidden(self.rows([Row(ids, [seen])])))
        if torch.isnan(logits).any() or len(self.tokenizer) > logits.shape[-1]:
            raise ValueError("the model's numbers are no numbers, or its vocabulary lacks tokens of the tokenizer")

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def frozen(self) -> Policy:
        """A copy whose weights will not change: the reference of a KL term."""
        model = copy.deepcopy(self.model).eval().requires_grad_(False)
        return Policy(model, self.tokenizer, self.processor, self.name)

    # -- text ----------------------------------------------------------------------------------------------------

    def piece(self, token: int) -> str:
        """The text of one token (tokens that are parts of a character give U+FFFD)."""
        if token not in self._pieces:
            self._pieces[token] = self.tokenizer.decode([token], skip_special_tokens=False)
        return self._pieces[token]

    def asked(self, question: str, overview: Size, arm: Arm = INTERLEAVED) -> str:
        """What it is asked: the question, and how to write a box and an answer unless the question is all."""
        text = bare(question)
        return text if self.bare else question_text(question, self.frame, overview, arm.opening, arm.closing)

    def ids(self, text: str) -> list[int]:
        """Token ids of text that the loop itself writes (never of sampled text)."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    # -- images --------------------------------------------------------------------------------------------------

    def overview_size(self, image: Size) -> Size:
        """Pixels (width, height) at which an image is looked at as a whole."""
        if self.layout.tile:
            return self.layout.tile, self.layout.tile
        return fit_tokens(image, self.layout.factor, *self.layout.overview_tokens)

    def block(self, crop: Image.Image) -> Block:
        """The tokens of a crop, whose sides are multiples of the token size."""
        columns, rows = crop.width // self.layout.factor, crop.height // self.layout.factor
        return Block(self.vision_start, [self.image_id] * (columns * rows), self.vision_end, (columns, rows))

    def crop_size(self, box: Box, source: Size) -> tuple[float, Size]:
        """Zoom of a look at a box in source pixels, and pixels (width, height) of its crop."""
        zoom, size = crop_size(box, source, self.layout.factor, *self.layout.crop_tokens)
        return zoom, (self.layout.tile, self.layout.tile) if self.layout.tile else size

    @property
    def vision(self) -> list[torch.nn.Module]:
        """The modules that make image tokens: the vision tower and what stands between it and the text model."""
        return [getattr(self.model.model, name) for name in self.family.vision]

    @property
    def text(self) -> Any:
        """The text model: embedding, layers, last norm."""
        return getattr(self.model.model, self.family.text)

    def text_parameters(self) -> list[torch.nn.Parameter]:
        """All but those of `vision`, or the adapter's: what is trained where the vision tower is frozen."""
        seen = {id(p) for module in self.vision for p in module.parameters()}
        return [p for p in self.model.parameters() if id(p) not in seen and p.requires_grad]

    def trained(self, freeze_vision: bool) -> list[torch.nn.Parameter]:
        """What training changes: `text_parameters`, or all weights."""
        return self.text_parameters() if freeze_vision else [p for p in self.model.parameters() if p.requires_grad]

    def encode(self, images: Sequence[Image.Image | np.ndarray]) -> list[Features]:
        """Run the vision tower over images whose sides are multiples of the token size; gradients as the caller set."""
        if not images:
            return []
        body, weight = self.model.model, next(self.vision[0].parameters())
        if self.family.tiles:
            square = families.tiles(images, self.layout).to(weight.device, weight.dtype)
            out = body.get_image_features(square[:, None] if self.family.tiles.nested else square, return_dict=True)
            side = self.layout.tile // self.layout.factor
            return [Features(tokens, [], (side, side)) for tokens in out.pooler_output]
        pixels, grids = families.patchify(images, self.layout)
        out = body.get_image_features(pixels.to(weight.device, weight.dtype), grids.to(weight.device), return_dict=True)
        deep = list(getattr(out, "deepstack_features", None) or [])
        m = self.layout.merge
        return [
            Features(tokens, [d[i] for d in deep], (int(grids[i, 2]) // m, int(grids[i, 1]) // m))
            for i, tokens in enumerate(out.pooler_output)
        ]

    def bundle(self, features: Sequence[Features]) -> Any:
        """Features in placeholder order, in the form that the model takes as `mm_encoder_outputs["image"]`."""
        tokens = [f.tokens for f in features]
        if not self.family.deepstack:
            return BaseModelOutputWithPooling(pooler_output=torch.cat(tokens) if self.family.tiles else tokens)
        depth = len(features[0].deep)
        deep = [[f.deep[k] for f in features] for k in range(depth)]
        return BaseModelOutputWithDeepstackFeatures(pooler_output=tokens, deepstack_features=deep)

    # -- whole sequences -----------------------------------------------------------------------------------------

    def positions(self, row: Row) -> torch.Tensor:
        """M-RoPE positions (3, L) of a row; three times the same in a family that counts as text does."""
        if self.family.tiles:
            return families.text_positions(0, len(row.ids))
        parts, start, at, images = [], 0, 0, iter(row.images)
        while at < len(row.ids):
            if row.ids[at] == self.image_id:
                columns, rows = next(images).grid
                block, start = families.image_positions(start, columns, rows)
                parts.append(block)
                at += columns * rows
            else:
                end = at
                while end < len(row.ids) and row.ids[end] != self.image_id:
                    end += 1
                parts.append(families.text_positions(start, end - at))
                start += end - at
                at = end
        return torch.cat(parts, dim=1)

    def rows(self, rows: Sequence[Row]) -> Rows:
        """Pad rows on the right; the padding is never seen because attention is causal."""
        return self.padded([row.ids for row in rows], [self.positions(row) for row in rows], [r.images for r in rows])

    def padded(
        self, ids: Sequence[Sequence[int]], positions: Sequence[torch.Tensor], images: Sequence[list[Features]] = ()
    ) -> Rows:
        """Stretches of ids with their positions (3, n), padded on the right."""
        width = max(map(len, ids))
        found = torch.full((len(ids), width), self.tokenizer.pad_token_id or 0, dtype=torch.int64)
        places = torch.zeros((3, len(ids), width), dtype=torch.int64)
        for i, (own, at) in enumerate(zip(ids, positions, strict=True)):
            found[i, : len(own)] = torch.tensor(own)
            places[:, i, : len(own)] = at
        lengths = torch.tensor([len(own) for own in ids])
        return Rows(found.to(self.device), places.to(self.device), lengths, [f for own in images for f in own])

    def image_positions(self, start: int, columns: int, rows: int) -> tuple[torch.Tensor, int]:
        """Positions (3, columns * rows) of an image at `start`, and the position at which the text goes on."""
        if self.family.tiles:
            return families.text_positions(start, columns * rows), start + columns * rows
        return families.image_positions(start, columns, rows)

    def read(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        images: Sequence[Features],
        cache: Any = None,
        **more: Any,
    ) -> torch.Tensor:
        """Last hidden states (B, L, D) of ids (B, L) at positions (3, B, L), `images` in placeholder order; they are
        read behind what the `cache`, a `SlotCache`, holds, and written into it."""
        extra: dict[str, Any] = {"mm_encoder_outputs": {"image": self.bundle(images)}} if images else {}
        places = positions[0] if self.family.tiles else positions
        if cache is not None:
            extra[cache_name(type(self.model.model))] = cache
        more = {"use_cache": cache is not None, **more}
        return self.model.model(input_ids=ids, position_ids=places, **extra, **more).last_hidden_state

    def hidden(self, rows: Rows) -> torch.Tensor:
        """Last hidden states (B, L, D) of whole rows, without a cache."""
        return self.read(rows.ids, rows.positions, rows.images)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (..., V) in float32, with the ids that must never be sampled at minus infinity."""
        logits = self.model.lm_head(hidden).float()
        self._never = self._never.to(logits.device)
        return logits.index_fill_(-1, self._never, float("-inf"))


def draw(logits: torch.Tensor, temperature: float, noise: Sequence[np.random.Generator]) -> list[list[Any]]:
    """Draw a token a row: the best at temperature 0, else by the inverse of the cumulative distribution.

    Parameters
    ----------
    logits : (R, V); minus infinity where a token must not be drawn
    noise : of each row, which gives one uniform number unless the temperature is 0

    Returns
    -------
    tokens, their log-probabilities (at temperature 1 where it is 0), and entropies in nats, R of each
    """
    uniform = torch.tensor([[one.random()] for one in noise], dtype=torch.float64) if temperature else None
    drawn = choose(logits, temperature, None if uniform is None else uniform.to(logits.device))
    return [part.tolist() for part in drawn]


def choose(
    logits: torch.Tensor, temperature: float, uniform: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`draw`, with the numbers (R, 1) float64 of the rows and no other, where the logits are: nothing is read back."""
    logp = torch.log_softmax(logits if temperature in (0, 1) else logits / temperature, dim=-1)
    shares = logp.exp()
    if uniform is None:
        chosen = logp.argmax(-1)
    else:
        total = shares.cumsum(-1, dtype=torch.float64)
        chosen = torch.searchsorted(total, uniform * total[:, -1:], right=True)[:, 0]
        chosen = chosen.clamp(max=logp.shape[-1] - 1)
    return chosen, logp.gather(1, chosen[:, None])[:, 0], torch.special.entr(shares).sum(-1)


def control_token(policy: Policy, text: str) -> str | None:
    """The first of the model's control tokens that a text holds, which would change who says what; None if none."""
    control = {*policy.forbidden, *policy.tokenizer.all_special_ids}
    return next((policy.piece(token) for token in policy.ids(text) if token in control), None)


def check_template(policy: Policy) -> None:
    """Raise `R3labError` if the checkpoint does not say how a question on one image is put to it."""
    if not policy.tokenizer.chat_template:
        raise R3labError(f"The checkpoint {shown(policy.name)} has no chat template; copy chat_template.jinja into it.")
    if not policy.plain and policy.ids("".join(chat_frame(policy.tokenizer))).count(policy.image_id) != 1:
        raise R3labError("The chat template does not place one image; copy the checkpoint's original template.")


def refusal(policy: Policy, question: str, size: Size) -> str:
    """Why a policy cannot be asked a question on an image of that size; "" if it can."""
    try:
        text = bare(question)
        policy.overview_size(size)  # a strip is too thin for it
    except R3labError as error:
        return str(error)
    found = control_token(policy, text)
    return f"the question holds {shown(found)}, a control token of the policy" if found else ""


def save_policy(policy: Policy, folder: str | Path, half: bool = False, weights: Weights | None = None) -> Path:
    """Write a checkpoint in the ordinary Hugging Face format, replacing an older one only when all of it is written.

    Of a policy with LoRA matrices these alone are written, in peft's format.

    Parameters
    ----------
    half : store float16 (and round the weights in memory); config.json keeps the dtype in which they are computed
    weights : all of them, by name, of a policy that holds parts of them (`processes.whole_weights`)

    Raises
    ------
    R3labError
        If the folder cannot be written, or another process is writing to it; what was there before is whole.
    """
    with whole_folder(folder, replace=True, durable=True) as part:
        write_policy(policy, part, half, weights)
    return Path(folder)


def write_policy(policy: Policy, folder: Path, half: bool = False, weights: Weights | None = None) -> None:
    """`save_policy` into a folder that is there: weights, configuration, tokenizer and processor, or the adapter."""
    if policy.adapter is not None:
        return adapters.save_adapter(policy, folder)
    computed = next(policy.model.parameters()).dtype
    if half:  # rounded in place: what is measured afterwards is what is stored
        with torch.no_grad():
            for parameter in policy.model.parameters():
                parameter.copy_(parameter.half().to(parameter.dtype))
        policy.model.half()
    try:
        with quiet(sum(p.nbytes for p in policy.model.parameters())):
            policy.model.save_pretrained(folder, state_dict=weights)
    finally:
        policy.model.to(computed)
    config = json.loads((folder / "config.json").read_text())
    for part in (config, config.get("text_config", {}), config.get("vision_config", {})):
        part["dtype"] = str(computed).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    policy.tokenizer.save_pretrained(folder)
    words = json.loads((folder / "tokenizer_config.json").read_text())
    for name in ("is_local", "local_files_only", "use_safetensors", "trust_remote_code"):  # how it was loaded: no trace
        words.pop(name, None)
    (folder / "tokenizer_config.json").write_text(json.dumps(words, indent=2, ensure_ascii=False) + "\n")
    for name, data in policy.files.items():
        (folder / name).write_text(json.dumps(data, indent=2) + "\n")


@contextmanager
def reading(policy: Policy) -> Iterator[None]:
    """The model in evaluation mode inside, afterwards as it was."""
    was_training = policy.model.training
    policy.model.eval()
    try:
        yield
    finally:
        policy.model.train(was_training)


@contextmanager
def checkpointed(policy: Policy, layers: int) -> Iterator[None]:
    """Gradient checkpointing of the text model's first layers inside; transformers does it in training mode alone."""
    if not layers:
        yield
        return
    model, was_training = policy.model, policy.model.training
    new = hasattr(model, "activation_checkpointing_enable")  # its newer name in transformers
    enable = model.activation_checkpointing_enable if new else model.gradient_checkpointing_enable
    disable = model.activation_checkpointing_disable if new else model.gradient_checkpointing_disable
    enable({"use_reentrant": False})
    for layer in policy.text.layers[layers:]:
        layer.gradient_checkpointing = False
    model.train()
    try:
        yield
    finally:
        disable()
        model.train(was_training)
