"""Be the policy: boxes are read strictly, looks are scored as the explanation scores them, nothing is given away."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
from PIL import Image
from seen import ATTACK, KINDS, Seen

from r3lab.cli.ask import Asked
from r3lab.core.errors import R3labError
from r3lab.core.geometry import iou
from r3lab.core.images import content_hash, cut
from r3lab.explain.interventions import TAKEN, Alternative
from r3lab.explain.interventions import replay as replayed
from r3lab.explain.worth import value_map, windows_of
from r3lab.models.policy import Policy
from r3lab.rollout.loop import rollout
from r3lab.run.notebook import run_notebook
from r3lab.show import play_turn
from r3lab.show.play import TITLES, Game, Play, be_the_policy, board, kept, pictures, somebody_is_there, table
from r3lab.show.play_turn import (
    LEAST,
    OPENING,
    Session,
    Turn,
    likeliest,
    outcome_words,
    read_box,
    rewards_words,
    scales_of,
)
from r3lab.train.rewards import score, true_region
from r3lab.trajectory import Kind
from r3lab.vlir.sample import Sample
from r3lab.vlir.worlds import get_world

SIZE = (512, 384)
BLANK = Image.new("RGB", (512, 512), "white")
PLAIN = {"div", "p", "img", "table", "thead", "tbody", "tr", "th", "td", "bdi"}  # elements that do nothing
Asking = dict[bool, list[Sample]]  # by whether the policy looks at them of its own accord


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps of few windows, so that tests take seconds, and few of them at once, so that they take several slices."""
    monkeypatch.setattr(play_turn, "SCALES", (5.0,))
    monkeypatch.setattr(play_turn, "BLOCK", 2)


@pytest.fixture(scope="module")
def asked(shipped: Policy) -> Asking:
    """Samples that the shipped policy answers."""
    samples = [get_world("badges").sample("test", i) for i in range(16)]
    found: Asking = {True: [], False: []}
    for sample, t in zip(samples, rollout(shipped, samples, temperature=0, max_new_tokens=96), strict=True):
        if t.answer is not None:
            found[any(look.crop for look in t.looks)].append(sample)
    assert len(found[True]) >= 2 and len(found[False]) >= 2, "the shipped policy looks always, or never"
    return found


# Boxes.


@pytest.mark.parametrize(
    ("given", "size", "wanted"),
    [
        ((10.5, 20.25, 50.0, 60.0), SIZE, (10.5, 20.25, 50, 60)),
        ([-5, -9, 50, 60], SIZE, (0, 0, 50, 60)),
        ([500, 300, 1e9, 1e9], SIZE, (500, 300, 512, 384)),
        ([0, 0, LEAST, LEAST], SIZE, (0, 0, LEAST, LEAST)),
        ([0, 0, 4000, 3000], (4000, 3000), (0, 0, 4000, 3000)),
    ],
)
def test_a_box_is_read_and_clipped(given: object, size: tuple[int, int], wanted: tuple[float, ...]) -> None:
    assert read_box(given, size) == pytest.approx(wanted)


@pytest.mark.parametrize(
    "given",
    [
        *(None, 7, "10,20,50,60", {}, {"x": 1}, [], [1, 2, 3], [1, 2, 3, 4, 5], [[1, 2, 3, 4]]),
        *(["1", 2, 30, 40], [True, 2, 30, 40], [None] * 4, [1, 2, 30, [40]]),
        *([math.nan, 2, 30, 40], [1, 2, math.inf, 40], [1, 2, 10**400, 40], [-math.inf, 0, math.inf, 9]),
        *([50, 20, 10, 60], [10, 60, 50, 20], [10, 20, 10, 60], [10, 20, 50, 20]),
        *([600, 20, 700, 60], [10, -60, 50, -20], [510, 20, 700, 60], [10, 20, 12, 60], [10, 20, 50, 22]),
        ["<img src=x onerror=alert(1)>" * 999] * 4,
    ],
)
def test_what_is_no_box_is_refused_in_a_line(given: object) -> None:
    with pytest.raises(R3labError) as error:
        read_box(given, SIZE)
    assert 20 < len(str(error.value)) < 250 and "\n" not in str(error.value)
    with pytest.raises(R3labError, match="200 times"):  # a strip
        read_box([0, 0, 4000, 5], (4000, 3000))


# A turn.


