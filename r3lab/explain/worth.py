"""What a look would have been worth at another place: windows over the photograph, each replayed; and foretold.

    value_map(policy, trajectory, look=0).regret                 # the best window that it could have had
    WorthHead.of(policy).foretell(policy, trajectory, look=0)    # the order of places, from reading the record

A value map replays hundreds of windows. A `WorthHead` is a small network that learned from such maps of training
samples (`fit_head`) what two forward passes show of them: the attention that the coordinates of the box pay to each
token of the overview, head by head, and that token's state. It tells the *order* of places, not nats, and only of the
policy that it was fitted on; its file lies in that policy's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm import tqdm

from ..core.errors import R3labError, shown
from ..core.geometry import Box, Size, coverage
from ..models.policy import Features, Policy, reading
from ..rollout.sequence import row_of
from ..trajectory import Trajectory
from .explanation import HeatMap
from .interventions import NOTHING, Alternative, regions_of, replay, with_crop
from .rows import OVERVIEW, rows

AT_ONCE = 64  # windows of a value map that are replayed together: what they hold is the peak of an explanation
HEAD = "worth_head.safetensors"  # in the folder of the policy that it belongs to
LITTLE = 1e-4  # attention below it is noise


@dataclass(frozen=True)
class Window:
    """Where a look could have been: its box, its worth in nats, and how much of the true region it covers."""

    box: Box
    worth: float
    coverage: float | None


@dataclass(frozen=True)
class ValueMap:
    """What a look would have been worth at each place.

    Attributes
    ----------
    windows : every window, scale by scale, row by row
    taken : worth of the box that was looked at
    nothing : log-probability in nats without any crop, from which worth is counted
    source : width and height of the source image in pixels
    """

    windows: list[Window]
    taken: float
    nothing: float
    source: Size

    @property
    def best(self) -> Window:
        """The window of most worth."""
        return max(self.windows, key=lambda window: window.worth)

    @property
    def regret(self) -> float:
        """What the best window is worth above the look that was taken, in nats; 0 where none is better."""
        return max(0.0, self.best.worth - self.taken)

    def heat(self, cells: int = 64) -> np.ndarray:
        """Mean worth of the windows over each cell, (rows, columns) float32; the longer side has `cells`."""
        scale = cells / max(self.source)
        columns, rows = (max(1, round(side * scale)) for side in self.source)
        total, count = np.zeros((rows, columns)), np.zeros((rows, columns))
        for window in self.windows:
            x1, y1, x2, y2 = (v * scale for v in window.box)
            part = (slice(int(y1), max(int(y1) + 1, round(y2))), slice(int(x1), max(int(x1) + 1, round(x2))))
            total[part] += window.worth
            count[part] += 1
        return (total / np.maximum(count, 1)).astype(np.float32)

    def as_map(self) -> HeatMap:
        """`heat` as a map that knows its pixels."""
        return HeatMap(self.heat(), (0.0, 0.0, float(self.source[0]), float(self.source[1])), self.source)


def windows_of(box: Box, source: Size, scales: Sequence[float] = (1.0, 2.0), overlap: float = 0.5) -> list[Box]:
    """Boxes of the size of a look, and of a multiple of it, that cover the image with this overlap."""
    found: list[Box] = []
    for scale in scales:
        sides = [min(float(s), scale * (box[i + 2] - box[i])) for i, s in enumerate(source)]
        starts = []
        for length, side in zip(source, sides, strict=True):
            steps = max(1, int(np.ceil((length - side) / (side * (1 - overlap)) - 1e-9)) + 1)
            starts.append(np.linspace(0, length - side, steps).tolist())
        found += [(x, y, x + sides[0], y + sides[1]) for y in starts[1] for x in starts[0]]
    return found


def value_map(
    policy: Policy,
    trajectory: Trajectory,
    look: int,
    scales: Sequence[float] = (1.0, 2.0),
    features: dict[str, Features] | None = None,
) -> ValueMap:
    """What a look would have been worth at each place of a sliding grid.

    Worth is the log-probability, in nats, of the words with the right answer (of the answer given, where none is
    known), above that without any crop. `features` is read and not filled: crops of hundreds of windows are let go.
    """
    own, source = with_crop(trajectory, look), (trajectory.image.width, trajectory.image.height)
    assert own.box is not None
    boxes = [own.box, *windows_of(own.box, source, scales)]
    wanted = [Alternative(NOTHING), *(Alternative(f"window {n}", box=b) for n, b in enumerate(boxes))]
    some = (wanted[at : at + AT_ONCE] for at in range(0, len(wanted), AT_ONCE))
    found = (replay(policy, trajectory, look, one, dict(features or {}), answers=False) for one in some)
    outcomes = list(chain.from_iterable(found))
    worth = [o.given if o.right is None else o.right for o in outcomes]
    regions = regions_of(trajectory)
    windows = [
        Window(b, w - worth[0], max(coverage(b, r) for r in regions) if regions else None)
        for b, w in zip(boxes[1:], worth[2:], strict=True)
    ]
    return ValueMap(windows, worth[1] - worth[0], worth[0], source)


# -- foretold ----------------------------------------------------------------------------------------------------------


def seen_of(
    policy: Policy, trajectory: Trajectory, look: int, features: dict[str, Features] | None = None
) -> tuple[torch.Tensor, HeatMap]:
    """What a `WorthHead` sees of a look, (channels, rows, columns) float32: of each token of the overview the
    logarithm of the attention from the box's coordinates in every head of every layer, its last state, and its place;
    and a map of its cells, empty."""
    store: dict[str, Features] = {} if features is None else features
    found = rows(policy, trajectory, features=store)
    numbers = found.box_rows(look)
    if not numbers:
        raise R3labError(f"the box of look {look} has no coordinates to read from; nothing can be foretold of it")
    attention = found.on(OVERVIEW)[:, :, numbers].mean(2).flatten(0, 1)  # (layers * heads, tokens)
    start, end = found.spans[OVERVIEW]
    with torch.no_grad(), reading(policy):
        state = policy.hidden(policy.rows([row_of(policy, trajectory, store)]))[0, start:end].T.float().cpu()
    image = found.images[OVERVIEW]
    columns, height = image.grid
    x, y = (torch.arange(n).add(0.5).div(n) for n in (columns, height))
    place = torch.stack([x.repeat(height), y.repeat_interleave(columns)])
    seen = torch.cat([attention.clamp_min(LITTLE).log(), state, place]).view(-1, height, columns)
    return seen, HeatMap(np.zeros((height, columns), dtype=np.float32), image.box, found.source)


def order_of(value: ValueMap, cells: Sequence[Box]) -> torch.Tensor:
    """Ranks of the worth of a look at cells, (cells,) float32 from -0.5 to 0.5."""
    heat = value.as_map()
    worth = torch.tensor([heat.inside(cell) for cell in cells], dtype=torch.float64)
    return (worth.argsort().argsort() / max(1, len(worth) - 1) - 0.5).float()


class WorthHead(nn.Module):
    """Foretells the order of places by the worth of a look there: convolutions over what one reading shows (`seen_of`).

    Parameters
    ----------
    channels : heads of all layers, width of the text model, and two of the place
    width : of its hidden layers
    drop : share of channels that are left out while it learns
    """

    def __init__(self, channels: int, width: int = 64, drop: float = 0.3) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.spread: torch.Tensor
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("spread", torch.ones(channels, 1, 1))
        layers: list[nn.Module] = []
        for before, size in ((channels, 1), (width, 3), (width, 3)):
            layers += [nn.Dropout2d(drop), nn.Conv2d(before, width, size, padding=size // 2), nn.GELU()]
        self.net = nn.Sequential(*layers, nn.Conv2d(width, 1, 1))

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """(B, channels, rows, columns) to ranks (B, rows, columns), about -0.5 to 0.5."""
        return self.net((seen - self.mean) / self.spread)[:, 0]

    @torch.no_grad()
    def foretell(
        self, policy: Policy, trajectory: Trajectory, look: int, features: dict[str, Features] | None = None
    ) -> HeatMap:
        """The map of a look: no unit, only the order of its cells counts."""
        seen, cells = seen_of(policy, trajectory, look, features)
        if len(seen) != len(self.mean):
            raise R3labError(
                f"the worth head was fitted on {len(self.mean)} channels, and {shown(policy.name)} has {len(seen)}: it "
                "belongs to another policy; fit one with `fit_head`"
            )
        return HeatMap(self.eval()(seen[None])[0].numpy(), cells.box, cells.source)

    def save(self, folder: Path) -> Path:
        """Write it into the folder of its policy."""
        path = folder / HEAD
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, path)
        return path

    @classmethod
    def load(cls, folder: Path) -> WorthHead:
        """Read the one of a policy's folder.

        Raises
        ------
        R3labError
            If there is none, or the file is none of a worth head.
        """
        path = folder / HEAD
        try:
            held = load_file(path)
            head = cls(len(held["mean"]), len(held["net.1.bias"]))
            head.load_state_dict(held)
        except (OSError, KeyError, RuntimeError, SafetensorError) as error:
            raise R3labError(f"{path} is no worth head ({shown(str(error), 120)}); fit one with `fit_head`") from None
        return head.eval()

    @classmethod
    def of(cls, policy: Policy) -> WorthHead | None:
        """The one in the folder that a policy was loaded from; None if there is none."""
        return cls.load(policy.folder) if policy.folder is not None and (policy.folder / HEAD).is_file() else None


def fit_head(
    policy: Policy,
    looks: Sequence[tuple[Trajectory, int]],
    epochs: int = 30,
    rate: float = 1e-3,
    seed: int = 0,
    progress: bool = True,
) -> WorthHead:
    """Learn to foretell a policy's value maps; hundreds of looks are wanted, each is replayed (a second or two).

    Parameters
    ----------
    looks : trajectories of *training* samples, on pictures of one grid, each with the number of a look that has a crop
    epochs : passes over them

    Raises
    ------
    R3labError
        If there are none, or their grids differ.
    """
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    for t, look in tqdm(looks, desc="value maps", disable=not progress, mininterval=1):
        store: dict[str, Features] = {}
        value = value_map(policy, t, look, features=store)
        seen, cells = seen_of(policy, t, look, store)
        found.append((seen, order_of(value, cells.cells()).view(seen.shape[1:])))
    grids = {tuple(seen.shape) for seen, _ in found}
    if len(grids) != 1:
        raise R3labError(f"a worth head learns from looks on one grid of tokens, got {len(grids)}: {shown(grids)}")
    every, orders = (torch.stack(some) for some in zip(*found, strict=True))
    return learned(every, orders, epochs, rate, seed)


def learned(seen: torch.Tensor, order: torch.Tensor, epochs: int, rate: float, seed: int) -> WorthHead:
    """A head that was fitted on what is seen (N, channels, rows, columns), and ranks (N, rows, columns)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = WorthHead(seen.shape[1])
        head.mean.copy_(seen.mean((0, 2, 3), keepdim=True)[0])
        head.spread.copy_(seen.std((0, 2, 3), keepdim=True)[0] + 1e-3)
        optimiser = torch.optim.AdamW(head.parameters(), rate, weight_decay=0.1)
        fall = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, epochs)
        with torch.enable_grad():
            for _ in range(epochs):
                for some in torch.randperm(len(seen)).split(16):
                    loss = (head(seen[some]) - order[some]).square().mean()
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                fall.step()
    return head.eval()
