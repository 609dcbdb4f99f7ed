"""The checker of claims itself: each claim holds in one picture and fails in another."""

import pytest
from nbformat.v4 import new_code_cell, new_output

from facts import broken_claims
from kernel import TIMELINE

PICTURE = {
    "version": 1,
    "lanes": [
        {"name": "main", "parent": None, "engine": "thread", "end": "alive", "waits": [{"reason": "recv", "object": "till"}]},
        {"name": "ada", "parent": "main", "engine": "thread", "end": "panicked", "waits": []},
        {
            "name": "grace",
            "parent": "main",
            "engine": "thread",
            "end": "deadlocked",
            "waits": [{"reason": "lock", "object": "till", "deadlocked": True}],
        },
    ],
    "edges": [
        {"kind": "spawn", "from": "main", "to": "ada", "object": None},
        {"kind": "message", "from": "ada", "to": "main", "object": "till"},
    ],
    "concurrent": [["ada", "grace"]],
}


def cell(shows, outputs):
    return new_code_cell("", metadata={"threadbook": {"shows": shows}}, outputs=outputs)


@pytest.mark.parametrize(
    "true, false",
    [
        ("lane ada", "lane bob"),
        ("lanes 3", "lanes 2"),
        ("spawn main ada", "spawn ada main"),
        ("message ada main", "message main ada"),
        ("message ada main", "lock ada main"),
        ("waits main recv", "waits main lock"),
        ("waits main recv till", "waits main recv oven"),
        ("waits main recv", "waits grace recv"),
        ("concurrent grace ada", "concurrent main ada"),
        ("prints two loaves", "prints three loaves"),
        ("panicked ada", "panicked main"),
        ("deadlocked grace", "deadlocked main"),
        ("waits grace lock till", "deadlocked bob"),
        ("message ada main", "notify ada main"),
        ("lane ada", "colour ada"),
        ("lane ada", "spawn main"),
    ],
)
def test_each_claim_can_hold_and_can_fail(true, false):
    outputs = [new_output("stream", name="stdout", text="two loaves\n"), new_output("display_data", data={TIMELINE: PICTURE})]
    assert broken_claims(cell([true], outputs)) == []
    assert len(broken_claims(cell([false], outputs))) == 1


def test_no_claim_about_a_picture_holds_without_one():
    for claim in ["lane main", "lanes 0", "concurrent a b", "spawn main ada"]:
        assert "0 pictures" in broken_claims(cell([claim], []))[0]


def test_red_is_told_from_red_on_purpose():
    red = new_output("error", ename="E0373", evalue="may outlive", traceback=[])
    plain_cell, tagged, expecting = new_code_cell("", outputs=[red]), new_code_cell("", outputs=[red]), new_code_cell("")
    tagged.metadata.update(tags=["raises-exception"], threadbook={"expects": "E0373"})
    expecting.metadata.update(tags=["raises-exception"], threadbook={"expects": "E0382"})
    assert "it is red" in broken_claims(plain_cell)[0]
    assert broken_claims(tagged) == []
    assert len(broken_claims(expecting)) == 2
