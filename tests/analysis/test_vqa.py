"""Base and tuned model are asked the same questions, marked alike, and compared in pairs."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest

from vlm2vla_sim.analysis.benchmarks import NEEDS_VLLM, PAPER, commands
from vlm2vla_sim.analysis.intervals import grouped_rate, grouped_ratio
from vlm2vla_sim.analysis.questions import QUESTIONS, VqaQuestion, open_questions, write_questions
from vlm2vla_sim.analysis.vqa import ALL, answer_all, compare, image_groups, is_right, retentions, to_json
from vlm2vla_sim.errors import RunFolderError, SettingError, UnknownNameError
from vlm2vla_sim.evaluation.rates import wilson_interval
from vlm2vla_sim.types import Stage


def ask(category: str, count: int) -> list[VqaQuestion]:
    """Each about an image of its own."""
    return [VqaQuestion(category, f"{category} {k}?", ("yes", "yeah"), (picture(category, k),)) for k in range(count)]


def picture(*what: object) -> np.ndarray:
    seed = zlib.crc32(repr(what).encode())
    return np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)


def said(answers) -> list[Stage]:
    """Whole answers."""
    return [Stage("vqa", answer, finish="stop") for answer in answers]


class Forgetful:
    """Knows every answer; with its adapter on, not those of the categories it forgot."""

    def __init__(self, *forgot: str) -> None:
        self.forgot, self.asked = forgot, []

    def answer(self, questions):
        self.asked += questions
        return [Stage(q.stage, "no" if q.adapter and q.prompt.split()[0] in self.forgot else "Yes.") for q in questions]


def test_what_an_adapter_forgot_is_told_by_category_and_over_all():
    questions = [*ask("colour", 30), *ask("count", 10)]
    model = Forgetful("count")
    base = answer_all(model, questions, adapter=False)
    tuned = answer_all(model, questions, adapter=True)
    colour, count, everything = retentions(compare(questions, base, tuned))
    assert (colour.category, count.category, everything.category) == ("colour", "count", ALL)
    assert (colour.retention.value, count.retention.value, everything.retention.value) == (1.0, 0.0, 0.75)
    assert everything.retention.low < 0.75 < everything.retention.high
    assert everything.retention.low == pytest.approx(0.61, abs=0.03), "as for 30 of 40"
    assert (everything.base.value, everything.tuned.value) == (1.0, 0.75)
    pairs = zip(model.asked[:40], model.asked[40:], strict=True)
    assert all(a.prompt == b.prompt and a.images[0] is b.images[0] and a.adapter is not b.adapter for a, b in pairs)


def test_where_the_base_knew_nothing_there_is_no_retention():
    questions = ask("colour", 4)
    (colour, _) = retentions(compare(questions, said(["no"] * 4), said(["yes"] * 4)))
    assert colour.retention is None
    with pytest.raises(SettingError, match="no question"):
        retentions([])


def test_pairing_makes_the_interval_narrower_than_two_separate_ones():
    """Both wrong on the same half: the ratio is 1 whatever is drawn."""
    questions = ask("colour", 40)
    same = said(["yes", "no"] * 20)
    assert retentions(compare(questions, same, same))[0].retention.low == 1.0
    other = retentions(compare(questions, same, said(["no", "yes"] * 20)))[0].retention
    assert other.low < 0.7 < 1.4 < other.high


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("carrot", True),
        ("The Carrot.", True),
        ("carrot\nIt is orange.", True),
        ("Carrot. It is orange.", True),
        ("carrot, spoon", False),
        ("not a carrot", False),
        ("carrots", False),
        ("", False),
        ("गाजर", True),
        ("गज", False),
        ("-3", True),
        ("3", False),
        ("12, 5", True),
        ("12 5", True),
        ("125", False),
    ],
)
def test_an_answer_is_right_when_it_says_that_and_nothing_else(said, right):
    assert is_right(said, ("carrot", "गाजर", "-3", "12, 5")) is right


@pytest.mark.parametrize(
    ("begun", "right"),
    [
        ("carrot", False),  # of "carrot cake"
        ("The carrot.", False),
        ("3.", False),  # of "3.5"
        ("carrot\nIt is", True),
        ("Carrot. It is", True),
        ("carrot, spoon\nand", False),
        ("", False),
    ],
)
def test_of_an_answer_that_was_cut_off_only_what_ended_can_be_right(begun, right):
    assert is_right(begun, ("carrot", "3"), cut_off=True) is right
    whole, cut = Stage("vqa", begun, 48, finish="stop"), Stage("vqa", begun, 48, finish="length", error="cut off")
    (marked,) = compare([VqaQuestion("what", "what?", ("carrot", "3"))], [cut], [whole])
    assert (marked.base_right, marked.base_cut_off, marked.tuned_cut_off) == (right, True, False)


OWN = """
from vlm2vla_sim.analysis.questions import VqaQuestion
from vlm2vla_sim.types import Stage

