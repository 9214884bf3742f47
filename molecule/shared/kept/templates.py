# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The code that Jinja makes of Ansible's templates."""

from __future__ import annotations

import hashlib
import marshal
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType
from typing import Any

from ansible._internal._templating._jinja_bits import (
    AnsibleEnvironment,
    _CompileStateSmugglingCtx,
    _TemplateCompileContext,
)
from ansible._internal._templating._jinja_common import _TemplateConfig
from jinja2 import nodes
from jinja2.environment import TemplateExpression
from jinja2.utils import _PassArg

from kept.store import Store

# What of an environment the compiled code depends on, beside its class.
OPTIONS = (
    *("block_start_string", "block_end_string", "variable_start_string", "variable_end_string"),
    *("comment_start_string", "comment_end_string", "line_statement_prefix", "line_comment_prefix"),
    *("trim_blocks", "lstrip_blocks", "newline_sequence", "keep_trailing_newline"),
    *("optimized", "autoescape", "is_async", "sandboxed"),
)
CLASSES = ("code_generator_class", "finalize", "undefined")

Key = tuple[Any, ...]
Needs = tuple[tuple[str, str, str | None], ...]


def key_of(environment: Any, source: str, *more: Any) -> Key:
    context = _TemplateCompileContext.current(optional=True)
    return (
        str.__str__(source),  # without the tags that Ansible gives to strings: code has none
        *more,
        context and context.escape_backslashes,
        _TemplateConfig.allow_embedded_templates,
        type(environment).__qualname__,
        *(getattr(environment, name) for name in OPTIONS),
        *(getattr(environment, name).__qualname__ for name in CLASSES),
        *environment.extensions,
    )


def needs_of(environment: Any, used: Iterable[tuple[str, str]]) -> Needs:
    """What the compiler asks of each filter and test: is it there, and what does it want to be given?"""
    found = []
    for kind, name in used:
        plugin = (environment.filters if kind == "Filter" else environment.tests).get(name)
        passed = _PassArg.from_obj(plugin)
        found.append((kind, name, "missing" if plugin is None else passed and passed.name))
    return tuple(found)


class Templates:
    """The code of compiled templates, by everything that it is compiled from."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.known: dict[Key, tuple[CodeType, Needs]] = {}

    def code(self, environment: Any, key: Key, build: Callable[[], tuple[CodeType, Any]]) -> CodeType:
        name = b""
        if (found := self.known.get(key)) is None:
            name = hashlib.blake2b(repr(key).encode(errors="surrogatepass"), digest_size=16).digest()
            if (stored := self.store.get(name)) is not None:
                found = self.known[key] = marshal.loads(stored)
        if found is None or found[1] != needs_of(environment, (need[:2] for need in found[1])):
            code, tree = build()
            used = {(type(node).__name__, node.name) for node in tree.find_all((nodes.Filter, nodes.Test))}
            found = self.known[key] = (code, needs_of(environment, sorted(used)))
            if name:
                self.store.add(name, marshal.dumps(found))
        return found[0]


def keep_templates(path: Path) -> Store:
    store = Store(path)
    templates = Templates(store)
    compile_template = AnsibleEnvironment.compile
    compile_expression = AnsibleEnvironment.compile_expression
    last: list[tuple[CodeType, Any]] = []

    def as_ever(environment: Any) -> bool:
        """Whether Ansible is told to show what comes of a template."""
        return (
            environment._debuggable_template_source
            or _CompileStateSmugglingCtx.current(optional=True) is not None
        )

    def compiled(
        environment: Any,
        source: Any,
        name: str | None = None,
        filename: str | None = None,
        raw: bool = False,
        defer_init: bool = False,
    ) -> Any:
        def build() -> tuple[CodeType, Any]:
            code = compile_template(environment, source, name, filename, False, defer_init)
            return code, environment._parse(source, name, filename)

        if raw or as_ever(environment):
            return compile_template(environment, source, name, filename, raw, defer_init)
        if isinstance(source, str):
            return templates.code(
                environment, key_of(environment, source, "template", name, filename, defer_init), build
            )
        code = compile_template(environment, source, name, filename, raw, defer_init)
        last[:] = [(code, source)]
        return code

    def expression(environment: Any, source: str, undefined_to_none: bool = True) -> Any:
        def build() -> tuple[CodeType, Any]:
            compile_expression(environment, source, undefined_to_none)
            return last.pop()

        if as_ever(environment):
            return compile_expression(environment, source, undefined_to_none)
        code = templates.code(environment, key_of(environment, source, "expression"), build)
        template = environment.template_class.from_code(
            environment, code, environment.make_globals(None), None
        )
        return TemplateExpression(template, undefined_to_none)

    AnsibleEnvironment.compile = compiled
    AnsibleEnvironment.compile_expression = expression
    return store
