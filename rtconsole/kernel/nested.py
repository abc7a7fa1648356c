"""Names in functions typed into a cell, where Python looks in the globals only.

A cell's top level finds IPython's names and a function's variables in the cell's locals
(:mod:`.namespace`). A function, class or comprehension typed into the cell does not: its
free names are looked up in the program's real globals, where these names must not be.
So the few such names are rewritten, before compiling, into a look-up in the namespace.
All else is left to Python, and the source shown in tracebacks is the one typed.
"""

import ast
import builtins
from typing import Any

from .namespace import Namespace

# The namespaces that rewritten functions refer to: such a function may outlive its cell.
_namespaces: list[Namespace] = []


def resolve(number: int, name: str) -> Any:
    """Return what ``name`` means now; called by rewritten functions.

    Raises:
        NameError: it means nothing.
    """
    try:
        return _namespaces[number][name]
    except KeyError:
        pass
    try:
        return getattr(builtins, name)
    except AttributeError:
        raise NameError(f"name {name!r} is not defined", name=name) from None


class _Level:
    """A function, class or comprehension being walked: the names it binds itself."""

    def __init__(self, names: set[str], is_class: bool = False) -> None:
        self.names = names
        self.is_class = is_class


class NestedNames(ast.NodeTransformer):
    """Rewrites a cell's syntax tree; an entry of IPython's ``ast_transformers``."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._number = len(_namespaces)
        _namespaces.append(namespace)
        self._levels: list[_Level] = []

    def _is_wanted(self, name: str) -> bool:
        """Tell whether Python itself would not find ``name`` from inside a function."""
        scope, hidden = self._namespace.scope, self._namespace.hidden
        if name == "get_ipython":
            return True
        if scope.locals is not None and name in scope.locals:
            return True
        if name in scope.globals or hasattr(builtins, name):
            return False
        # in a function's scope a name may become one of its variables later
        return name in hidden or scope.locals is not None

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if not self._levels or not isinstance(node.ctx, ast.Load):
            return node
        for depth, level in enumerate(reversed(self._levels)):
            if level.is_class and depth > 0:
                continue  # a class's names are not seen by the functions in it
            if node.id in level.names:
                return node
        if not self._is_wanted(node.id):
            return node
        here = f"__import__({__name__!r}, None, None, ['resolve'])"
        call = ast.parse(f"{here}.resolve({self._number}, {node.id!r})", mode="eval").body
        for part in ast.walk(call):
            ast.copy_location(part, node)
        return call

    def _visit_import(self, node: Any) -> ast.AST:
        """Import at once what is to be imported lazily (Python 3.15).

        Only code whose globals are its locals may import lazily; a cell's are not.
        """
        if getattr(node, "is_lazy", 0) and not self._levels:
            node.is_lazy = 0
        return node  # type: ignore[no-any-return]

    visit_Import = _visit_import
    visit_ImportFrom = _visit_import

    def _visit_inside(self, level: _Level, node: ast.AST, fields: tuple[str, ...]) -> None:
        """Visit some fields of ``node`` as parts of a new level."""
        self._levels.append(level)
        try:
            self._visit_fields(node, fields)
        finally:
            self._levels.pop()

    def _visit_fields(self, node: ast.AST, fields: tuple[str, ...]) -> None:
        for field in fields:
            value = getattr(node, field, None)
            if isinstance(value, list):
                setattr(node, field, [self.visit(item) for item in value])
            elif isinstance(value, ast.AST):
                setattr(node, field, self.visit(value))

    def visit_FunctionDef(self, node: Any) -> ast.AST:
        # decorators, defaults and annotations are evaluated outside
        self._visit_fields(node, ("decorator_list", "returns"))
        self._visit_fields(node, ("args",))
        self._visit_inside(_Level(_arguments(node) | _bound_in(node.body)), node, ("body",))
        return node  # type: ignore[no-any-return]

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        self._visit_fields(node, ("args",))
        self._visit_inside(_Level(_arguments(node) | _bound_in([node.body])), node, ("body",))
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self._visit_fields(node, ("decorator_list", "bases", "keywords"))
        names = _bound_in(node.body) | _type_parameters(node)
        self._visit_inside(_Level(names, is_class=True), node, ("body",))
        return node

    def _visit_comprehension(self, node: Any) -> ast.AST:
        first = node.generators[0]
        first.iter = self.visit(first.iter)  # evaluated outside
        names = _bound_in([generator.target for generator in node.generators])
        self._levels.append(_Level(names))
        try:
            for generator in node.generators:
                if generator is not first:
                    generator.iter = self.visit(generator.iter)
                generator.ifs = [self.visit(test) for test in generator.ifs]
            self._visit_fields(node, ("elt", "key", "value"))
        finally:
            self._levels.pop()
        return node  # type: ignore[no-any-return]

    visit_ListComp = _visit_comprehension
    visit_SetComp = _visit_comprehension
    visit_DictComp = _visit_comprehension
    visit_GeneratorExp = _visit_comprehension


def _arguments(node: Any) -> set[str]:
    found = {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
    return found | _type_parameters(node)


def _type_parameters(node: Any) -> set[str]:
    return {parameter.name for parameter in getattr(node, "type_params", ())}


def _bound_in(nodes: list[Any]) -> set[str]:
    """Return the names that a body binds or declares, without its nested functions' own."""
    found: set[str] = set()
    waiting: list[ast.AST] = list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
            continue
        elif isinstance(node, ast.Lambda):
            continue
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            # its targets are its own, but := in it binds here
            for part in ast.walk(node):
                if isinstance(part, ast.NamedExpr):
                    found.add(part.target.id)
            continue
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            found.update(node.names)  # said by the user to be elsewhere: not ours to look up
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found.add(node.rest)
        waiting.extend(ast.iter_child_nodes(node))
    return found
