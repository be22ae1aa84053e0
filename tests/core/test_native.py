"""The door to the kernels: what it refuses, what it says without a binary, and its typed contract."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import core
from core import _harvest, native

ROOT = Path(core.__file__).parent


def test_inputs_of_the_wrong_kind_are_refused_by_name() -> None:
    a, g = torch.rand(6, 4), torch.rand(6, 4)
    with pytest.raises(AssertionError, match="float32"):
        native.leaky_hard_forward(a.double())
    with pytest.raises(AssertionError, match="contiguous"):
        native.leaky_hard_forward(a.T)
    with pytest.raises(AssertionError, match=r"g has shape \(6, 3\), expected \(6, 4\)"):
        native.masked_acts_forward(a, torch.rand(6, 3), key=1)
    with pytest.raises(AssertionError, match=r"delta_mask has shape \(5,\)"):
        native.masked_acts_forward(a, g, key=1, delta_mask=torch.rand(5))
    w = torch.rand(3, 2)
    with pytest.raises(AssertionError, match="w1"):
        native.parallel_mlp_forward(a, w, w, w, torch.rand(4))


def test_expanded_gradients_are_accepted() -> None:
    pre = torch.randn(6, 4)
    expanded = torch.ones(()).expand(6, 4)
    assert torch.equal(
        native.leaky_hard_backward(pre, expanded, None),
        native.leaky_hard_backward(pre, torch.ones(6, 4), None),
    )


def test_parameters_that_require_gradients_are_read_without_recording_one() -> None:
    w = torch.rand(4, 2, requires_grad=True)
    out = native.parallel_mlp_forward(torch.rand(6, 4), w, w, w, torch.rand(4))
    assert not out.requires_grad


def test_the_binary_checks_lengths_itself() -> None:
    short, long = torch.zeros(3).numpy(), torch.zeros(4).numpy()
    with pytest.raises(ValueError, match="lower has 3 elements, expected 4"):
        _harvest.leaky_hard_forward(long, short, torch.zeros(4).numpy(), 1)
    with pytest.raises(TypeError):
        _harvest.uniform_fill(0, 0, torch.zeros(3, dtype=torch.float64).numpy(), 1)  # pyright: ignore[reportArgumentType]


def test_a_missing_binary_is_an_error_that_names_the_build_command() -> None:
    code = (
        "import sys; sys.modules['core._harvest'] = None\n"
        "from core.errors import SpdError\n"
        "try:\n    import core.native\n"
        "except SpdError as error:\n    assert 'make build' in str(error), error\n"
        "else:\n    raise SystemExit('imported without a binary')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent)


def test_stub_and_binary_name_the_same_functions_and_arguments() -> None:
    stub = ast.parse((ROOT / "_harvest.pyi").read_text(encoding="utf-8"))
    declared = {
        node.name: [argument.arg for argument in node.args.args]
        for node in stub.body
        if isinstance(node, ast.FunctionDef)
    }
    built = {
        name: list(inspect.signature(function).parameters)
        for name, function in vars(_harvest).items()
        if callable(function) and not inspect.isclass(function)
    }
    assert declared == built


def test_stub_and_binary_name_the_same_methods() -> None:
    stub = ast.parse((ROOT / "_harvest.pyi").read_text(encoding="utf-8"))
    (harvest,) = [node for node in stub.body if isinstance(node, ast.ClassDef)]
    declared = {node.name for node in harvest.body if isinstance(node, ast.FunctionDef)}
    built = {name for name in vars(_harvest.Harvest) if not name.startswith("__")}
    assert declared - {"__new__", "__init__"} == built


def test_only_the_doors_import_the_binary() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        if re.search(r"(import|core\.)\s*_harvest", path.read_text(encoding="utf-8"))
    }
    assert users == {"harvest/kernel.py", "native.py"}
