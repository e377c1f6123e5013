"""Results as JUnit's XML: the block is the class, the check the case."""

from pathlib import Path
from xml.etree import ElementTree

from blockyard.block.checks import CheckResult, Finding
from blockyard.block.checks.junit import write_junit
from blockyard.block.loader import LoadError

RESULTS = [
    CheckResult("GoodBlock", "schema", Finding(), 0.25),
    CheckResult("GoodBlock", "error", Finding(remark="no error of its own"), 0.5),
    CheckResult("GoodBlock", "speed", Finding(remark="effect ONCE", applies=False), 0.0),
    CheckResult("BadBlock", "safety", Finding(("first <b>\x00", "second")), 1.0),
]


def written(folder: Path) -> ElementTree.Element:
    path = folder / "build" / "blocks.xml"
    write_junit(path, RESULTS, [LoadError("a.b", "WrongBlock: has no id", "WrongBlock"), LoadError("c", "c: broken")])
    return ElementTree.parse(path).getroot()


def test_each_check_is_a_case_of_its_block(tmp_path: Path) -> None:
    cases = written(tmp_path).findall("testsuite/testcase")

    assert [(case.get("classname"), case.get("name"), case.get("time")) for case in cases] == [
        ("WrongBlock", "load", "0"),
        ("c", "load", "0"),
        ("GoodBlock", "schema", "0.250"),
        ("GoodBlock", "error", "0.500"),
        ("GoodBlock", "speed", "0.000"),
        ("BadBlock", "safety", "1.000"),
    ]


def test_what_failed_was_skipped_or_remarked_stands_in_its_case(tmp_path: Path) -> None:
    children = {
        (case.get("classname"), case.get("name")): [(child.tag, child.get("message"), child.text) for child in case]
        for case in written(tmp_path).iter("testcase")
    }

    assert children["WrongBlock", "load"] == [
        ("failure", "a.b: WrongBlock: has no id", "a.b: WrongBlock: has no id"),
    ]
    assert children["GoodBlock", "schema"] == []
    assert children["GoodBlock", "error"] == [("system-out", None, "no error of its own")]
    assert children["GoodBlock", "speed"] == [("skipped", "effect ONCE", None)]
    assert children["BadBlock", "safety"] == [("failure", "first <b>\ufffd", "first <b>\ufffd\nsecond")]


def test_the_suite_counts(tmp_path: Path) -> None:
    (suite,) = written(tmp_path)

    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped", "time")} == {
        "tests": "6",
        "failures": "3",
        "errors": "0",
        "skipped": "1",
        "time": "1.750",
    }
