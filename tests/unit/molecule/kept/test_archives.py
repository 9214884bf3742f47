# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bytecode in an archive does what its source does, for the Python that made it."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

from kept.archives import with_bytecode

PACKED = {
    "packed/__init__.py": "",
    "packed/inner/__init__.py": "'''The inner one.'''\nhere = __file__\n",
    "packed/inner/fails.py": (
        "from __future__ import annotations\nfrom . import here\n\n\ndef fail() -> Unknown:\n"
        "    names = sorted(name for name in globals() if not name.startswith('__'))\n"
        "    raise RuntimeError(here, __file__, __name__, names, fail.__annotations__)\n"
    ),
    "packed/run.py": (
        "import inspect, traceback\nfrom packed import inner\nfrom packed.inner import fails\n"
        "print(__name__, __file__, inner.__doc__, inspect.getsource(fails))\n"
        "try:\n    fails.fail()\nexcept RuntimeError:\n    print(traceback.format_exc())\n"
    ),
}


def pack(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


def run(path: Path, archive: bytes) -> str:
    path.write_bytes(archive)
    start = f"import sys; sys.path.insert(0, {str(path)!r}); import runpy; runpy.run_module('packed.run')"
    return subprocess.run([sys.executable, "-c", start], check=True, capture_output=True, text=True).stdout


def changed(archive: bytes, suffix: str, change: bytes) -> bytes:
    """The archive with other bytes at the start of each file of a kind."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as given, zipfile.ZipFile(packed, "w") as made:
        for entry in given.infolist():
            content = given.read(entry)
            made.writestr(
                entry, change + content[len(change) :] if entry.filename.endswith(suffix) else content
            )
    return packed.getvalue()


def test_bytecode_does_what_its_source_does(tmp_path: Path) -> None:
    plain = pack(PACKED)
    expected = run(tmp_path / "packed.zip", plain)
    assert "packed.zip/packed/inner/fails.py" in expected and "raise RuntimeError" in expected

    archive = with_bytecode(plain)
    assert run(tmp_path / "packed.zip", archive) == expected


def test_bytecode_is_what_runs(tmp_path: Path) -> None:
    source = {**PACKED, "packed/run.py": "print('the source')\n"}
    archive = with_bytecode(pack(source))
    assert run(tmp_path / "packed.zip", changed(archive, ".py", b"1 +")) == "the source\n"


def test_another_python_runs_the_source(tmp_path: Path) -> None:
    archive = with_bytecode(pack(PACKED))
    assert run(tmp_path / "packed.zip", changed(archive, ".pyc", b"\0\0\r\n")) == run(
        tmp_path / "packed.zip", pack(PACKED)
    )


def test_source_that_does_not_compile_stays() -> None:
    archive = with_bytecode(pack({"a.py": "print 'of another Python'", "b.py": "b = 1"}))
    assert zipfile.ZipFile(io.BytesIO(archive)).namelist() == ["a.py", "b.py", "b.pyc"]
