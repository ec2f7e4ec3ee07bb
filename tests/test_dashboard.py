"""Curves and dashboard show what the logs hold, say what they do not, and do nothing that a name in them asks for."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from chromium import PHONE, Opened
from matplotlib._pylab_helpers import Gcf
from matplotlib.text import Text
from seen import ATTACK, KINDS, Seen, stream

from r3lab.cli import main as cli
from r3lab.core.errors import R3labError
from r3lab.core.files import assets_dir
from r3lab.core.stats import LOG_RATIO_COUNTS
from r3lab.show import dashboard as dashboard_module
from r3lab.show.canvas import line_style
from r3lab.show.curves import MEASURES, charts_of, curves, limits, panel_of
from r3lab.show.dashboard import LiveDashboard, dashboard, page_data
from r3lab.show.logs import MOST_GROUPS, Log, Series, band_of, curve, groups_in, log_of, smoothed
from r3lab.show.palette import DARK, LIGHT
from r3lab.train.log import JsonlLog, read_log
from r3lab.train.objective import Objective, policy_loss
from r3lab.train.river import RiverLog
from r3lab.train.run import step_metrics
from r3lab.train.update import joined
from r3lab.vlir.worlds import get_world

COUNTS = [0, 1, 2, 3, 4, 5, 900, 5, 4, 3, 2, 1, 0]


def rows(steps: int = 30, level: float = 1.0, settings: dict[str, Any] | None = None, **more: Any) -> list[dict]:
    """A log of R-GRPO by hand: a reward that rises to `level`."""
    found: list[dict] = [] if settings is None else [{"settings": settings, "processes": 1}]
    for step in range(1, steps + 1):
        part = step / steps
        found.append(
            {
                "step": step, "reward": level * part, "reward/format": 0.5 * part, "zero_variance": 0.25,
                "look_rate_needed": part, "look_rate_unneeded": 1 - part, "invalid": 0.02, "entropy": 0.5 - 0.3 * part,
                "length": 30.0, "approx_kl": 1e-4 * step, "clip_fraction_low": 1e-3, "clip_fraction_high": 2e-3,
                LOG_RATIO_COUNTS: COUNTS, "grad_norm": 0.4, "seconds_rollout": 2.0, "seconds_update": 1.0, **more,
            }
        )  # fmt: skip
    return found


def written(path: Path, log: list[dict], tail: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in log) + tail, encoding="utf-8")
    return path


def lines_on(page: str) -> dict[str, Any]:
    """The data of a page, as its script reads them."""
    return json.loads(page.partition('<script type="application/json">')[2].partition("</script>")[0])


def drawn_words(shown: Any) -> list[str]:
    return [text.get_text() for text in shown.figure.findobj(Text)]


def controls(text: str) -> list[str]:
    """Characters that act."""
    return [c for c in text if ord(c) < 32 and c != "\n" or 0x202A <= ord(c) <= 0x202E or 0x2066 <= ord(c) <= 0x2069]


# What the update reports.


def test_the_update_counts_how_far_tokens_moved_in_fixed_bins() -> None:
    """Each bin by hand, unsampled positions in none; passes and updates add up; drawn is the share beyond 0.1."""
    moved = [-2.0, -0.5, -0.2, -0.05, -0.02, -0.005, 0.0, 0.005, 0.02, 0.05, 0.2, 0.5, 2.0]
    new = torch.tensor([[*moved, 9.0], [0.001] * 14], dtype=torch.float64)
    mask = torch.ones(2, 14, dtype=torch.bool)
    mask[0, -1] = mask[1, 3:] = False
    _, metrics = policy_loss(new, torch.zeros_like(new), torch.ones(2), mask, Objective())
    assert metrics[LOG_RATIO_COUNTS] == [1] * 6 + [4] + [1] * 6 and sum(metrics[LOG_RATIO_COUNTS]) == int(mask.sum())
    both = joined([(13, metrics), (3, {**metrics, LOG_RATIO_COUNTS: COUNTS})])
    assert both[LOG_RATIO_COUNTS][6] == 904 and both["ratio_max"] == pytest.approx(math.exp(2.0))
    fact = {"rewards": {"accuracy": 1.0}, "entropy": 1.0, "tokens": 2, "needs_look": None, "iou": None, "looks": 0}
    found = [{**fact, "right": True, "valid": 0, "answered": True}] * 2
    row = step_metrics(found, torch.ones(1, 2), [metrics, {}, {"skipped": 1.0}, both], 1.0, 1.0)
    assert row[LOG_RATIO_COUNTS][6] == 908 and json.loads(json.dumps(row)) == row
    log = log_of([{"step": i, LOG_RATIO_COUNTS: one} for i, one in enumerate((metrics[LOG_RATIO_COUNTS], COUNTS))])
    assert log.series[LOG_RATIO_COUNTS].values.tolist() == pytest.approx([6 / 16, 6 / 930])


def test_every_measure_of_a_step_has_a_panel() -> None:
    new, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    _, metrics = policy_loss(new, new, torch.ones(2), mask, Objective())
    fact = {"rewards": {"accuracy": 1.0}, "entropy": 1.0, "tokens": 2, "needs_look": True, "iou": 0.5, "looks": 1}
    facts = [{**fact, "right": True, "valid": 1, "answered": True}] * 2
    row = step_metrics(facts, torch.ones(1, 2), [{**metrics, "grad_norm": 0.1}], 1, 1)
    assert not [key for key in row if panel_of(key).section == "Other"]
    drawn = {panel.key for panel in charts_of([{"step": 1, **row}]).panels}
    assert drawn == {key for key, value in row.items() if value is not None}
    wanted = {"reward", "reward/accuracy", "approx_kl", "clip_fraction_low", "clip_fraction_high", LOG_RATIO_COUNTS}
    wanted |= {"zero_variance", "look_rate_needed", "invalid", "length", "entropy", "grad_norm"}
    assert wanted | {"seconds_rollout", "seconds_update", "ratio_mean", "ratio_max"} <= drawn
    assert len({title for _, title, _ in MEASURES.values()}) == len(MEASURES) > 25


# Reading.


def test_a_last_line_that_is_cut_off_is_left_out_and_said(tmp_path: Path) -> None:
    """At every byte of it, also inside a character; the rest is read."""
    line = json.dumps({"step": 5, "reward": 1.0, "note": "é"}, ensure_ascii=False).encode()
    whole, path = "".join(json.dumps(row) + "\n" for row in rows(4)).encode(), tmp_path / "some.jsonl"
    for cut in (1, 9, len(line) - 3, len(line) - 1):
        path.write_bytes(whole + line[:cut])
        notes: list[str] = []
        assert [row["step"] for row in read_log(path, notes)] == [1, 2, 3, 4]
        assert "cut off" in notes[0] and "5" in notes[0] and log_of(path).notes == notes
    path.write_bytes(whole + line)
    assert read_log(path)[-1]["step"] == 5  # whole, but for its newline
    path = written(tmp_path / "a" / "log.jsonl", rows(4), '{"step": 5, "rew')
    log = log_of(tmp_path / "a")
    assert log.name == "a" and log.last == 4 and "cut off" in " ".join(charts_of(path).notes())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"step": 1, "reward": 1}\n{"step": 2, "rew\n{"step": 3, "reward": 1}\n', "line 2 is not JSON"),
        ("[1, 2]\n", "line 1 is .* an object a line"),
        ('{"format": "r3lab.river", "version": 1}\n', "No row of .* has a step"),
        ('{"step": 50, "heads": 3.1, "pointing mass": 0.2}\n', "no measure that the dashboard draws .*heads"),
        ("", "nothing to draw yet"),
        ('{"settings": {"steps": 9}}\n', "nothing to draw yet"),
        ("\x00\x01\x02\n\x03", "line 1 is not JSON"),
        ("[" * 100_000 + "\n\n", "line 1 is not JSON"),
    ],
)
def test_what_is_no_log_is_one_clear_error(text: str, wanted: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(text, "utf-8")
    with pytest.raises(R3labError, match=wanted):
        dashboard(path)
    assert cli(["dashboard", str(path), "-o", str(tmp_path / "d.html")]) == 2 and not (tmp_path / "d.html").exists()


@pytest.mark.parametrize(
    ("given", "options", "wanted"),
    [
        (7, {}, "Cannot draw 7"),
        ([7], {}, "Cannot draw 7"),
        ({"a": [1, 2]}, {}, "Cannot draw 1"),
        ([], {}, "nothing to draw|1 to 100 logs"),
        ({"a": []}, {}, "nothing to draw|1 to 100"),
        ([Log(f"x{i}y", {}) for i in range(MOST_GROUPS + 1)], {}, f"at most {MOST_GROUPS}"),
        (rows(3), {"keys": ["rewrd"]}, "Did you mean 'reward'"),
        (rows(3), {"smooth": 0}, "smooth must be"),
        (rows(3), {"band": "rage"}, "Did you mean 'range'"),
    ],
)
def test_what_cannot_be_drawn_is_one_clear_error(given: Any, options: dict[str, Any], wanted: str) -> None:
    with pytest.raises(R3labError, match=wanted):
        dashboard(given, **options)


def test_places_without_a_log_are_named(tmp_path: Path) -> None:
    written(tmp_path / "rgrpo-0.jsonl", rows(3))
    for path, wanted in ((tmp_path, "holds no log.jsonl .*rgrpo-0.jsonl.*name one"), (tmp_path / "x", "Cannot read")):
        with pytest.raises(R3labError, match=wanted):
            dashboard(path)


def test_values_that_are_none_are_gaps_and_counted() -> None:
    log = rows(9)
    for place, value in enumerate([math.nan, math.inf, None, "high", 10**400, [1], True]):
        log[place + 1]["reward"] = value
    for place, counts in enumerate([[1, 2], [0] * 13, [-1, *COUNTS[1:]], "x" * 13]):
        log[place][LOG_RATIO_COUNTS] = counts
    log.append({**log[-1], "entropy": 7.0})  # the last step again
    found = log_of(log)
    known = np.isfinite(found.series["reward"].values)
    assert known.tolist() == [True, *[False] * 7, True] and found.series["entropy"].values[-1] == 7.0
    assert np.isfinite(found.series[LOG_RATIO_COUNTS].values).sum() == 5
    notes = " ".join(found.notes)
    for said in ("6 values of reward", "4 values of log_ratio_counts", "1 steps are logged twice"):
        assert said in notes
    [reward, *_] = page_data(charts_of(log, smooth=1))["panels"]
    assert reward["lines"][0]["mean"][1:8] == [None] * 7 and reward["lines"][0]["mean"][8] == 1
    assert json.dumps(reward, allow_nan=False)


def test_rewards_and_worlds_are_named_by_the_log_and_bounded() -> None:
    log = rows(3, **{f"reward/part {i}": 1.0 for i in range(40)}, **{"held_out/charts": 0.5, "held_out/badges": 0.9})
    panels = charts_of(log).panels
    assert sum(p.key.startswith("reward/") for p in panels) == 16
    held = [p.title for p in panels if p.key.startswith("held_out/")]
    assert held == ["Held out, right: charts", "Held out, right: badges"]
    sections = ["Reward", "Answers", "Looks", "Update", "Tokens", "Time"]
    assert [p.section for p in panels] == sorted((p.section for p in panels), key=sections.index)
    assert len(log_of([{"step": 1, **{f"x{i}": 1.0 for i in range(300)}}]).series) == 200


def test_held_out_answers_beside_a_log_are_drawn_by_world(tmp_path: Path) -> None:
    written(tmp_path / "run" / "log.jsonl", rows(20))
    log = RiverLog(tmp_path / "run" / "river")
    for step, answers in stream(3, 2).items():  # wrong at first, right later
        for n, one in enumerate(answers):
            one.sample_id = f"{('badges', 'charts-x')[n % 2]}-validation-0-{n}"
        log(step, answers)
    found = log_of(tmp_path / "run")
    held = {key: one for key, one in found.series.items() if key.startswith("held_out/")}
    assert set(held) == {"held_out/badges", "held_out/charts-x"}
    badges = held["held_out/badges"]
    assert badges.steps.tolist() == [0, 10, 20] and badges.values.tolist() == [0, 1, 1]
    sample = get_world("badges").sample("validation", 3, 0)
    assert sample.id.rsplit("-", 3)[0] == "badges"  # what the worlds are told apart by
    assert "Held out, right: charts-x" in [panel.title for panel in charts_of(tmp_path / "run").panels]
    (tmp_path / "run" / "river" / "river.jsonl").write_text("{}\n", "ascii")
    assert "held-out answers cannot be read" in " ".join(log_of(tmp_path / "run").notes)


# Groups, smoothing, bands.


def test_runs_that_differ_in_the_seed_alone_are_one_group(tmp_path: Path) -> None:
    def log(name: str, **settings: Any) -> Log:
        return log_of(rows(3, settings={"seed": 0, "out": name, "reward": "paper", "group": 5, **settings}), name)

    def names(given: Any) -> dict[str, list[str]]:
        return {name: [one.name for one in own] for name, own in groups_in(given).items()}

    four = [log("a"), log("b", seed=1), log("c", reward="grounded"), log("d", reward="grounded", seed=1, steps=9)]
    assert names(four) == {"reward=paper": ["a", "b"], "reward=grounded": ["c", "d"]}
    wanted = ["reward=paper, group=5", "reward=grounded, group=5", "reward=paper, group=8"]
    assert list(names([*four, log("e", group=8)])) == wanted
    assert names(four[:2]) == {"runs": ["a", "b"]} and names({"x": four[0], "y": four[1:3]}) == {
        "x": ["a"],
        "y": ["b", "c"],
    }
    assert names({"x": [rows(2), rows(2)]}) == {"x": ["run 1", "run 2"]}
    paths = [written(tmp_path / "x" / f"rgrpo-{i}.jsonl", rows(3)) for i in range(3)]
    found = groups_in([*paths, written(tmp_path / "other.jsonl", rows(3))])
    assert {name: len(own) for name, own in found.items()} == {"rgrpo": 3, "other": 1}
    assert len({line_style(i) for i in range(MOST_GROUPS)}) == MOST_GROUPS


def test_smoothing_is_the_mean_of_the_last_steps_and_never_looks_ahead() -> None:
    steps, values = np.array([1.0, 2, 3, 5, 20]), np.array([1.0, 3, math.nan, 5, 9])
    assert smoothed(Series(steps, values), 3).tolist() == [1, 2, 2, 5, 9]
    assert smoothed(Series(steps, values), 1).tolist()[:2] == [1, 3]
    changed = smoothed(Series(steps, np.array([1.0, 3, math.nan, 5, 1000])), 3)
    assert changed[:-1].tolist() == [1, 2, 2, 5]


def test_a_mean_ends_where_its_shortest_run_does() -> None:
    logs = [log_of(rows(10, level=1.0), "a"), log_of(rows(6, level=3.0), "b")]
    one = curve(logs, "reward", 1)
    assert one.steps.tolist() == [1, 2, 3, 4, 5, 6] and one.runs == 2
    assert one.mean[-1] == pytest.approx((0.6 + 3.0) / 2) and one.low[-1] == pytest.approx(0.6) and one.high[-1] == 3
    [(steps, values)] = one.tails
    assert steps.tolist() == [6, 7, 8, 9, 10] and values[-1] == 1.0
    charts = charts_of({"a": logs}, ("reward",), smooth=1)
    [axes] = curves({"a": logs}, ("reward",), smooth=1).figure.axes
    [line] = [one for one in axes.lines if one.get_gid() == "mean-0"]
    assert line.get_xdata().tolist() == [1, 2, 3, 4, 5, 6] and np.abs(np.diff(line.get_ydata(), 2)).max() < 1e-9
    [drawn] = page_data(charts)["panels"][0]["lines"]  # on the page as in the picture
    assert drawn["steps"] == [1, 2, 3, 4, 5, 6] and drawn["mean"][-1] == 1.8 and drawn["tails"][0][0][-1] == 10
    missing = curve([logs[0], log_of([{"step": 1, "loss": 1.0}], "c")], "reward", 1)
    assert missing.runs == 1 and not missing.tails and not np.isfinite(missing.low).any()
    nothing = curve(logs, "loss", 1)
    assert nothing.runs == 0 and not len(nothing.steps)


def test_a_stretch_without_rows_is_no_line() -> None:
    log = [row for row in rows(40) if not 11 <= row["step"] <= 30]
    one = curve([log_of(log, "a")], "reward", 5)
    gap = np.flatnonzero(np.isnan(one.mean))
    assert len(gap) == 1 and 10 < one.steps[gap[0]] < 31 and len(one.steps) == 21
    sparse = curve([log_of([row for row in rows(40) if row["step"] % 10 == 0], "a")], "reward", 5)
    assert np.isfinite(sparse.mean).all()  # held-out answers: every tenth step is all there is


def test_bands_say_what_they_are() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):  # the interval of the mean of five covers the truth 95 times in a hundred
        low, high = band_of(rng.normal(size=(5, 1)), "interval")
        inside += bool(low[0] <= 0 <= high[0])
    assert 0.92 < inside / 400 < 0.98
    low, high = band_of(np.array([[1.0], [2.0], [3.0]]), "interval")
    assert (high - low) / 2 == pytest.approx(4.303 / math.sqrt(3), abs=1e-3)  # Student's t of two degrees of freedom
    two = np.array([[1.0, 2.0], [3.0, 2.5]])
    assert np.isnan(band_of(two, "interval")).all() and band_of(two, "range")[1].tolist() == [3.0, 2.5]
    logs = {"a": [rows(9, level) for level in (1.0, 2.0, 3.0)]}
    for band, words in (("range", "from the lowest to the highest"), ("interval", "95 % interval")):
        shown = dashboard(logs, ("reward",), band=band)
        low, high = band_of(np.array([[1.0], [2.0], [3.0]]), band)
        [line] = lines_on(shown.to_page())["panels"][0]["lines"]
        assert words in shown.alt and line["runs"] == 3
        [polygon] = dashboard(logs, ("reward",), smooth=1, band=band).figure.axes[0].collections
        ends = polygon.get_paths()[0].vertices
        assert ends[ends[:, 0] == 9, 1].min() == pytest.approx(low) and ends[:, 1].max() == pytest.approx(high)
    assert "band" not in dashboard(rows(9), ("reward",)).alt


def test_long_logs_are_thinned_and_keep_their_ends() -> None:
    one = curve([log_of([{"step": i, "reward": 1.0 * i} for i in range(1, 9001)], "a")], "reward", 1)
    assert len(one.steps) <= 1200 and one.ends == (1.0, 9000.0)


def test_one_burst_does_not_flatten_an_axis() -> None:
    log = rows(300)
    log[100]["grad_norm"] = 1e6
    low, high = limits(charts_of(log, smooth=1), panel_of("grad_norm"))
    assert high > 1e5  # without smoothing the line itself must fit
    low, high = limits(charts_of(log, smooth=25), panel_of("grad_norm"))
    assert 1e6 / 25 < high < 1e5  # the smoothed line does, the burst itself need not
    board = charts_of({str(i): rows(9, level=i) for i in range(1, 4)})
    assert limits(board, panel_of("reward"))[1] > 2.5 and limits(board, panel_of("look_rate_needed")) == (-0.03, 1.03)


# Drawing.


def test_the_picture_and_its_words_hold_what_the_log_holds() -> None:
    shown = dashboard({"paper": [rows(30, 1.0), rows(30, 1.2)], "grounded": rows(20, 2.0)}, smooth=5)
    axes = {one.get_gid(): one for one in shown.figure.axes}
    assert {f"chart-{key}" for key in rows(1)[0] if key != "step"} == set(axes)
    first, second = (line for line in axes["chart-reward"].lines if str(line.get_gid()).startswith("mean-"))
    assert first.get_xydata()[-1].tolist() == pytest.approx([30, 1.1 * 28 / 30]) and second.get_xdata()[-1] == 20
    said = shown.alt
    assert "3 runs in 2 groups (paper (2 runs), grounded)" in said and "over 30 steps" in said
    assert re.search(r"Reward, mean of a step: paper from 0\.0\d+ to 1\.03; grounded from 0\.1 to 1\.8\.", said)
    assert "Groups without a signal: paper from 25 % to 25 %" in said and "mean of the last 5 steps" in said
    assert {"1.03", "1.8", "paper (2 runs)", "grounded", "25 %"} <= set(drawn_words(shown))
    many = dashboard({f"run {i}": rows(5, 1 + i) for i in range(20)}, smooth=2)
    assert "Norm of the gradient: 0.4 at the end." in many.alt and "and 8 more" in drawn_words(many)
    assert re.search(r"Reward, mean of a step: at the end from .* \(run 0\) to .* \(run 19\)\.", many.alt)
    assert len(many.alt) < 8000 and "left out, since there are more than 8 lines" in many.alt


def test_curves_draw_the_usual_measures_or_those_that_are_asked_for_of_any_name() -> None:
    log = [{**row, "heads seen": 3.0} for row in rows(60)]
    usual = drawn_words(curves(log))
    assert {"Reward, mean of a step", "Entropy, nats a token"} <= set(usual) and "Norm of the gradient" not in usual
    assert "heads seen: from 3 to 3." in curves(log, ["heads seen"]).alt
    assert "Loss" in drawn_words(curves([{"step": 1, "loss": 1.0}]))
    for given in ([], [{"step": 1, "iou": None}, {"step": 2, "reward": 1.0}]):
        assert "no value yet" in drawn_words(curves(given, ("iou", "reward")))


def test_last_values_stand_apart_and_inside_the_chart() -> None:
    axes = curves({str(level): rows(9, level) for level in (1.0, 1.001, 1.002)}, ("reward",)).figure.axes[0]
    at = sorted(text.get_position()[1] for text in axes.texts)
    assert len(at) == 3 and min(np.diff(at)) > 0.05 and at[-1] <= 1


def test_a_run_of_one_step_and_of_two_and_a_cold_start_can_be_drawn() -> None:
    for log in (rows(1), rows(2), [{"step": 1, "loss": 2.0}], [{"step": 3, "reward": 0.0}]):
        assert len(dashboard(log).png) > 3000
    shipped = assets_dir() / "tiny" / "logs"
    titles = {panel.title for panel in charts_of(shipped / "cold-start-0.jsonl").panels}
    assert {"Loss", "Norm of the gradient"} <= titles
    found = charts_of(shipped / "rgrpo-0.jsonl")
    assert found.span[1] > 10 and len(found.panels) >= 20


def test_the_page_holds_the_lines_of_every_group() -> None:
    shown = dashboard({"a": rows(8, 1.0), "b": rows(8, 2.0)}, ("reward",), smooth=4)
    found = lines_on(shown.to_page())
    assert found["smooth"] == 4 and found["faint"] and [group["label"] for group in found["groups"]] == ["a", "b"]
    [panel] = found["panels"]
    line = panel["lines"][1]
    assert line["steps"] == [*range(1, 9)] and line["mean"][-1] == pytest.approx(2 * np.mean([5, 6, 7, 8]) / 8)
    assert line["raw"][-1] == 2 and panel["ends"] == ["0.812", "1.62"] and panel["words"] in shown.alt
    bundle = shown._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain", "image/png"} and "plotly" not in bundle["text/html"]


def test_a_picture_has_light_paper_and_changes_no_setting() -> None:
    before, shown = dict(matplotlib.rcParams), dashboard(rows(4), ("reward", "entropy"))
    assert matplotlib.colors.to_hex(shown.figure.get_facecolor()).upper() == LIGHT.paper and shown.png
    ticks = {text.get_color() for axes in shown.figure.axes for text in axes.get_yticklabels()}
    assert {matplotlib.colors.to_hex(colour).upper() for colour in ticks} == {LIGHT.muted}
    assert dict(matplotlib.rcParams) == before and not Gcf.figs


def test_twenty_runs_are_small_and_their_first_picture_comes_soon() -> None:
    logs = {f"run {i}": log_of(rows(300, 1 + i / 9, exact=0.1234567, iou=0.7654321), f"run {i}") for i in range(20)}
    assert dashboard(rows(3)).png  # fonts

    def spent() -> float:
        begin = time.process_time()
        assert dashboard(logs).png
        return time.process_time() - begin

    assert min(spent() for _ in range(2)) < 1.5
    assert len(dashboard(logs).to_page().encode()) < 10_000_000


# Hostile names.


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_text(kind: str) -> None:
    """In labels, components, worlds, file names and settings; in picture, page and Plotly's own markup."""
    name = KINDS[kind]
    log = rows(4, **{f"reward/{name}": 1.0, f"held_out/{name}": 0.5})
    keys = [key for key in log_of(log).series if key in ("reward", LOG_RATIO_COUNTS) or "/" in key]
    by_label = dashboard({name: log, "other": rows(4)}, keys, title=name)
    by_name = curves([log_of(log, name), log_of(rows(4), "other")], keys)
    settings = dashboard([rows(3, settings={"reward": name}), rows(3, settings={"reward": "b", name: 1})], keys[:1])
    page = by_label.to_page()
    head, _, rest = page.partition('<script type="application/json">')
    data, _, rest = rest.partition("</script>")
    assert "<" not in data and len(page) < 6_000_000 and len(keys) == 5
    Seen(head + rest.split("</main>")[0]).check()
    for shown in (by_label, by_name, settings):
        assert not controls(shown.alt) and not controls("".join(drawn_words(shown)))
        assert not [t for t in shown.figure.findobj(Text) if t.get_text() and (t.get_parse_math() or t.get_usetex())]
    for charts in (by_label.charts, settings.charts):
        assert not controls("".join([*charts.groups, *charts.notes()]))
        data = json.dumps(page_data(charts), ensure_ascii=False)
        assert not controls(data)
        for group in page_data(charts)["groups"]:  # Plotly reads markup, TeX and templates in a name
            assert not set(group["name"]) & set("<>$%{") and len(group["name"]) < 400
    own = curves({name: [{"step": 1, name: 1.0}, {"step": 2, name: 1e300}], "b": [{"step": 1, name: -1e29}]}, (name,))
    assert len(own.alt) < 1000 and not controls(own.alt) and own.png


