"""Mutants: every small change of a module that its tests should notice.

One mutator serves gateware, golden model and compiler. mutmut and cosmic-ray mutate a package where it stands, and run
it from there; here ``sw``, ``hw`` and ``sim`` are folders that become one package, ``sateen``, where it is installed.
And neither knows what a mistake in Amaranth looks like: an assignment of a list that is missing, a ``Mux`` whose values
are swapped, an ``m.If`` that is always true. What remains is a visitor of the syntax tree.
"""

from __future__ import annotations

import ast
import difflib
import re
from dataclasses import dataclass

__all__ = ["Mutant", "mutants"]

OPERATORS: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "+"),
    ast.FloorDiv: ("//", "*"),
    ast.Div: ("/", "*"),
    ast.Mod: ("%", "//"),
    ast.Pow: ("**", "*"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.BitXor: ("^", "|"),
}
COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.In: ("in", "not in"),
    ast.NotIn: (r"not\s+in", "in"),
    ast.Is: ("is", "is not"),
    ast.IsNot: (r"is\s+not", "is"),
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "floor": "ceil", "ceil": "floor"}
"""Functions and methods that are taken for each other."""
SHAPES = ("Signal", "signed", "unsigned")
"""Functions whose numbers are widths of wires."""


@dataclass(frozen=True)
class Mutant:
    """One change of one file."""

    file: str
    """Path in the repository."""
    line: int
    scope: str
    """The class and function that it is in, joined by dots; empty for the module."""
    before: str
    """The lines that change, stripped and joined by ⏎."""
    after: str
    source: bytes
    """The whole file with the change."""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What names it while other lines change."""
        return self.file, self.scope, self.before, self.after


def mutants(file: str, source: bytes) -> list[Mutant]:
    """All mutants of a file's text, by lines; no two of them are the same."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    found: dict[bytes, Mutant] = {}
    original = source.decode().splitlines()
    for start, end, text, scope in finder.edits:
        changed = source[:start] + text.encode() + source[end:]
        try:
            ast.parse(changed)
        except SyntaxError:
            continue
        before, after = _changed(original, changed.decode().splitlines())
        line = source[:start].count(b"\n") + 1
        found.setdefault(changed, Mutant(file, line, scope, before, after, changed))
    found.pop(source, None)
    return sorted(found.values(), key=lambda mutant: mutant.line)


def _changed(before: list[str], after: list[str]) -> tuple[str, str]:
    """The lines in which two texts differ."""
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    blocks = [block for block in matcher.get_opcodes() if block[0] != "equal"]
    _, first, _, first_after, _ = blocks[0]
    _, _, last, _, last_after = blocks[-1]
    old, new = before[first:last], after[first_after:last_after]
    return "⏎".join(line.strip() for line in old), "⏎".join(line.strip() for line in new)


class _Finder(ast.NodeVisitor):
    """Collects edits: first byte, byte behind the last, new text, scope. What only annotates, describes or reports is
    passed over: annotations, decorators, texts, errors' messages, assertions. So are a component's ports: benches and
    neighbours are made of the same declaration, and a wire that is too wide is no mistake that a test could see."""

    def __init__(self, source: bytes):
        self.source, self.edits, self.scope = source, list[tuple[int, int, str, str]](), list[str]()
        self.shapes: set[ast.expr] = set()
        """Constants that are widths of wires."""
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return (
            self.starts[node.lineno - 1] + node.col_offset,
            self.starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def _text(self, node: ast.expr) -> str:
        start, end = self._span(node)
        return self.source[start:end].decode()

    def _replace(self, node: ast.expr | ast.stmt, text: str) -> None:
        self.edits.append((*self._span(node), text, ".".join(self.scope)))

    def _between(self, left: ast.expr, right: ast.expr, pattern: str, text: str) -> None:
        """Replaces the operator between two operands."""
        start, end = self._span(left)[1], self._span(right)[0]
        gap = re.sub(rb"#.*", lambda comment: b" " * len(comment[0]), self.source[start:end])
        if found := re.search(pattern.encode(), gap):
            self.edits.append((start + found.start(), start + found.end(), text, ".".join(self.scope)))

    def _condition(self, test: ast.expr, true: str = "True", false: str = "False") -> None:
        if not isinstance(test, ast.Constant):
            for text in (true, false):
                self._replace(test, text)

    def _visit_all(self, nodes: list[ast.stmt] | list[ast.expr]) -> None:
        for node in nodes:
            self.visit(node)

    # Definitions and statements.

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scope.append(node.name)
        self._visit_all(node.body)
        self.scope.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_all([*node.args.defaults, *(value for value in node.args.kw_defaults if value is not None)])
        self.scope.append(node.name)
        self._visit_all(node.body)
        self.scope.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if any(isinstance(target, ast.Name) and target.id.startswith("__") for target in node.targets):
            return
        if isinstance(node.targets[0], (ast.Attribute, ast.Subscript)):
            self._replace(node, "pass")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._replace(node, "pass")
        if isinstance(node.value, ast.List) and len(node.value.elts) > 1:
            for element in node.value.elts:
                self._replace(element, "*()")
        elif not isinstance(node.value, ast.List) and type(node.op) in OPERATORS:
            old, new = OPERATORS[type(node.op)]
            if not self._text(node.target).startswith("m.d."):
                self._between(node.target, node.value, re.escape(old), new)
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call) and not self._text(node.value).startswith("super()"):
            self._replace(node, "pass")
            self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self._replace(node, "pass")

    def visit_Assert(self, node: ast.Assert) -> None:
        """Assertions tell the type checker what is known."""

    def visit_Continue(self, node: ast.Continue) -> None:
        self._replace(node, "break")

    def visit_Break(self, node: ast.Break) -> None:
        self._replace(node, "continue")

    def visit_If(self, node: ast.If) -> None:
        self._condition(node.test)
        self.generic_visit(node)

    # Expressions.

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._condition(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._condition(test)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in OPERATORS:
            old, new = OPERATORS[type(node.op)]
            self._between(node.left, node.right, re.escape(old), new)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands, node.ops, operands[1:], strict=False):
            self._between(left, right, *COMPARISONS[type(operator)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, right, rf"\b{old}\b", new)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        self._replace(node, self._text(node.operand))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
        if name in NAMES:
            start, end = self._span(function)
            self.edits.append((end - len(name), end, NAMES[name], ".".join(self.scope)))
        if name == "Mux":
            _, true, false = node.args
            self.edits.append(
                (
                    self._span(true)[0],
                    self._span(false)[1],
                    f"{self._text(false)}, {self._text(true)}",
                    ".".join(self.scope),
                )
            )
        if name in ("If", "Elif"):
            self._condition(node.args[0], "1", "0")
        if name in SHAPES:
            # A wire that is wider than it must be is no mistake.
            self.shapes |= {argument for argument in node.args if isinstance(argument, ast.Constant)}
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._replace(node, str(not node.value))
        elif isinstance(node.value, (int, float)):
            if node not in self.shapes:
                self._replace(node, f"{node.value + 1}")
            if node.value > 0:
                self._replace(node, f"{node.value - 1}")

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Texts are not mutated."""