def questions():
    for index in range(4):
        yield VqaQuestion("fruit", f"{index}?", ("apple",))

class Wordy:
    def __init__(self, options):
        self.options = options

    def answer(self, questions):
        ends = [("length", 5) if q.adapter and q.prompt != "0?" else ("stop", 1) for q in questions]
        return [Stage(q.stage, "apple", tokens, finish=finish) for q, (finish, tokens) in zip(questions, ends)]
"""


def test_the_command_shows_how_many_answers_were_cut_off_and_does_not_take_them_for_right(
    tmp_path, monkeypatch, capsys
):
    from vlm2vla_sim.cli.main import main

    (tmp_path / "wordy.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["vqa", "--model", "wordy:Wordy", "--adapter", "x", "--questions", "wordy:questions", "--max-tokens", "5"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "Cut off at 5 tokens: 0 answers of the base model and 3 of the tuned one." in told
    kept = json.loads((tmp_path / "out" / "retention.json").read_text())["retention"][-1]
    assert (kept["base_cut_off"], kept["tuned_cut_off"], kept["tuned"]["value"]) == (0, 3, 0.25)
    answers = [json.loads(line) for line in (tmp_path / "out" / "answers.jsonl").read_text().splitlines()]
    assert [answer["tuned_cut_off"] for answer in answers] == [False, True, True, True]


def test_questions_on_disk_are_read_back_and_a_function_may_yield_them_too(tmp_path, monkeypatch):
    questions = [*ask("colour", 3), VqaQuestion("sum", "2 + 2?", ("4",))]
    assert write_questions(questions, tmp_path / "q") == 4
    read = list(open_questions(str(tmp_path / "q")))
    assert [(q.category, q.question, q.answers) for q in read] == [
        (q.category, q.question, q.answers) for q in questions
    ]
    assert np.array_equal(read[0].images[0], questions[0].images[0])
    (tmp_path / "mine.py").write_text(
        "from vlm2vla_sim.analysis.questions import VqaQuestion\n"
        "def held_out():\n    yield VqaQuestion('sum', '1 + 1?', ('2',))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert next(open_questions("mine:held_out")).answers == ("2",)


def test_questions_that_cannot_be_read_are_told_with_their_line(tmp_path):
    with pytest.raises(SettingError, match=r"package\.module:NAME"):
        open_questions(str(tmp_path / "nothing"))
    with pytest.raises(UnknownNameError, match=r"No question function in .* named 'held_out'"):
        open_questions("vlm2vla_sim.analysis.questions:held_out")
    (tmp_path / QUESTIONS).write_text('{"category": "a", "question": "b?", "answers": ["c"], "images": []}\n{"a": 1}\n')
    with pytest.raises(RunFolderError, match=r"line 2.*category"):
        list(open_questions(str(tmp_path)))
    with pytest.raises(SettingError, match="at least one answer"):
        VqaQuestion("a", "b?", ())


def test_an_interval_over_groups_is_wider_where_a_groups_members_agree():
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=12), 30)
    ones = np.ones_like(values)
    alone = grouped_ratio(values, ones, range(len(values)))
    grouped = grouped_ratio(values, ones, np.repeat(np.arange(12), 30))
    assert grouped.value == pytest.approx(alone.value)
    assert (grouped.high - grouped.low) > 4 * (alone.high - alone.low)
    expected = 1.96 * np.repeat(values[::30], 1).std() / np.sqrt(12)
    assert grouped.high - grouped.value == pytest.approx(expected, rel=0.25)
    with pytest.raises(ValueError, match="denominators sum to 0"):
        grouped_ratio([1.0], [0.0], [0])


def test_the_papers_twelve_benchmarks_are_named_with_its_least_retention():
    """ "Over 85 %" is OCRBench, the least of the twelve."""
    assert len(PAPER) == len({benchmark.task for benchmark in PAPER}) == 12
    kept = {benchmark.name: benchmark.vlm2vla / benchmark.base for benchmark in PAPER}
    assert min(kept, key=kept.__getitem__) == "OCRBench"
    assert kept["OCRBench"] == pytest.approx(0.852, abs=5e-4)
    text = "\n".join(commands("m", "a"))
    assert all(text.count(benchmark.task) >= 2 for benchmark in PAPER), "base and adapter"
    assert NEEDS_VLLM[0] not in text.split("# mmmu_val")[0].split("serve-model")[1]


def test_the_command_prints_what_cannot_run_here_as_commands(capsys):
    from vlm2vla_sim.cli.main import main

    assert main(["vqa", "--model", "google/gemma-3-12b-it", "--adapter", "runs/a", "--lmms-eval", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["tasks"]) == 12
    assert main(["vqa", "--model", "m"]) == 1
    assert "--adapter" in capsys.readouterr().err


def test_questions_about_one_image_are_resampled_together():
    """Forty images, five questions each; the tuned model misses all five questions about every fourth image."""
    questions = [VqaQuestion("what", f"{k}, {n}?", ("yes",), (picture(k),)) for k in range(40) for n in range(5)]
    base, tuned = said(["yes"] * 200), said(["no" if k % 4 == 0 else "yes" for k in range(40) for _ in range(5)])
    together = retentions(compare(questions, base, tuned))[0]
    apart = [VqaQuestion("what", f"{k}?", ("yes",), (picture(k),)) for k in range(200)]
    alone = retentions(compare(apart, base, tuned))[0]
    assert (together.questions, together.images, alone.images) == (200, 40, 200)
    assert together.retention.value == alone.retention.value == 0.75
    width = lambda one: one.high - one.low  # noqa: E731
    assert width(together.retention) > 2 * width(alone.retention)
    assert (together.tuned.low, together.tuned.high) == pytest.approx(wilson_interval(30, 40), abs=0.01)
    assert (alone.tuned.low, alone.tuned.high) == wilson_interval(150, 200)


def test_images_are_recognised_by_their_pixels_and_through_other_questions():
    one, two, three = picture(1), picture(2), picture(3)
    questions = [
        VqaQuestion("a", "q?", ("y",), images)
        for images in ((one,), (two.copy(),), (), (one.copy(), two), (three,), (), (three[:5],))
    ]
    groups = image_groups(questions)
    assert groups[0] == groups[1] == groups[3]
    assert len(set(groups)) == 5
    flat = np.zeros((4, 6, 3), np.uint8)
    other = flat.reshape(6, 4, 3)
    assert len(set(image_groups([VqaQuestion("a", "q?", ("y",), (image,)) for image in (flat, other)]))) == 2


def test_one_image_alone_has_no_interval():
    questions = [VqaQuestion("a", f"{k}?", ("yes",), (picture(0),)) for k in range(9)]
    (found, _) = retentions(compare(questions, said(["yes"] * 9), said(["yes"] * 9)))
    assert (found.images, found.retention.value, found.retention.low, found.base.low) == (1, 1.0, None, None)
    assert found.retention.text(1, 100) == "100.0 (? to ?)"
    assert json.loads(json.dumps(to_json([found])))[0]["retention"]["low"] is None


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_where_all_are_right_or_wrong_the_images_are_the_trials(right):
    found = grouped_rate([right] * 60, np.repeat(np.arange(12), 5))
    assert (found.low, found.high) == pytest.approx(wilson_interval(12 * right, 12))


def test_the_interval_of_a_rate_covers_it_as_often_as_it_says():
    """30 images with 6 questions each, alike within an image: 95 % of the intervals hold the true rate."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 6)
    covered = naive = 0
    for _ in range(400):
        chance = rng.beta(0.8 * 0.7, 0.2 * 0.7, size=30)
        right = (rng.random(180) < chance[groups]).astype(float)
        found, plain = grouped_rate(right, groups), wilson_interval(right.sum(), 180)
        covered += found.low <= 0.8 <= found.high
        naive += plain[0] <= 0.8 <= plain[1]
    assert covered / 400 > 0.91
    assert naive / 400 < 0.8


def test_the_command_says_how_many_images_there_are(tmp_path, capsys, monkeypatch):
    from vlm2vla_sim.cli.main import main

    questions = [VqaQuestion("a", f"{k}?", ("yes",), (picture(k // 2),)) for k in range(6)]
    write_questions(questions, tmp_path / "q")
    monkeypatch.setattr("vlm2vla_sim.cli.commands.vqa._load", lambda *_, **__: Forgetful())
    given = ("--model", "m", "--adapter", "a", "--questions", str(tmp_path / "q"), "--out", str(tmp_path / "out"))
    assert main(["vqa", *given]) == 0
    told = capsys.readouterr().out
    assert "95 % intervals over images" in told
    assert told.splitlines()[2].split()[:3] == ["category", "questions", "images"]
    assert [row.split()[:3] for row in told.splitlines() if row.startswith("a ")] == [["a", "6", "3"]]
    lines = [json.loads(line) for line in (tmp_path / "out/answers.jsonl").read_text().splitlines()]
    assert [line["image_group"] for line in lines] == [0, 0, 2, 2, 4, 4]