# Files and the command.


def test_the_page_holds_plotly_once_and_allows_nothing_else() -> None:
    page = dashboard(rows(4), ("reward",)).to_page()
    assert page.count("plotly.js v") == 1 and page.count("<script>") == 2
    metas = Seen(page.split("</head>")[0]).of("meta")
    [policy] = [m["content"] for m in metas if "Security" in m.get("http-equiv", "")]
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    for body in re.findall(r"<script>(.*?)</script>", page, re.S):
        assert base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() in rules["script-src"]
    assert "unsafe" not in rules["script-src"] + rules["style-src"]


def test_the_command_draws_logs_by_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "abc":
        written(tmp_path / name / "log.jsonl", rows(5), '{"st' if name == "b" else "")
    out, png = tmp_path / "o" / "d.html", tmp_path / "d.svg"
    given = [f"paper={tmp_path / 'a'}", f"paper={tmp_path / 'b'}", f"grounded={tmp_path / 'c' / 'log.jsonl'}"]
    assert cli(["dashboard", *given, "-o", str(out), "--png", str(png), "--smooth", "2", "--title", "A <b>"]) == 0
    said = capsys.readouterr().out
    assert "paper: b: to step 5; its last line (6) is cut off" in said and "MB" in said
    page = out.read_text("utf-8")
    assert "paper (2 runs)" in page and "A &lt;b&gt;" in page and "mean of the last 2 steps" in page
    assert "<svg" in png.read_text("utf-8") and "Reward, mean of a step" in png.read_text("utf-8")
    for argv, wanted in (
        ([given[0], given[0]], "given twice"),
        ([given[0], str(tmp_path / "b")], "write LABEL="),
        ([str(tmp_path / "none")], "Cannot read"),
        ([str(tmp_path / "a"), "-o", "d.txt"], "must end in .html"),
        ([str(tmp_path / "a"), "--png", str(tmp_path / "d.gif")], "end its name in"),
    ):
        assert cli(["dashboard", *argv, *([] if "-o" in argv else ["-o", str(out)])]) == 2
        assert wanted in capsys.readouterr().err


