"""The offline verifier as one file: the modules that verify, one after the other, as they stand here (pure)."""

from __future__ import annotations

import ast
from collections.abc import Mapping

MODULES = ("merkle", "chain", "signatures", "notes", "signers", "segments", "verify_export")
"""In the order in which they need each other. They import the standard library, `cryptography` and each other."""

_PACKAGE = "siaga.evidence."


def bundle(sources: Mapping[str, str]) -> str:
    """The source of one file that is all of them; ValueError when two of them use one name for different things."""
    imports: dict[str, set[str]] = {}
    names: dict[str, str] = {}
    parts: list[str] = []
    for module in MODULES:
        tree = ast.parse(sources[module])
        for name in _defined(tree):
            if names.setdefault(name, module) != module:
                raise ValueError(f"`{name}` is defined in {names[name]} and in {module}")
        dropped = [node for node in tree.body if _is_docstring(node, tree) or _is_import(node)]
        _add_imports(imports, [node for node in dropped if not _is_ours(node)])
        parts.append(f"{_title(module, tree)}\n\n{_without(sources[module], dropped)}")
    header = f'"""{ast.get_docstring(ast.parse(sources[MODULES[-1]]), clean=False)}"""'
    lines = [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(imports.items()) if names]
    lines = [f"import {module}" for module, names in sorted(imports.items()) if not names] + lines
    return "\n\n".join([header, "from __future__ import annotations", "\n".join(lines), *parts])


def _title(module: str, tree: ast.Module) -> str:
    """The module's own words, as a comment; those of the last one are at the top."""
    words = "" if module == MODULES[-1] else ast.get_docstring(tree) or ""
    return "\n".join(
        [f"# {module} {'-' * (117 - len(module))}", *(f"# {line}".rstrip() for line in words.splitlines())]
    )


def _add_imports(imports: dict[str, set[str]], nodes: list[ast.stmt]) -> None:
    """Modules by name, with the names taken from them; none where the module itself is imported."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            imports.setdefault(node.module or "", set()).update(alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                imports.setdefault(alias.name, set())


def _defined(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def _is_docstring(node: ast.stmt, tree: ast.Module) -> bool:
    return node is tree.body[0] and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _is_ours(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").startswith((_PACKAGE, "__future__"))


def _without(source: str, dropped: list[ast.stmt]) -> str:
    lines = source.split("\n")
    for node in dropped:
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = ""
    return "\n".join(lines).strip() + "\n"
