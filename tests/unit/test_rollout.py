"""Roll-out: two policies compared, a candidate beside the live one, decisions on record, a file read again."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from guardkit import Decision, Guard, Policy
from guardkit.cli.main import main
from guardkit.errors import InputError, PolicyError
from guardkit.policy.rules import Rule, StagePolicy, When, WordList
from guardkit.rollout import Beside, Change, Pair, PolicyFile, Recorder, changes
from guardkit.taxonomy import Stage
from guardkit.types import Action
from tests.conftest import WriteFile
from tests.unit.test_loop_run import Scripted, guard_of

SECRET = "my secret idiot"
LISTS = {
    "rude": WordList(block=("idiot",)),
    "election": WordList(block=("vote",)),
}


def list_guard(*rules: Rule, name: str = "listed") -> Guard:
    stage = StagePolicy(scorers=("blocklist",), editors=("redact", "cut"), rules=rules)
    return Guard(Policy(name, prompt=stage, output_text=stage, lists=LISTS))  # type: ignore[arg-type]


def on(category: str, action: Action, using: str | None = None) -> Rule:
    return Rule(f"no-{category}", When(category, 1), action, using)


LAX = list_guard(on("rude", Action.EDIT, "redact"))
STRICT = list_guard(on("rude", Action.BLOCK), on("election", Action.BLOCK))
TEXTS = ["a boat", "an idiot", "a vote", "a vote, idiot"]


# --- two policies compared ------------------------------------------------------------------------------


def test_changes_are_the_texts_decided_otherwise_and_why() -> None:
    assert changes(LAX, STRICT, TEXTS) == [
        Change(1, Action.EDIT, Action.BLOCK, ("no-rude: edit with redact in the first, block in the second",), "an idiot"),
        Change(2, Action.ALLOW, Action.BLOCK, ("no-election: election scored 1.00, at least 1.00: block, fires in the second alone",), "a vote"),
        Change(3, Action.EDIT, Action.BLOCK, (
            "no-election: election scored 1.00, at least 1.00: block, fires in the second alone",
            "no-rude: edit with redact in the first, block in the second",
        ), "a vote, idiot"),
    ]  # fmt: skip


def test_no_policy_differs_from_itself_and_the_way_back_is_laxer() -> None:
    assert changes(STRICT, STRICT, TEXTS) == []
    back = changes(STRICT, LAX, TEXTS, stage=Stage.OUTPUT_TEXT)
    assert [change.row for change in back] == [1, 2, 3]
    assert not any(change.is_stricter for change in back)
    assert back[1].why[0].endswith("fires in the first alone")


def test_another_text_is_a_change_too() -> None:
    cutting = list_guard(on("rude", Action.EDIT, "cut"))
    (change,) = changes(LAX, cutting, ["an idiot boat"])
    assert (change.before, change.after) == (Action.EDIT, Action.EDIT)
    assert "both edit it, to different texts" in change.why


def test_only_stages_of_text_are_compared() -> None:
    with pytest.raises(InputError, match="Expected prompt or output-text"):
        changes(LAX, STRICT, TEXTS, stage=Stage.OUTPUT_IMAGE)


POLICY = """
policy: {name}
prompt:
  scorers: [blocklist]
  rules:
    - {{name: no-rude, when: {{category: rude, at_least: 1}}, action: {action}}}