# While a run goes on.


class Kernel:
    """The shell of a notebook, as far as a live dashboard sees it; its clock is moved by hand."""

    def __init__(self) -> None:
        self.events = self
        self.waiting: list[Callable[..., None]] = []
        self.page: list[Any] = []  # what it shows
        self.drawn, self.slow, self.now = 0, 0.0, 0.0

    def register(self, event: str, call: Callable[..., None]) -> None:
        assert event == "post_run_cell"
        self.waiting.append(call)

    def unregister(self, event: str, call: Callable[..., None]) -> None:
        self.waiting.remove(call)

    def display(self, shown: Any, display_id: bool) -> Kernel:
        assert display_id
        self.page.append(None)
        self.update(shown)
        return self

    def update(self, shown: Any) -> None:
        self.page[-1] = shown
        self.drawn += 1
        self.now += self.slow

    def end_of_cell(self) -> None:
        for call in list(self.waiting):
            call(None)


@pytest.fixture()
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    found = Kernel()
    monkeypatch.setattr(dashboard_module, "_kernel", lambda: found)
    monkeypatch.setattr("IPython.display.display", found.display)
    monkeypatch.setattr(dashboard_module.time, "monotonic", lambda: found.now)
    return found


def test_a_live_dashboard_is_replaced_in_place_and_seldom(kernel: Kernel, tmp_path: Path) -> None:
    log = JsonlLog(tmp_path / "log.jsonl")
    live = LiveDashboard(("reward",), then=log)
    for row in rows(20):
        live(row)
        kernel.now += 0.5
    assert len(kernel.page) == 1 and 4 <= kernel.drawn <= 6  # ten seconds
    kernel.end_of_cell()
    assert not kernel.waiting and "over 20 steps" in kernel.page[0].alt and live.rows == log.rows == rows(20)
    live(rows(21)[-1])
    kernel.end_of_cell()
    assert len(kernel.page) == 1 and "over 21 steps" in kernel.page[0].alt


