"""Turns a failed validation of settings into one line per problem, in the words of the settings file."""

import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from core.errors import nearest_names

_LONGEST_VALUE = 60

_WANTED = {
    "int_": "must be a whole number",
    "float_": "must be a number",
    "bool_": "must be true or false",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_": "must be a mapping",
    "too_short": "must not be empty",
}
"""What to say for pydantic's kinds of problems, by how their names begin."""


def explain(error: ValidationError, kind: type[BaseModel], source: str) -> str:
    """All problems found while validating into `kind`, one a line, each with what is allowed there."""
    return "\n".join(f"{source}: {_line(dict(item), kind)}" for item in error.errors())


def _line(item: dict[str, Any], kind: type[BaseModel]) -> str:
    location = list(item["loc"])
    last = location.pop() if item["type"] in ("extra_forbidden", "missing") else None
    types_here, path = _walk([kind], location)
    shown = ".".join(path if last is None else [*path, str(last)]) or "the settings"
    if item["type"] == "extra_forbidden":
        return f"unknown settings key {shown!r}. {nearest_names(str(last), _field_names(types_here))}"
    if item["type"] == "missing":
        return f"{shown!r} is missing and has no default."
    if item["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return _tag_line(item, shown)
    value = _as_yaml(item["input"])
    if len(value) > _LONGEST_VALUE:
        value = value[:_LONGEST_VALUE] + "..."
    return f"{shown} = {value}: {_reason(item, types_here)}."


def _reason(item: dict[str, Any], types_here: list[Any]) -> str:
    """What is allowed there, in words of YAML and not of Python."""
    kind = item["type"]
    if kind in ("model_type", "model_attributes_type") and (names := _field_names(types_here)):
        return f"must be a mapping with the keys {', '.join(names)}"
    for beginning, words in _WANTED.items():
        if kind.startswith(beginning):
            return words
    return (
        str(item["msg"])
        .removeprefix("Value error, ")
        .removesuffix(".")
        .replace("Input should be", "must be", 1)
    )


def _as_yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def _tag_line(item: dict[str, Any], shown: str) -> str:
    context = item.get("ctx", {})
    discriminator = str(context.get("discriminator", "'kind'")).strip("'")
    if item["type"] == "union_tag_not_found":
        return f"{shown} needs a {discriminator!r} that says which one it is."
    expected = [tag.strip().strip("'") for tag in str(context["expected_tags"]).split(",")]
    tag = str(context["tag"])
    return f"{shown}.{discriminator} = {tag!r} is not known. {nearest_names(tag, expected)}"


def _walk(current: list[Any], location: list[Any]) -> tuple[list[Any], list[str]]:
    """Follow pydantic's location through the annotations.

    Gives the types that may stand there, and the path as the settings file has it: pydantic also names
    the branch of a union that it tried, which the file does not.
    """
    path: list[str] = []
    for part in location:
        branches = _members(current)
        inside: list[Any] = []
        for branch in branches:
            inside += _children(branch, part)
        if inside:
            current = inside
            path.append(str(part))
            continue
        chosen = [branch for branch in branches if _is_branch(branch, part)]
        if chosen:
            current = chosen
        elif not (isinstance(part, str) and ("[" in part or part == "__root__")):
            current = []
            path.append(str(part))
    return current, path


def _members(annotations: list[Any]) -> list[Any]:
    """The alternatives behind aliases, `Annotated` and unions."""
    result: list[Any] = []
    for annotation in annotations:
        if hasattr(annotation, "__value__"):  # a named alias: `type X = ...`
            result += _members([annotation.__value__])
        elif get_origin(annotation) is Annotated:
            result += _members([get_args(annotation)[0]])
        elif get_origin(annotation) in (Union, types.UnionType):
            result += _members(list(get_args(annotation)))
        else:
            result.append(annotation)
    return result


def _children(annotation: Any, part: Any) -> list[Any]:
    """What stands under `part` inside one alternative."""
    if _is_model(annotation):
        for name, field in annotation.model_fields.items():
            if part in (name, field.alias):
                return [field.annotation]
        return []
    origin, arguments = get_origin(annotation), get_args(annotation)
    if not isinstance(origin, type) or not arguments:
        return []
    if issubclass(origin, Mapping):
        return [arguments[-1]]
    if isinstance(part, int):
        if origin is tuple and arguments[-1] is not Ellipsis:
            return [arguments[part]] if part < len(arguments) else []
        return [arguments[0]]
    return []


def _is_branch(annotation: Any, part: Any) -> bool:
    """Whether pydantic means this alternative by `part`: its class name, or the value of its tag field."""
    if not _is_model(annotation):
        return getattr(annotation, "__name__", None) == part
    tags = (get_args(field.annotation) for field in annotation.model_fields.values())
    return annotation.__name__ == part or any(part in values for values in tags)


def _field_names(annotations: list[Any]) -> list[str]:
    models = [member for member in _members(annotations) if _is_model(member)]
    return [name for model in models for name in model.model_fields]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