def test_the_policys_own_box_gives_the_policys_own_result(shipped: Policy, asked: Asking) -> None:
    one = Turn(shipped, asked[True][0])
    assert one.taken and one.policys.box == one.box and one.policys.right > one.without
    mine = one.look(one.box)
    assert mine.trajectory.answer == one.own.answer and mine.right == pytest.approx(one.policys.right, abs=1e-4)
    assert mine.trajectory.ids == one.own.ids and mine.reward == pytest.approx(one.policys.reward)
    with pytest.raises(R3labError, match="has been played"):
        one.look(one.box)
    with pytest.raises(R3labError, match="has been played"):
        one.no_look()


def test_of_a_wrong_answer_the_right_one_is_what_counts(shipped: Policy, asked: Asking) -> None:
    """Told another truth, the policy is wrong, sure of what it wrote, and its choice is worth what the truth is."""
    sample = asked[True][0]
    other = str((int(sample.answer) + 1) % 10)
    right, wrong = Turn(shipped, sample), Turn(shipped, replace(sample, answer=other))
    assert wrong.policys.rewards["accuracy"] == 0 and wrong.own.answer == sample.answer
    [outcome] = replayed(shipped, wrong.own, wrong.at, [Alternative(TAKEN, box=wrong.box)], answers=False)
    assert outcome.right is not None and outcome.right < outcome.given - 1
    assert wrong.policys.right == pytest.approx(outcome.right, abs=1e-3)
    assert right.policys.right == pytest.approx(outcome.given, abs=1e-3)


def test_a_look_is_cut_by_the_loops_rule_and_follows_the_same_words(shipped: Policy, asked: Asking) -> None:
    sample = asked[True][0]
    one = Turn(shipped, sample)
    region = true_region(one.own)
    assert region is not None
    box = (max(0.0, region[0] - 9), max(0.0, region[1] - 3), region[2], region[3])
    mine = one.look(box)
    zoom, size = shipped.crop_size(box, sample.image.size)
    look = mine.look
    assert look is not None and look.crop is not None and look.box == box and look.zoom == zoom
    assert look.crop.hash == content_hash(cut(sample.image, box, size))
    start = one.record.looks[one.at].span[1]
    assert mine.trajectory.ids[:start] == one.own.ids[:start]
    assert mine.overlap == pytest.approx(iou(box, region))
    assert mine.rewards == score(mine.trajectory, "grounded")


def test_no_look_has_no_crop_and_costs_nothing(shipped: Policy, asked: Asking) -> None:
    for taken in (True, False):
        one = Turn(shipped, asked[taken][0])
        none = one.no_look()
        assert none.look is None and none.overlap is None and none.right == one.without
        assert Kind.CROP not in none.trajectory.kinds
        assert none.rewards["look cost"] == 0 and none.rewards["region"] == 0
    assert none.trajectory is one.own  # a policy that does not look goes on as it did


def test_where_the_policy_does_not_look_it_is_made_to(shipped: Policy, asked: Asking) -> None:
    one = Turn(shipped, asked[False][0])
    t, look = one.record, one.record.looks[one.at]
    start = look.span[0]
    assert not one.taken and one.policys.box is None and one.policys.right == one.without
    assert t.ids[:start] == one.own.ids[:start] and start == likeliest(shipped, one.own, {})
    assert "".join(t.pieces[start : look.span[1]]).startswith(OPENING) and look.crop is not None
    assert one.without > math.log(0.5) or one.own.answer != one.own.truth["answer"]  # greedy, and right
    mine = one.look((100.0, 100.0, 200.0, 220.0))
    assert mine.look is not None and mine.look.box == (100, 100, 200, 220) and "look cost" in mine.rewards