def test_drawing_takes_a_tenth_of_the_time_at_most(kernel: Kernel) -> None:
    live, kernel.slow = LiveDashboard(("reward",)), 3.0
    for row in rows(120):
        live(row)
        kernel.now += 1.0
    assert 2 <= kernel.drawn <= 1 + (120 + 3 * kernel.drawn) / 30


def test_a_live_dashboard_never_ends_a_training(kernel: Kernel) -> None:
    live = LiveDashboard(keys=("reward", "held_out/badges"))
    live({"settings": {"steps": 3}})
    live(rows(1)[0])
    kernel.end_of_cell()
    [shown] = kernel.page
    assert "held_out/badges" in shown.data and len(live.rows) == 2


def test_outside_jupyter_it_only_keeps_rows(capsys: pytest.CaptureFixture[str]) -> None:
    live = LiveDashboard()
    for row in rows(3):
        live(row)
    assert capsys.readouterr().out == "" and "over 3 steps" in live.dashboard().alt


@pytest.mark.notebook
def test_an_executed_notebook_holds_the_last_state_alone(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    code = "import r3lab\nlive = r3lab.live()\nfor step in range(1, 8):\n    live({'step': step, 'reward': step / 8})"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path))
    [output] = notebook.cells[0].outputs
    assert "over 7 steps" in output["data"]["text/plain"]
    assert {"text/html", "image/png", "text/plain"} == set(output["data"])


