"""The frame of the command lines: what is read first, options from declared settings, how errors end."""

import dataclasses

import pytest
from fedtwin.core.command_line import ask, first_look, run
from fedtwin.core.settings import Settings, parameter


@dataclasses.dataclass(frozen=True)
class First(Settings):
    count: int = parameter(3, at_least=1, doc="how many", unit="m")


@dataclasses.dataclass(frozen=True)
class Second(Settings):
    sizes: tuple[int, ...] = parameter((1, 2), doc="of each")
    title: str = parameter("", doc="heading")


@pytest.mark.parametrize(
    ("arguments", "known", "word", "rest"),
    [
        ([], {}, "", []),
        (["a", "--count", "4"], {}, "a", ["--count", "4"]),
        (["--figure", "f", "a"], {"figure": "f"}, "a", []),
        (["a", "--figure=f", "--count", "4", "--preset", "p"], {"figure": "f", "preset": "p"}, "a", ["--count", "4"]),
        (["--count", "4"], {}, "", ["--count", "4"]),
        (["--fig", "f"], {}, "", ["--fig", "f"]),
    ],
)
def test_a_first_look_takes_flags_and_the_leading_word(
    arguments: list[str], known: dict[str, str], word: str, rest: list[str]
) -> None:
    given = list(arguments)
    assert first_look(arguments, "--figure", "--preset") == (known, word, rest)
    assert arguments == given


def test_settings_become_options_with_their_help(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ask((First(), Second(title="x")), ["--sizes", "5", "6", "7"], program="try", text="Tries.")
    assert asked == {"count": 3, "sizes": (5, 6, 7), "title": "x"}
    with pytest.raises(SystemExit) as ended:
        ask((First(), Second()), ["--help"], program="try", text="Tries.")
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for text in ("try", "Tries.", "how many [m]", "--title"):
        assert text in shown


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (ValueError("count is 0"), 2, "try: error: count is 0"),
        (FileNotFoundError("no file"), 2, "try: error: no file"),
        (ModuleNotFoundError("No module named 'ray'"), 2, "try: error: No module named 'ray'"),
        (ZeroDivisionError("by 0"), 2, "try: error: by 0"),
        (KeyboardInterrupt(), 130, "interrupted: run the same command again to continue"),
    ],
)
def test_errors_end_with_one_line(
    raised: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(arguments: list[str]) -> None:
        assert arguments == ["a"]
        raise raised

    with pytest.raises(SystemExit) as ended:
        run("try", work, ["a"])
    assert ended.value.code == code
    assert capsys.readouterr().err == line + "\n"


def test_defects_are_not_hidden() -> None:
    def work(arguments: list[str]) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        run("try", work, [])