def test_a_policy_that_writes_no_box_where_it_is_made_to_is_left_out(
    shipped: Policy, asked: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = play_turn.resume

    def silent(policy: Policy, begun: Any, **more: Any) -> Any:
        return [replace(t, looks=[], answer=None, finish="length") for t in real(policy, begun, **more)]

    monkeypatch.setattr(play_turn, "resume", silent)
    with pytest.raises(R3labError, match="looks nowhere"):
        Turn(shipped, asked[False][0])


def test_the_map_is_that_of_the_explanation(shipped: Policy, asked: Asking) -> None:
    one = Turn(shipped, asked[True][1])
    shares = list(one.measure())
    assert one.map is not None and shares == sorted(shares) and shares[-1] == 1 and len(shares) > 1
    known = value_map(shipped, one.own, one.at, scales=(5.0,))
    assert [w.box for w in one.map.windows] == [w.box for w in known.windows]
    ours, theirs = ([w.worth for w in found.windows] for found in (one.map, known))
    assert ours == pytest.approx(theirs, abs=1e-3)
    assert one.map.taken == pytest.approx(known.taken, abs=1e-3) and one.map.nothing == pytest.approx(known.nothing)
    assert [w.coverage for w in one.map.windows] == [w.coverage for w in known.windows]


def test_a_look_in_the_middle_of_a_map_changes_nothing_of_it(shipped: Policy, asked: Asking) -> None:
    one, again = Turn(shipped, asked[True][0]), Turn(shipped, asked[True][0])
    shares = one.measure()
    first = next(shares)
    choice = one.look(one.box)
    assert one.map is None and one.best is None
    assert [*shares][0] > first and one.map is not None and one.best is not None
    assert max(0.0, one.best - choice.right) == pytest.approx(one.map.regret, abs=1e-3)
    assert again.look(one.map.best.box).right == pytest.approx(one.best, abs=1e-3)


@pytest.mark.parametrize("box", [(0, 0, 3, 3), (0, 0, 40, 40), (0, 0, 4000, 3000), (0, 0, 4000, 9)])
def test_a_small_look_on_a_large_photograph_makes_no_million_windows(
    box: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    size = (4000, 3000)
    count = len(windows_of(box, size, scales_of(box, size)))  # type: ignore[arg-type]
    assert count <= 2 * play_turn.WINDOWS
    assert scales_of((0, 0, 64, 64), (512, 512))[0] == 1  # as the explanation has it, where that is bearable


def test_every_family_can_be_played(family_policy: Policy, samples: list[Sample]) -> None:
    game = Session(family_policy, samples, turns=1, max_new_tokens=160)
    try:
        one = game.open()
    except R3labError as error:
        assert "gives no answer" in str(error)  # taught for seconds
        return
    assert one is not None
    choice = game.turns[-1].look([100, 100, 300, 300])
    assert math.isfinite(choice.right) and choice.right <= 0 and choice.look is not None
    assert 0 < next(one.measure()) <= 1


# A game.


def test_a_game_goes_sample_by_sample_and_adds_up(shipped: Policy, asked: Asking) -> None:
    unknown = Asked("nobody-knows", BLANK, "Which digit is on the blue square?")
    game = Session(shipped, [asked[True][0], unknown, asked[False][0], asked[True][1]], turns=3)
    assert game.planned == 3 and not game.over and game.played == []
    game.open()
    with pytest.raises(R3labError, match="has not been played"):
        game.open()
    with pytest.raises(R3labError, match="at least"):
        game.turns[-1].look([1, 2, 3, 4])
    assert game.turns[-1].choice is None  # a slip costs nothing
    first = game.turns[-1].look([1, 2, 300, 400])
    game.open()
    second = game.turns[-1].no_look()
    assert game.turns[-1].own.sample_id == asked[False][0].id and len(game.left_out) == 1
    assert "nobody-knows" in game.left_out[0] and not game.over
    game.open()
    third = game.turns[-1].no_look()
    assert game.over and game.open() is None
    you, policy = game.total()
    assert you == pytest.approx(first.reward + second.reward + third.reward)
    assert policy == pytest.approx(sum(one.policys.reward for one in game.turns))
    rows = table(game.played)
    assert [len(row) for row in rows] == [len(TITLES)] * 3 and [row[2][:2] for row in rows] == ["lo", "no", "no"]


@pytest.mark.parametrize("turns", [0, -1, 101, 2.5, "ten", True, None])
def test_a_game_without_turns_or_samples_is_refused(shipped: Policy, turns: Any) -> None:
    with pytest.raises(R3labError, match="1 to 100"):
        be_the_policy(shipped, [get_world("badges").sample("test", 0)], turns=turns)
    with pytest.raises(R3labError, match="no sample"):
        be_the_policy(shipped, [])


def test_samples_that_cannot_be_played_end_in_one_error(shipped: Policy) -> None:
    game = Session(shipped, [Asked(f"u{i}", BLANK, "Which digit is on the red circle?") for i in range(2)])
    with pytest.raises(R3labError, match="None of the 2 samples can be played"):
        game.open()


def test_where_nobody_knows_whether_a_look_is_needed_looks_are_free(shipped: Policy, asked: Asking) -> None:
    one = Turn(shipped, replace(asked[False][0], needs_look=None))
    assert set(one.look((10.0, 10.0, 90.0, 90.0)).rewards) == {"accuracy", "format"}


# What the browser is told.


@pytest.fixture()
def played(shipped: Policy, asked: Asking) -> Session:
    """A game of one turn, played and measured."""
    game = Session(shipped, asked[True][:1], turns=1)
    game.open()
    game.turns[-1].look([100, 100, 200, 200])
    for _ in game.turns[-1].measure():
        pass
    return game


def test_nothing_is_given_away_before_the_choice(shipped: Policy, asked: Asking) -> None:
    game = Session(shipped, asked[True][:2], turns=2)
    assert board(game)["phase"] == "wait"
    game.open()
    list(game.turns[-1].measure())
    told = board(game)
    assert told["phase"] == "choose" and not {"boxes", "numbers", "said", "wrote", "rows"} & set(told)
    assert set(pictures(game.turns[-1])) == {"overview", "photo"}
    game.turns[-1].look([100, 100, 200, 200])
    told = board(game)
    assert [one["name"] for one in told["boxes"]] == ["you", "policy", "best", "truth"]
    assert told["boxes"][0]["box"] == [100, 100, 200, 200]
    assert told["boxes"][3]["box"] == pytest.approx(list(asked[True][0].regions[-1]), abs=0.01)
    assert set(pictures(game.turns[-1])) == {"overview", "photo", "crop", "map"} and "rows" not in told
    assert [row[0] for row in told["numbers"]] == ["You", "Policy", "Best window", "Without a look"]


def test_hostile_text_is_clean_bounded_and_escaped(played: Session) -> None:
    one = played.turns[-1]
    assert one.choice is not None
    for kind, text in KINDS.items():
        for t in (one.own, one.choice.trajectory, one.record):
            t.question, t.answer, t.pieces[-1] = text, text[:1500], text
        told = json.dumps(board(played, notice=text))
        assert len(told) < 20_000 and not any(ord(c) < 32 for c in told), kind
        assert all(code not in told for code in ("\\u202e", "\\u001b", "\\ud800", "\\u0007")), kind
        if "attack" not in kind:
            continue
        seen = Seen(kept(played, one, "r3-play-x")["text/html"])
        assert {tag for tag, _ in seen.elements} <= PLAIN and ATTACK[:40] in seen.words
        assert not [name for _, attributes in seen.elements for name in attributes if name.startswith("on")]


def test_what_is_kept_shows_sample_look_and_map_and_says_what_one_does_live(played: Session) -> None:
    stays = Play(played).still()
    alt = Seen(stays["text/html"]).of("img")[0]["alt"]
    assert "Value map" in alt and "look 1 at" in alt and played.turns[-1].own.question in alt
    assert "run this cell in JupyterLab" in stays["text/html"] and "draw the box" in stays["text/plain"]
    assert len(stays["image/png"]) > 10_000 and len(Seen(stays["text/html"]).of("tr")) == 2


def test_words_say_what_the_numbers_say(played: Session) -> None:
    one = played.turns[-1]
    choice = one.choice
    assert choice is not None
    said = outcome_words(one, replace(choice, right=one.without + math.log(3)))
    assert "3 times as likely as no look" in said and "A look was needed here." in said
    assert "did harm" in outcome_words(one, replace(choice, right=one.without - 1))
    assert "next to nothing" in outcome_words(one, replace(choice, right=one.without))
    assert "the same" in outcome_words(one, replace(choice, right=one.policys.right))
    assert rewards_words("You", choice).startswith(f"You: {choice.reward:.2f} = ")
    assert "over a thousand times" in outcome_words(one, replace(choice, right=one.without + 20))


# The widget, without a browser.


@pytest.fixture()
def game(shipped: Policy, asked: Asking) -> Callable[..., Game]:
    def make(ended: Callable[[], None] = lambda: None) -> Game:
        return Game(Session(shipped, [asked[False][0], asked[True][0]], turns=2), "r3-play-x", ended)

    return make


async def told(one: Game, *messages: object) -> None:
    """Messages come, and each one's work comes to its end."""
    for message in messages:
        one.hear(message)
        if one._task is not None:
            await one._task


HELLO = {"do": "hello"}


def test_nothing_runs_before_a_browser_says_hello(game: Callable[..., Game]) -> None:
    one = game()
    assert one.state["phase"] == "wait" and one.pictures == {} and one._session.turns == []
    asyncio.run(told(one, HELLO, HELLO))  # a second view of it
    assert one.state["phase"] == "choose" and one.progress == 1 and one.pictures["photo"].startswith("data:image/")
    assert len(one._session.turns) == 1


def test_messages_that_make_no_sense_change_nothing(game: Callable[..., Game]) -> None:
    one = game()
    asyncio.run(told(one, {"do": "look", "turn": 0, "box": [1, 2, 30, 40]}, HELLO))
    before = one.state
    senseless = [None, 7, "look", [], {}, {"do": "rm"}, {"do": ["look"], "turn": 1}, {"do": {}, "turn": 1}]
    senseless += [{"do": "look", "turn": 2, "box": [1, 2, 30, 40]}, {"do": "look", "turn": "1"}, {"do": "none"}]
    for message in (*senseless, {"do": "next", "turn": 1}):
        one.hear(message)
        assert one.state == before, message
    for box in (None, "x", [1, 2, 3], [1, 2, 3, 4], [math.nan] * 4, {"a": 1}):
        one.hear({"do": "look", "turn": 1, "box": box})
        assert one.state["phase"] == "choose" and one.state["notice"], box


def test_a_game_is_played_by_messages(game: Callable[..., Game]) -> None:
    ended: list[int] = []
    one = game(lambda: ended.append(len(one._session.turns)))
    asyncio.run(told(one, HELLO, {"do": "none", "turn": 1}))
    assert one.state["phase"] == "seen" and one.state["measured"] and ended == [1] and "rows" not in one.state
    asyncio.run(told(one, {"do": "look", "turn": 1, "box": [10, 10, 90, 90]}))
    assert "has been played" in one.state["notice"] and ended == [1]


def test_a_look_is_answered_while_the_map_is_being_measured(game: Callable[..., Game]) -> None:
    ended: list[int] = []
    one = game(lambda: ended.append(len(one._session.turns)))

    async def person() -> None:
        one.hear(HELLO)
        while one.state["phase"] != "choose":
            await asyncio.sleep(0.001)
        one.hear({"do": "look", "turn": 1, "box": [10, 10, 90, 90]})
        assert (one.state["phase"], one.state["measured"]) == ("seen", False)
        assert one._task is not None
        await one._task
        assert (one.state["phase"], one.state["measured"], ended) == ("seen", True, [1])
        await told(one, {"do": "next", "turn": 1})
        assert one.state["phase"] == "choose" and one.state["number"] == 2 and "crop" not in one.pictures
        await told(one, {"do": "look", "turn": 2, "box": [10, 10, 90, 90]})
        assert len(one.state["rows"]) == 2 and one.pictures["crop"].startswith("data:image/png") and ended == [1, 2]
        state = one.state
        await told(one, {"do": "next", "turn": 2})
        assert one.state == state  # it is over

    asyncio.run(person())


def test_what_goes_wrong_is_told(game: Callable[..., Game], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Session) -> None:
        raise R3labError("The disk is full.")

    monkeypatch.setattr(Session, "open", broken)
    one = game()
    asyncio.run(told(one, HELLO))
    assert one.state["phase"] == "failed" and one.state["notice"] == "The disk is full."


# Where no kernel runs, and no person is.


@pytest.mark.notebook
def test_a_headless_run_keeps_a_picture_and_opens_no_widget(tmp_path: Path) -> None:
    source = """
from r3lab.core.files import assets_dir
from r3lab.models.policy import Policy
from r3lab.show import play_turn
from r3lab.show.play import be_the_policy
from r3lab.vlir.worlds import get_world
play_turn.SCALES = (5.0,)
samples = [get_world("badges").sample("test", i) for i in range(6)]
be_the_policy(Policy.load(assets_dir() / "tiny" / "rgrpo"), samples, turns=6)
"""
    assert somebody_is_there() is False  # nor outside a kernel
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source.strip())])
    nbformat.write(nb, tmp_path / "play.ipynb")
    result = run_notebook(tmp_path / "play.ipynb", out_root=tmp_path / "runs", progress=False)
    assert result.status == "ok", result.describe()
    done = nbformat.read(result.folder / "play.ipynb", as_version=4)
    [shown] = [o for o in done.cells[0].outputs if o.output_type == "display_data"]
    assert set(shown.data) == {"text/html", "image/png", "text/plain"} and "widgets" not in done.metadata
    assert "Value map" in shown.data["text/html"] and result.page is not None
    page = result.page.read_text("utf-8")
    assert "Be the policy, live" in page and "unpkg" not in page.split("<body", 1)[1]