# In a browser.


@pytest.fixture(scope="module")
def board_page() -> str:
    return dashboard({"paper": [rows(60, 1.0), rows(60, 1.4)], ATTACK: rows(40, 2.0)}, title=ATTACK).to_page()


def _ready(one: Opened, charts: int = 1) -> None:
    one.until(f"document.querySelectorAll('.js-plotly-plot .xtick').length > {charts}", 120)


@pytest.mark.browser
def test_a_page_in_a_browser(opened: Any, board_page: str) -> None:
    """Charts are drawn, told under the pointer, switched by keyboard; nothing hostile runs, nothing is fetched."""
    one: Opened = opened(board_page)
    page = one.page
    _ready(one)
    first = ".r3-plot[data-chart='0']"
    assert not page.is_visible(".r3-still-here") and page.locator(".r3-runs input").count() == 2
    box = page.query_selector(first).bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 70)
    page.wait_for_selector(f"{first} .hoverlayer .legendtext", timeout=60_000)
    said = page.text_content(f"{first} .hoverlayer")
    assert "paper (2 runs): " in said and " to " in said and "<script>window.fired=1</script>" in said
    shown = f'document.querySelector("{first}").data.filter(t => t.visible !== false).map(t => t.meta)'
    assert set(page.evaluate(shown)) == {0, 1}
    page.focus(".r3-runs input[data-group='1']")
    page.keyboard.press("Space")
    one.until(f"!({shown}).includes(1)")
    page.click("summary:has-text('Choose panels')")
    page.uncheck("input[data-panel='0']")
    assert not page.is_visible(first) and page.is_visible(".r3-plot[data-chart='1']")
    page.click("summary:has-text('Numbers')")
    assert page.locator("table tbody tr").count() == len(rows(1)[0]) - 1
    assert not page.query_selector_all("main iframe, main [onerror], main [onload], main a")
    one.clean()


@pytest.mark.browser
def test_a_page_fits_a_phone_follows_dark_mode_and_has_its_picture_without_script(opened: Any, board_page: str) -> None:
    one = opened(board_page, viewport=PHONE, color_scheme="dark", has_touch=True)
    _ready(one)
    assert one.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    wanted = "rgb({}, {}, {})".format(*(int(DARK.paper[i : i + 2], 16) for i in (1, 3, 5)))
    fill = "getComputedStyle(document.querySelector('.js-plotly-plot .main-svg')).backgroundColor"
    assert one.page.evaluate(fill) == wanted
    one.clean()
    still = opened(board_page, java_script_enabled=False)
    image = still.page.query_selector(".r3-still-here img")
    assert image.is_visible() and image.evaluate("e => e.naturalWidth") > 900
    assert "Training of 3 runs" in image.get_attribute("alt") and not still.page.query_selector(".r3-runs")
    still.context.close()
