"""LoRA: train small matrices beside the text model's weights, and keep those alone (peft, of the extra `scale`).

The matrices are injected in place, so that everything in r3lab works on the policy as before. An adapter is saved in
peft's own format, with the folder of the checkpoint that it belongs to. Source: LoRA (arXiv 2106.09685).

    add_lora(policy, rank=16)
    with without_adapter(policy):
        ...                        # the policy as it was: the reference of a KL term
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..core.errors import R3labError, shown
from ..core.records import Read, between, fields, number, of, row, text
from .checkpoint import object_in

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LAYERS = r".*(language_model|text_model)\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
PREFIX = "base_model.model."  # of names in peft's files
_NAMES = row(of("a name of modules", lambda value: isinstance(value, str) and value.isidentifier()), 64)
PLAIN: dict[str, Read] = {  # of adapter_config.json
    "r": between(1, 1024),
    "lora_alpha": number,
    "base_model_name_or_path": text,
    "target_modules": lambda value, where: value if value == LAYERS else _NAMES(value, where),  # no other expression
}
IGNORED = {  # without effect on what a trained adapter computes
    *("auto_mapping", "inference_mode", "init_lora_weights", "lora_dropout", "peft_type", "peft_version", "revision"),
    "task_type",
}


class Adaptable(Protocol):
    """What of a policy LoRA matrices are injected into."""

    model: Any
    adapter: Any
    folder: Path | None


def _peft() -> Any:
    try:
        import peft
    except ModuleNotFoundError:
        raise R3labError('LoRA needs peft: pip install "r3lab[scale]"') from None
    return peft


def add_lora(policy: Adaptable, rank: int, alpha: float = 0.0, seed: int = 0) -> None:
    """Freeze the policy and inject LoRA matrices into its text model, in place.

    Parameters
    ----------
    rank : of the matrices
    alpha : their product is multiplied by alpha / rank; 0: twice the rank
    seed : of the first matrices; the second ones are zero, so that the policy is unchanged at first

    Raises
    ------
    R3labError
        If peft is missing, or the policy was not loaded from a folder (an adapter must name it).
    """
    if policy.folder is None:
        raise R3labError("LoRA needs a policy that was loaded from a folder: the adapter's files name it")
    config = _peft().LoraConfig(
        r=rank,
        lora_alpha=alpha or 2 * rank,
        target_modules=LAYERS,
        base_model_name_or_path=str(policy.folder.resolve()),
    )
    torch.manual_seed(seed)
    inject(policy, config)


def inject(policy: Adaptable, config: Any) -> None:
    """Put matrices of a peft configuration into the policy that they belong to; they alone are trained then."""
    policy.model.requires_grad_(False)
    _peft().inject_adapter_in_model(config, policy.model)
    for parameter in adapter_parameters(policy).values():
        parameter.data = parameter.data.float()  # small steps are lost in bfloat16
        parameter.requires_grad_(True)
    policy.adapter = config


def adapter_parameters(policy: Adaptable) -> dict[str, torch.nn.Parameter]:
    """The matrices by their names in peft's files."""
    named = policy.model.named_parameters()
    return {PREFIX + name.replace(".default.", "."): p for name, p in named if ".lora_" in name}


def save_adapter(policy: Adaptable, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors."""
    policy.adapter.save_pretrained(folder)
    tensors = {name: p.detach().cpu().contiguous() for name, p in adapter_parameters(policy).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def restore_adapter(policy: Adaptable, folder: Path) -> None:
    """Put saved matrices into a policy that has an adapter of the same shape."""
    try:
        found = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise R3labError(f"cannot read {folder / WEIGHTS}: {error}; copy the file again") from None
    own = adapter_parameters(policy)
    wrong = sorted(set(found) ^ set(own)) or [n for n in own if found[n].shape != own[n].shape]
    if wrong:
        raise R3labError(f"the adapter in {folder} is of another shape ({wrong[0]}); take the rank it was made with")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(found[name])


def base_folder(folder: Path) -> tuple[Path, Any]:
    """The checkpoint that an adapter belongs to, and the adapter's configuration.

    Of peft's many fields those of plain LoRA are read; one that asks for more than that is refused.
    """
    record = object_in(folder / CONFIG)
    read = fields(record, PLAIN, where=str(folder / CONFIG))
    config = _peft().LoraConfig(**read)
    ordinary = config.to_dict()
    for name in sorted(record.keys() - PLAIN - IGNORED):
        if record[name] and record[name] != ordinary.get(name):
            raise R3labError(f"{folder / CONFIG}: {shown(name)} is set; r3lab runs plain LoRA adapters without it")
    base = Path(read["base_model_name_or_path"])
    if not (base / "config.json").is_file():
        raise R3labError(
            f"the adapter in {folder} belongs to the checkpoint in {base}, which is not there; put it back, or write "
            f"its new place into base_model_name_or_path in {CONFIG}"
        )
    return base, config


@contextmanager
def without_adapter(policy: Adaptable) -> Iterator[None]:
    """The policy without its LoRA matrices; nothing happens if it has none."""
    if policy.adapter is None:
        yield
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [m for m in policy.model.modules() if isinstance(m, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