lists: {{rude: {{block: [idiot]}}}}
"""


def test_the_command_says_what_changes_and_holds_no_text_unless_asked(
    write_file: WriteFile, capsys: pytest.CaptureFixture[str]
) -> None:
    a = str(write_file("a.yaml", POLICY.format(name="a", action="block")))
    b = str(write_file("b.yaml", POLICY.format(name="b", action="regenerate")))
    data = str(write_file("texts.csv", f"text\n{SECRET}\na boat\n"))
    assert main(["policy", "diff", a, b, "--data", data]) == 1
    told = capsys.readouterr().out
    assert "1 of 2 texts are decided otherwise: B is stricter on 0, laxer on 1" in told
    assert "text 1: block -> regenerate" in told
    assert SECRET not in told
    assert main(["policy", "diff", a, b, "--data", data, "--json", "--include-text"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(one["row"], one["text"]) for one in found["changes"]] == [(0, SECRET)]
    assert main(["policy", "diff", a, a, "--data", data]) == 0


# --- a candidate beside the live policy -----------------------------------------------------------------


def test_a_candidate_decides_beside_and_the_live_one_is_enforced() -> None:
    pairs: list[Pair] = []
    beside = Beside(LAX, STRICT, pairs.append)
    assert beside.check_prompt("a vote").action is Action.ALLOW
    assert beside.check_output(text="a boat").action is Action.ALLOW
    assert asyncio.run(beside.acheck_prompt("an idiot")).action is Action.EDIT
    assert asyncio.run(beside.acheck_output(text="a vote")).action is Action.ALLOW
    beside.close()
    actions = [(pair.live.action, pair.candidate.action) for pair in pairs]
    allow, edit, block = Action.ALLOW, Action.EDIT, Action.BLOCK
    assert actions == [(allow, block), (allow, allow), (edit, block), (allow, block)]
    assert [bool(pair.why) for pair in pairs] == [True, False, True, True]


def test_a_candidate_that_fails_or_is_slow_disturbs_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    here, release = threading.Event(), threading.Event()

    def hang(pair: Pair) -> None:
        here.set()
        release.wait(30)
        raise ValueError(SECRET)

    beside = Beside(LAX, STRICT, hang, waiting=2)
    beside.check_prompt("a boat")
    assert here.wait(30)
    for _ in range(5):
        assert beside.check_prompt("a boat").action is Action.ALLOW
    assert beside.dropped == 3
    release.set()
    beside.close()
    assert beside.failed == 3
    assert SECRET not in caplog.text


# --- decisions on record --------------------------------------------------------------------------------


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_holds_the_evidence_and_no_content(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "decisions.jsonl", key=b"mine")
    decision = LAX.check_prompt(SECRET)
    recorder.write(decision, text=SECRET, note="request 7")
    recorder.write(decision, text=SECRET)
    recorder.write(decision, text="another text")
    recorder.close()
    assert "secret" not in recorder.path.read_text()
    first, second, third = lines(recorder.path)
    assert first["policy_id"] == LAX.policy.id
    assert (first["action"], first["note"], first["characters"]) == (
        "edit",
        "request 7",
        len(SECRET),
    )
    assert first["scores"] == {"rude": 1.0, "election": 0.0}
    assert {"fired", "timings_ms", "status", "at"} <= set(first)
    assert first["digest"] == second["digest"] != third["digest"]


def test_a_record_holds_the_text_where_it_was_asked_for(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "decisions.jsonl", include_text=True)
    recorder.write(LAX.check_prompt(SECRET), text=SECRET)
    (line,) = lines(recorder.path)
    assert (line["original"], line["text"]) == (SECRET, "my secret [removed]")


def test_digests_of_two_recorders_mean_nothing_to_each_other(tmp_path: Path) -> None:
    for name in ("one", "two"):
        Recorder(tmp_path / name).write(LAX.check_prompt(SECRET), text=SECRET)
    assert lines(tmp_path / "one")[0]["digest"] != lines(tmp_path / "two")[0]["digest"]


def test_a_run_is_recorded_with_every_attempt(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "runs.jsonl")
    recorder.write_run(guard_of().run(Scripted(SECRET, "a boat"), "a boat"), prompt="a boat")
    (line,) = lines(recorder.path)
    assert isinstance(line["attempts"], list)
    assert len(line["attempts"]) == 2
    assert SECRET not in recorder.path.read_text()


def test_lines_of_many_threads_do_not_mix(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "decisions.jsonl")
    decision = LAX.check_prompt(SECRET)
    with ThreadPoolExecutor(16) as pool:
        for count in range(400):
            pool.submit(recorder.write, decision, note=str(count))
    assert sorted(int(str(line["note"])) for line in lines(recorder.path)) == list(range(400))
    assert recorder.lost == 0


def test_a_record_that_cannot_be_written_is_counted_and_fails_no_check(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "decisions.jsonl")
    recorder.close()
    recorder.write(LAX.check_prompt(SECRET), text=SECRET)
    assert recorder.lost == 1
    with pytest.raises(InputError, match="cannot be appended to"):
        Recorder(tmp_path / "no such folder" / "decisions.jsonl")


# --- a file read again ----------------------------------------------------------------------------------


def says(file: PolicyFile) -> str:
    return file.guard.check_prompt("an idiot").action.value


def test_another_policy_is_in_use_once_it_is_read(write_file: WriteFile) -> None:
    path = write_file("live.yaml", POLICY.format(name="live", action="block"))
    file = PolicyFile(path)
    old = file.guard
    assert not file.reload()
    assert file.guard is old
    path.write_text(POLICY.format(name="live", action="regenerate"))
    assert file.reload()
    assert (says(file), old.check_prompt("an idiot").action) == ("regenerate", Action.BLOCK)


def test_an_invalid_policy_leaves_the_old_one_loudly(
    write_file: WriteFile, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_file("live.yaml", POLICY.format(name="live", action="block"))
    file = PolicyFile(path)
    for broken in ("policy: live\nprompt: {scorers: [nobody]}", "policy: [", ""):
        path.write_text(broken)
        with caplog.at_level(logging.ERROR):
            assert not file.reload()
        assert says(file) == "block"
        assert file.problem is not None
        assert "stays" in caplog.text
    path.unlink()
    assert not file.reload()
    path.write_text(POLICY.format(name="live", action="regenerate"))
    assert file.reload()
    assert (says(file), file.problem) == ("regenerate", None)


def test_the_first_policy_has_to_be_valid(write_file: WriteFile) -> None:
    with pytest.raises(PolicyError):
        PolicyFile(write_file("live.yaml", "policy: live\nprompt: {scorers: [nobody]}"))


def test_a_poll_waits_until_nobody_writes_any_more(write_file: WriteFile) -> None:
    path = write_file("live.yaml", POLICY.format(name="live", action="block"))
    file = PolicyFile(path)
    assert not file.poll()
    for half in (60, 90, 120):  # valid YAML or not, it is not whole
        path.write_text(POLICY.format(name="live", action="regenerate")[:half])
        assert not file.poll()
        assert (says(file), file.problem) == ("block", None)
    path.write_text(POLICY.format(name="live", action="regenerate"))
    assert not file.poll()
    assert file.poll()
    assert says(file) == "regenerate"
    assert not file.poll()


def test_what_is_written_while_it_is_read_is_not_taken(write_file: WriteFile) -> None:
    path = write_file("live.yaml", POLICY.format(name="live", action="block"))
    during: list[Callable[[], object]] = []

    def open_guard(where: Path) -> Guard:
        guard = Guard.from_file(where)
        for write in during:
            write()
        return guard

    file = PolicyFile(path, open_guard=open_guard)
    during.append(lambda: path.write_text(POLICY.format(name="later", action="block")))
    path.write_text(POLICY.format(name="torn", action="regenerate"))
    assert not file.reload()
    assert (file.guard.policy.policy, says(file)) == ("live", "block")
    during.clear()
    assert file.reload()
    assert file.guard.policy.policy == "later"


def test_a_list_beside_the_policy_counts_too(write_file: WriteFile) -> None:
    words = write_file("lists/rude.txt", "idiot\n")
    text = POLICY.format(name="live", action="block").replace(
        "block: [idiot]", "block_file: lists/rude.txt"
    )
    file = PolicyFile(write_file("live.yaml", text))
    assert file.guard.check_prompt("a fool").action is Action.ALLOW
    words.write_text("idiot\nfool\n")
    assert not file.poll()
    assert file.poll()
    assert file.guard.check_prompt("a fool").action is Action.BLOCK


def test_a_watched_file_is_read_again_by_itself(write_file: WriteFile) -> None:
    path = write_file("live.yaml", POLICY.format(name="live", action="block"))
    file = PolicyFile(path)
    file.watch(every_s=0.01)
    path.write_text(POLICY.format(name="live", action="regenerate"))
    give_up_s = time.monotonic() + 30
    while says(file) == "block" and time.monotonic() < give_up_s:
        time.sleep(0.01)
    file.stop()
    assert says(file) == "regenerate"


# --- all at once ------------------------------------------------------------------------------------------

CALLS: tuple[Callable[[Guard, str], object], ...] = (
    lambda guard, text: told(guard.check_prompt(text)),
    lambda guard, text: told(guard.check_output(text=text)),
    lambda guard, text: [told(one) for one in guard.check_prompts([text, "a boat"])],
    lambda guard, text: guard.run(lambda prompt: prompt, text, seed=1).output,
    lambda guard, text: "".join(guard.stream(text.split(" "))),
)


def told(decision: Decision) -> dict[str, object]:
    return {**decision.to_dict(include_text=True), "timings_ms": None}


def run_together(guards: list[Guard], threads: int, calls: int) -> None:
    """Mixed calls from many threads, the guard replaced all the while: each is that of one guard alone."""
    jobs = [(call, text) for call in range(len(CALLS)) for text in TEXTS]
    expected = {
        (guard.policy.id, call, text): CALLS[call](guard, text)
        for guard in guards
        for call, text in jobs
    }
    current = [guards[0]]

    def work(first: int) -> int:
        for at in range(first, first + calls):
            guard, (call, text) = current[0], jobs[at % len(jobs)]
            assert CALLS[call](guard, text) == expected[guard.policy.id, call, text]
            current[0] = guards[at % len(guards)]
        return calls

    with ThreadPoolExecutor(threads) as pool:
        assert sum(pool.map(work, range(threads))) == threads * calls


def test_many_threads_and_replaced_guards_decide_as_one_alone() -> None:
    run_together([LAX, STRICT], threads=64, calls=40)  # bench/rollout.py: 1,000
