"""Errors: exit codes, and the phrase that offers near names."""

import pytest

from core.errors import Interrupted, SpdError, UsageError, nearest_names


@pytest.mark.parametrize(("kind", "code"), [(SpdError, 1), (UsageError, 2), (Interrupted, 130)])
def test_each_error_has_its_exit_code(kind: type[SpdError], code: int) -> None:
    error = kind("the thing is 3.", "Try 4.")
    assert error.exit_code == code
    assert isinstance(error, SpdError)
    assert str(error) == "the thing is 3. Try 4."


def test_an_error_without_remedy_is_its_message() -> None:
    assert str(SpdError("plain.")) == "plain."


def test_close_names_are_offered() -> None:
    assert nearest_names("tms_52", ["tms_5-2", "resid_mlp1"]) == "Did you mean tms_5-2?"


def test_without_a_close_name_all_are_listed() -> None:
    assert nearest_names("zzz", ["beta", "alpha"]) == "Known: alpha, beta."


def test_several_close_names_and_many_names_read_well() -> None:
    assert nearest_names("mlp", ["mlp3", "mlp1", "mlp2"]) == "Did you mean mlp1, mlp2 or mlp3?"
    assert nearest_names("zzz", [f"run{n:02}" for n in range(25)]).endswith("run19 and 5 more.")
