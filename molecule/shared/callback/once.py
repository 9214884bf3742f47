# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Does once what Ansible would do anew in every run, or for every task and host. No result depends on it."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import gc
import hashlib
import io
import marshal
import os
import sqlite3
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module, util
from pathlib import Path
from types import CodeType
from typing import Any

from ansible import constants
from ansible._internal._templating._jinja_bits import (
    AnsibleEnvironment,
    _CompileStateSmugglingCtx,
    _TemplateCompileContext,
)
from ansible._internal._templating._jinja_common import _TemplateConfig
from ansible.executor.module_common import _CachedModule
from ansible.module_utils._internal._datatag import _AnsibleTaggedFloat, _AnsibleTaggedInt, _AnsibleTaggedStr
from ansible.plugins.callback import CallbackBase
from ansible.release import __version__
from jinja2 import __version__ as jinja_version
from jinja2 import nodes
from jinja2.environment import TemplateExpression
from jinja2.utils import _PassArg

DOCUMENTATION = """
name: once
type: aggregate
short_description: Does once what Ansible does again and again
description:
  - What it keeps stands below C(.cache/molecule/once), in a folder whose name is a digest of everything that
    it is made from. A change in the checkout, of Ansible, Jinja or Python is a new folder.
  - For each run Ansible packs every module with what it imports into an archive. Keeps the archives, and adds
    bytecode to them. A host whose Python is as new as the controller's need not compile the sources, any
    other host does as ever.
  - Ansible compiles a template each time it fills it in. Keeps what came of it, for all processes and runs.
  - Ansible copies the parsed files of a role each time that the role is used. Tagged strings and numbers are
    as unchangeable as plain ones. Lets a copy be the same object.
  - The processes that work for a task compile the plugins of a collection when they need them, each for
    itself. Imports them before, where all processes come from.
  - A Python on this machine that is told not to buffer its output reads each module byte by byte. Does not
    pass that on.
  - The collector of garbage writes to every object that it looks at, and memory that a forked process writes
    to is copied. Takes all objects from its sight that are there before the fork.
  - Ansible looks 1000 times a second whether one of these processes has answered. Lets it look 100 times.
"""

ROOT = Path(__file__).resolve().parents[3]
MADE_FROM = ("meta/runtime.yml", "plugins", "molecule/shared/callback/once.py")
IMPORTED = ("action", "filter", "lookup")


def files() -> Iterator[Path]:
    for name in MADE_FROM:
        path = ROOT / name
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def digest() -> str:
    content = hashlib.sha256(f"{__version__}\0{jinja_version}\0{sys.version}\0{sys.prefix}".encode())
    for path in files():
        content.update(f"\0{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return content.hexdigest()[:12]


# An import from an archive names the file with the bytecode as the module's, and keeps in the code the name
# that the source had when it was compiled. So what stands in the archive puts both right, then runs the code.
BYTECODE = """\
(lambda imp, code, module: (
    module.update(__file__=module["__file__"].removesuffix("c")),
    imp._fix_co_filename(code, module["__file__"]),
    exec(code, module),
))(__import__("_imp"), __import__("marshal").loads({code!r}), globals())
"""


def bytecode(source: bytes, name: str) -> bytes:
    """What Python keeps of a source, valid whatever the time of the source: both go in one archive."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    start = compile(BYTECODE.format(code=marshal.dumps(code)), name, "exec", dont_inherit=True, optimize=0)
    unchecked = (1).to_bytes(4, "little")
    return util.MAGIC_NUMBER + unchecked + util.source_hash(source) + marshal.dumps(start)


def with_bytecode(archive: bytes) -> bytes:
    packed = io.BytesIO(archive)
    with zipfile.ZipFile(packed, "a") as content:
        for source in [entry for entry in content.infolist() if entry.filename.endswith(".py")]:
            try:
                compiled = bytecode(content.read(source), source.filename)
            except (SyntaxError, ValueError):
                continue  # For another Python, which may well want it.
            entry = zipfile.ZipInfo(source.filename + "c", source.date_time)
            entry.compress_type = source.compress_type
            entry.external_attr = source.external_attr
            content.writestr(entry, compiled)
    return packed.getvalue()


def pack_bytecode() -> None:
    write = _CachedModule.dump

    def dump(module: Any, path: str) -> None:
        archive = with_bytecode(base64.b64decode(module.zip_data))
        write(dataclasses.replace(module, zip_data=base64.b64encode(archive)), path)

    _CachedModule.dump = dump


TAGGED_SCALARS: tuple[Any, ...] = (_AnsibleTaggedFloat, _AnsibleTaggedInt, _AnsibleTaggedStr)


def share_scalars() -> None:
    for kind in TAGGED_SCALARS:
        kind.__deepcopy__ = lambda self, memo: self


class Store:
    """Entries in a database that many processes read, and add to, at once. Each remembers what it has read.

    Nobody keeps a connection: a process that is forked must not use that of its parent. What cannot be read
    or written is compiled as ever.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read = 0
        self.entries: dict[bytes, bytes] = {}
        self._ask("CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, key BLOB, value BLOB)")

    def add(self, key: bytes, value: bytes) -> None:
        self._ask("INSERT INTO entries (key, value) VALUES (?, ?)", key, value)
        self.entries[key] = value

    def refresh(self) -> None:
        """Read what has been added."""
        for number, key, value in self._ask("SELECT id, key, value FROM entries WHERE id > ?", self.read):
            self.read = number
            self.entries[key] = value

    def get(self, key: bytes) -> bytes | None:
        if key not in self.entries:
            self.refresh()
        return self.entries.get(key)

    def _ask(self, statement: str, *values: Any) -> list[Any]:
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self.path)) as database:
            # The machine may lose it all when it loses power.
            database.execute("PRAGMA synchronous = OFF")
            with database:
                return database.execute(statement, values).fetchall()
        return []


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


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "once"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        kept = ROOT / ".cache" / "molecule" / "once" / digest()
        archives = kept / "modules"
        archives.mkdir(parents=True, exist_ok=True)
        # Where Ansible looks first. It removes the link with the folder when it ends.
        os.symlink(archives, Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache"))
        pack_bytecode()
        share_scalars()
        self.templates = keep_templates(kept / "templates")
        constants.DEFAULT_INTERNAL_POLL_INTERVAL = 0.01
        # With it a Python reads the module that it is given, its standard input, byte by byte.
        os.environ.pop("PYTHONUNBUFFERED", None)
        for kind in IMPORTED:
            for path in sorted((ROOT / "plugins" / kind).glob("*.py")):
                import_module(f"ansible_collections.celeryops.fleet.plugins.{kind}.{path.stem}")

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self.templates.refresh()
        gc.freeze()
