"""Settings: what is refused and in which words, overrides, and the way through YAML and back."""

import enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from core.errors import UsageError
from core.settings import (
    Settings,
    apply_overrides,
    parse_settings,
    read_yaml,
    settings_digest,
    to_plain,
    to_yaml,
)


class Circle(Settings):
    kind: Literal["circle"] = "circle"
    radius: float = Field(default=1.0, gt=0)


class Square(Settings):
    kind: Literal["square"] = "square"
    side_length: float = 1.0

    @model_validator(mode="after")
    def _check(self) -> "Square":
        if self.side_length == 13:
            raise ValueError("13 brings bad luck")
        return self


Shape = Annotated[Circle | Square, Field(discriminator="kind")]


class Colour(enum.Enum):
    red = "red"
    blue = "blue"


class Pen(Settings):
    width: int = 1
    colour: Colour = Colour.red


class Drawing(Settings):
    title: str = "untitled"
    learning_rate: float = 1e-3
    steps: int = Field(default=100, gt=0)
    pens: tuple[Pen, ...] = (Pen(), Pen(width=2))
    shape: Shape = Circle()
    more: list[Shape] = Field(default_factory=list)
    optional: Pen | None = None
    modules: dict[str, int] = Field(default_factory=lambda: {"layers.*.mlp": 20, "layers": 5})


def problem(data: dict[str, Any], source: str = "file.yaml") -> str:
    with pytest.raises(UsageError) as caught:
        parse_settings(Drawing, data, source)
    return str(caught.value)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Drawing().steps = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("data", "path", "suggestion"),
    [
        ({"stepps": 3}, "'stepps'", "steps"),
        ({"pens": [{}, {"widht": 2}]}, "'pens.1.widht'", "width"),
        ({"shape": {"kind": "square", "side_lenght": 2}}, "'shape.side_lenght'", "side_length"),
        ({"more": [{"kind": "circle", "radios": 2}]}, "'more.0.radios'", "radius"),
        ({"optional": {"color": "red"}}, "'optional.color'", "colour"),
    ],
)
def test_unknown_key_is_named_by_its_path_with_the_nearest_name(
    data: dict[str, Any], path: str, suggestion: str
) -> None:
    text = problem(data)
    assert text.startswith(f"file.yaml: unknown settings key {path}.")
    assert f"Did you mean {suggestion}?" in text


def test_suggestions_come_from_the_chosen_branch_only() -> None:
    assert problem({"shape": {"kind": "circle", "side_length": 2}}).endswith("Known: kind, radius.")


def test_all_problems_are_listed() -> None:
    text = problem({"stepps": 3, "learning_rate": "fast", "shape": {"kind": "circle", "radius": -1}})
    lines = text.splitlines()
    assert len(lines) == 3
    assert any("learning_rate = 'fast'" in line for line in lines)
    assert any("shape.radius = -1" in line and "greater than 0" in line for line in lines)


def test_unknown_kind_gets_the_nearest_kind() -> None:
    text = problem({"shape": {"kind": "circel"}})
    assert "shape.kind = 'circel'" in text and "Did you mean circle?" in text
    assert "'kind'" in problem({"shape": {"radius": 1.0}})


def test_own_checks_speak_in_their_own_words() -> None:
    assert "13 brings bad luck" in problem({"shape": {"kind": "square", "side_length": 13}})


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"steps": None}, "file.yaml: steps = null: must be a whole number."),
        ({"steps": 1.5}, "file.yaml: steps = 1.5: must be a whole number."),
        ({"learning_rate": "1e-3x"}, "file.yaml: learning_rate = '1e-3x': must be a number."),
        ({"pens": 5}, "file.yaml: pens = 5: must be a list."),
        ({"optional": 5}, "file.yaml: optional = 5: must be a mapping with the keys"),
    ],
)
def test_wrong_types_are_told_in_words_of_yaml(data: dict[str, Any], line: str) -> None:
    assert problem(data).startswith(line)


def test_a_file_that_is_not_yaml_is_told_the_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("a: 1\n\tb: 2\n")
    with pytest.raises(UsageError, match=r"line 2, column 1: found character") as caught:
        read_yaml(file)
    assert len(str(caught.value).splitlines()) == 1
    file.write_text("")
    with pytest.raises(UsageError, match="got nothing"):
        read_yaml(file)


