"""Packages, programs and models that some tests need. Without them a test is skipped with a reason that says how to get
them."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import Any

import pytest

from sateen.extras import install_hint

MODELS = Path(os.environ.get("SATEEN_MODELS", Path(__file__).parents[2] / "shared" / "models"))


def package(name: str, *, extra: str) -> Any:
    """The module ``name`` of a package in one of the project's extras."""
    return pytest.importorskip(name, reason=f"needs {name.partition('.')[0]}; {install_hint(extra)}")


def programs(*names: str, packages: str) -> list[str]:
    """The paths of system programs; ``packages`` are the Debian packages that have them."""
    found = [path for name in names if (path := shutil.which(name))]
    if len(found) < len(names):
        pytest.skip(f"needs {' and '.join(names)}; apt-get install {packages}")
    return found


def models() -> Path:
    """The folder of public models and of their results by the reference interpreters."""
    if not MODELS.is_dir():
        pytest.skip(f"needs the reference models in {MODELS}; set SATEEN_MODELS to their folder")
    return MODELS


def vnni() -> bool:
    """Whether this processor adds products of uint8 and int8 in 32 bits; x86 processors without such instructions
    add pairs in 16 bits, which saturate."""
    info = Path("/proc/cpuinfo")
    return platform.machine() not in ("x86_64", "AMD64") or not info.exists() or "vnni" in info.read_text()


def exact_sums() -> None:
    """Sums of onnxruntime that do not saturate, where it has no other kernel for them."""
    if not vnni():
        pytest.skip("needs VNNI, or a processor that is no x86: onnxruntime's sums of uint8 by int8 saturate here")


def layer_norms() -> None:
    """onnxruntime's kernel for layer normalization on x86 processors with AVX2."""
    from sateen.reference import interpreters

    runtime, info = package("onnxruntime", extra="reference"), Path("/proc/cpuinfo")
    if not interpreters.normalizes(runtime) or "avx2" not in (info.read_text() if info.exists() else ""):
        pytest.skip("needs a later onnxruntime, and an x86 processor with AVX2: others normalize otherwise")


def exact_session(runtime: Any) -> Any:
    """onnxruntime's session, with exact sums on processors without VNNI."""
    from sateen.reference import interpreters

    def session(model: Any, sess_options: Any = None, **others: Any) -> Any:
        options = sess_options or runtime.SessionOptions()
        if options.optimized_model_filepath:
            # The test looks at the kernels that are chosen by default.
            return made(model, options, **others)
        return interpreters.exact_session(made, model, options, **others)

    made = runtime.InferenceSession
    return session
