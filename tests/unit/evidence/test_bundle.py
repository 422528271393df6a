"""The offline verifier is one file that needs nothing of ours."""

from __future__ import annotations

import ast

import pytest

from siaga.evidence.bundle import MODULES, bundle
from siaga.evidence.export import verifier

pytestmark = pytest.mark.clause("SUM")


def sources(**changed: str) -> dict[str, str]:
    return {module: changed.get(module, f'"""Of {module}."""\n') for module in MODULES}


def test_it_imports_the_standard_library_and_cryptography_alone() -> None:
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name or "").partition(".")[0]  # type: ignore[union-attr]
        for node in ast.walk(ast.parse(verifier()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported == {
        "__future__", "argparse", "base64", "binascii", "collections", "cryptography", "dataclasses", "datetime",
        "hashlib", "json", "os", "pathlib", "re", "sys", "typing",
    }  # fmt: skip


def test_its_help_is_that_of_the_verifier() -> None:
    assert (ast.get_docstring(ast.parse(verifier())) or "").startswith("Checks Siaga's evidence, offline and by itself")


def test_a_name_that_two_modules_use_differently_is_refused() -> None:
    with pytest.raises(ValueError, match="`_line` is defined in merkle and in notes"):
        bundle(sources(merkle="def _line():\n    pass\n", notes="_line = 1\n"))


def test_imports_are_merged_and_ours_are_left_out() -> None:
    first = '"""M."""\n\nfrom json import dumps\nimport os\n\nX = 1\n'
    second = '"""C."""\n\nfrom json import (\n    dumps,\n    loads,\n)\nfrom siaga.evidence.merkle import X\n\nY = X\n'
    made = bundle(sources(merkle=first, chain=second))
    assert made.count("from json import dumps, loads") == 1
    assert "siaga" not in made
    namespace: dict[str, object] = {}
    exec(made, namespace)
    assert namespace["Y"] == 1
