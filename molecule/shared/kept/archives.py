# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Archives of Ansible's modules, with bytecode in them."""

from __future__ import annotations

import base64
import dataclasses
import io
import marshal
import warnings
import zipfile
from importlib import util
from typing import Any

from ansible.executor.module_common import _CachedModule

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
