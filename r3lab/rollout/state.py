"""One row of the loop in progress: what a sampled token completes, and what the model must read next.

A `RolloutState` holds the record (`Trajectory`), reads the sampled text as it comes (`protocol.Scanner`), and queues
what the model has yet to read: the sampled token itself, and after it the crop of a box that was just closed or a short
message that says why there is none; the record's arm may want the whole image instead, or nothing. It knows no batches,
caches or sampling; `rollout` drives many of them.

    branch.take(token, logprob, entropy)     # -> branch.pending, branch.crop, branch.trajectory.finish
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image

from ..core.arms import FORCED, Arm, get_arm
from ..core.geometry import Box, clip, problem, to_source
from ..core.images import content_hash, cut, resize
from ..core.protocol import Event, Scanner, environment_message
from ..models.families import text_positions
from ..models.policy import Features, Policy
from ..trajectory import ImageRef, Kind, Look, Trajectory

Crops = Callable[[Image.Image], Image.Image]
NO_LOOK_LEFT = "no look left"  # what a policy is told that asks for more looks than it may have


@dataclass
class RolloutState:
    """A row in progress.

    Attributes
    ----------
    trajectory : the record, which carries its image
    max_looks, max_new_tokens : looks that it may take, and tokens that may be sampled for it
    noise : of its sampling
    position : M-RoPE position of the next token
    crops : what is shown in the place of a crop, of the same size; None: the crop
    pending : ids that the model has not read yet; empty when the row has ended
    pending_at : position of the first of them, the sampled token (or the first of the words that force a rollout)
    pending_positions : positions [(3, n)] of what follows it: most tokens have nothing, and cost no tensor
    images : features that the pending image tokens stand for
    crop : image of a pending crop that is still to be encoded
    """

    policy: Policy
    trajectory: Trajectory
    max_looks: int = 8
    max_new_tokens: int = 512
    noise: np.random.Generator = field(default_factory=np.random.default_rng)
    position: int = 0
    crops: Crops | None = None
    pending: list[int] = field(default_factory=list)
    pending_at: int = 0
    pending_positions: list[torch.Tensor] = field(default_factory=list)
    images: list[Features] = field(default_factory=list)
    crop: Image.Image | None = None
    arm: Arm = field(init=False)
    scanner: Scanner = field(init=False)
    end: int | None = field(init=False)  # id of the token that ends a text
    source: Image.Image = field(init=False)
    sampled: int = 0
    refused: bool = False  # has been told that no look is left
    fed: int = 0  # characters given to the scanner
    marks: list[tuple[int, int]] = field(default_factory=list)  # of sampled tokens: (first character, index)
    undecoded: list[int] = field(default_factory=list)  # tokens of a character that is not complete

    def __post_init__(self) -> None:
        self.arm = get_arm(self.trajectory.arm)
        self.scanner = Scanner(self.arm.marks)
        self.end = self.policy.tokenizer.eos_token_id
        self.source = self.trajectory.images[self.trajectory.image.hash]
        if self.trajectory.forced and self.trajectory.prompt_length == len(self.trajectory.ids):
            self.pending_at = self.position
            self._queue_text(self.policy.ids(FORCED[self.trajectory.forced]), Kind.ENVIRONMENT)
            self.pending_positions = [self.pending_positions[0][:, 1:]]  # the first has its position

    def _append(
        self, token: int, kind: Kind, piece: str, logprob: float | None = None, entropy: float | None = None
    ) -> None:
        t = self.trajectory
        t.ids.append(token)
        t.kinds.append(int(kind))
        t.pieces.append(piece)
        t.logprobs.append(logprob)
        t.entropies.append(entropy)

    def _queue_text(self, ids: list[int], kind: Kind) -> None:
        """Environment text: recorded, and waiting to be read."""
        for token in ids:
            self._append(token, kind, self.policy.piece(token))
        self.pending += ids
        self.pending_positions.append(text_positions(self.position, len(ids)))
        self.position += len(ids)

    @property
    def positions(self) -> torch.Tensor:
        """Positions (3, n) of all that is pending."""
        return torch.cat([text_positions(self.pending_at, 1), *self.pending_positions], dim=1)

    def take(self, token: int, logprob: float, entropy: float) -> None:
        """Record a sampled token; end the row, or queue what the model reads next."""
        t, policy = self.trajectory, self.policy
        self.sampled += 1
        self.undecoded.append(token)
        piece = policy.piece(token) if len(self.undecoded) == 1 else policy.tokenizer.decode(self.undecoded)
        if piece.endswith("\ufffd") and len(self.undecoded) < 8:
            piece = ""  # part of a character that the next tokens complete
        else:
            self.undecoded = []
        self.marks.append((self.fed, len(t.ids)))
        self._append(token, Kind.SAMPLED, piece, logprob, entropy)
        ended = token == self.end
        event = self.scanner.end() if ended else None  # before its own text: that is no part of an answer
        event = event or next(iter(self.scanner.feed(piece)), None)
        self.fed += len(piece)
        self.pending, self.pending_at, self.pending_positions = [token], self.position, []
        self.position += 1
        if event is not None and event.kind == "answer":
            t.answer = None if event.reason else event.text
            self._end("malformed" if event.reason else "answered")
        elif ended:
            self._end("malformed")
        elif self.sampled >= self.max_new_tokens:
            self._end("length")
        elif event is not None:
            self._look(event)

    def _end(self, finish: str) -> None:
        self.trajectory.finish = finish
        self.pending, self.pending_positions = [], []

    def _look(self, event: Event) -> None:
        """Queue the crop of a box that was just closed, or the reason why there is none."""
        t, policy = self.trajectory, self.policy
        span = (max(at for fed, at in self.marks if fed <= event.start), len(t.ids))
        source, box, reason = self.source.size, None, event.reason
        if event.values is not None:
            box = to_source(event.values, t.frame, source, t.overview)
            reason = reason or problem(box, source)
        if not reason and len(t.looks) >= self.arm.most(self.max_looks):
            reason = NO_LOOK_LEFT
            if self.refused:
                t.looks.append(Look(span, event.values, box, False, reason))
                self._end("looks")
                return
            self.refused = True
        if reason or box is None:
            t.looks.append(Look(span, event.values, box, False, reason))
            if self.arm.back != "nothing":
                self._queue_text(policy.ids(environment_message(reason)), Kind.ENVIRONMENT)
        elif self.arm.back == "crop":
            self.show(span, event.values, clip(box, source))
        elif self.arm.back == "overview":
            self.insert(Look(span, event.values, clip(box, source), True), resize(self.source, t.overview))
        else:
            t.looks.append(Look(span, event.values, clip(box, source), True))

    def show(self, span: tuple[int, int], written: Box | None, box: Box) -> None:
        """Queue the crop of a box (source pixels, inside the image)."""
        zoom, size = self.policy.crop_size(box, self.source.size)
        self.insert(Look(span, written, box, True, "", zoom), cut(self.source, box, size))

    def insert(self, look: Look, crop: Image.Image) -> None:
        """Queue a crop, whatever it shows, with sides that are multiples of the token size, and record the look."""
        t, policy = self.trajectory, self.policy
        crop = crop if self.crops is None else self.crops(crop)
        reference = ImageRef(content_hash(crop), *crop.size)
        t.images[reference.hash] = crop
        block = policy.block(crop)
        self._queue_text(block.before, Kind.ENVIRONMENT)
        start = len(t.ids)
        for token in block.inside:
            self._append(token, Kind.CROP, "")
        positions, after = policy.image_positions(self.position, *block.grid)
        self.pending += block.inside
        self.pending_positions.append(positions)
        self.position = after
        t.looks.append(replace(look, crop=reference, crop_span=(start, len(t.ids))))
        self._queue_text(block.after, Kind.ENVIRONMENT)
        self.crop = crop