def test_settings_must_be_a_mapping() -> None:
    with pytest.raises(UsageError, match="expected a mapping"):
        parse_settings(Drawing, ["steps"], "file.yaml")


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "0.001", "1.0e-3", "+1e-3", ".001"])
def test_numbers_as_people_write_them(text: str) -> None:
    assert apply_overrides(to_plain(Drawing()), [f"learning_rate={text}"])["learning_rate"] == 0.001


def test_override_values_are_yaml() -> None:
    plain = apply_overrides(
        to_plain(Drawing()),
        [
            "title=",
            "optional={width: 3}",
            "pens.1.width=7",
            "more=[{kind: circle, radius: 1e-2}]",
            "steps=1e4",
        ],
    )
    assert plain["title"] is None
    assert plain["more"] == [{"kind": "circle", "radius": 0.01}]
    drawing = parse_settings(Drawing, {**plain, "title": "x"}, "--set")
    assert (drawing.pens[1].width, drawing.optional, drawing.steps) == (7, Pen(width=3), 10_000)


def test_override_keeps_quoted_text_and_null() -> None:
    plain = apply_overrides(to_plain(Drawing()), ['title="1e-3"', "optional=null"])
    assert plain["title"] == "1e-3" and plain["optional"] is None


def test_override_of_a_key_with_dots() -> None:
    plain = apply_overrides(to_plain(Drawing()), ["modules.layers.*.mlp=7", "modules.layers=6"])
    assert plain["modules"] == {"layers.*.mlp": 7, "layers": 6}


def test_override_leaves_its_input_alone() -> None:
    plain = to_plain(Drawing())
    apply_overrides(plain, ["pens.0.width=9"])
    assert plain == to_plain(Drawing())


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("learning_rat=1", "Did you mean learning_rate?"),
        ("pens.0.colr=red", "Did you mean colour?"),
        ("pens.5.width=1", "index 0 to 1"),
        ("more.0=1", "it is empty"),
        ("title.x=1", "'untitled' and has no key 'x'"),
        ("learning_rate", "key.path=value"),
        ("=3", "key.path=value"),
        ("pens=[1", "not valid YAML"),
    ],
)
def test_bad_overrides_are_explained(item: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        apply_overrides(to_plain(Drawing()), [item])
    assert words in str(caught.value) and repr(item) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: [1", "not valid YAML"),
        (b"- 1\n", "expected a mapping"),
        (b"", "expected a mapping"),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"steps: 1\nsteps: 2\n", "'steps' is given twice"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_yaml(file)
    assert words in str(caught.value) and str(file) in str(caught.value)


def test_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_yaml(tmp_path / "absent.yaml")


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["1e-3", "-1E5", "1_0e3", "null", "yes", "~", "0x1f", "1:30", "# a", "2020-01-01", ""]
)
numbers = st.floats(allow_nan=False, allow_infinity=False)
pens = st.builds(Pen, width=st.integers(), colour=st.sampled_from(Colour))
shapes = st.builds(Circle, radius=numbers.filter(lambda x: x > 0)) | st.builds(
    Square, side_length=numbers.filter(lambda x: x != 13)
)
drawings = st.builds(
    Drawing,
    title=texts,
    learning_rate=numbers,
    steps=st.integers(1, 10**12),
    pens=st.lists(pens, max_size=2).map(tuple),
    shape=shapes,
    more=st.lists(shapes, max_size=2),
    optional=st.none() | pens,
    modules=st.dictionaries(texts, st.integers(), max_size=2),
)


@given(drawing=drawings)
def test_yaml_round_trip(tmp_path_factory: pytest.TempPathFactory, drawing: Drawing) -> None:
    file = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    file.write_text(to_yaml(drawing), encoding="utf-8", newline="")
    again = parse_settings(Drawing, read_yaml(file), str(file))
    assert again == drawing
    assert settings_digest(again) == settings_digest(drawing)


def test_yaml_holds_every_default_in_order() -> None:
    text = to_yaml(Drawing())
    positions = [text.index(f"{name}:") for name in Drawing.model_fields]
    assert positions == sorted(positions)


def test_digest_tells_settings_apart() -> None:
    assert settings_digest(Drawing()) != settings_digest(Drawing(steps=101))
    assert settings_digest(Drawing(steps=100)) == settings_digest(Drawing())
