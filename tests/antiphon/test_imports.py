"""What imports what: floors, names that would land in somebody's site-packages, and what an import costs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import antiphon

ROOT = Path(antiphon.__file__).resolve().parent.parent
FLOORS = ("protocol", "actors", "antiphon")
OUR_FOLDERS = (*FLOORS, "tests", "examples", "benchmarks")


def sources(folder: str) -> list[Path]:
    """Python files of a floor; the links from the top floor to the lower ones are not followed."""
    links = {ROOT / "antiphon" / "actors", ROOT / "antiphon" / "protocol"}
    return [path for path in sorted((ROOT / folder).rglob("*.py")) if not links & set(path.parents)]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Absolute names of modules that a file imports, and where."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides which floor it is"
            assert node.module is not None
            yield node.lineno, node.module
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def test_there_is_something_to_look_at() -> None:
    assert {path.name for path in sources("actors")} >= {"engine.py", "transport.py"}
    assert {path.name for path in sources("antiphon")} >= {"model.py", "driver.py"}
    assert len(sources("protocol")) > 5
    assert not [path for path in sources("antiphon") if path.parent.name in ("actors", "protocol")]


@pytest.mark.parametrize("folder", OUR_FOLDERS)
def test_nobody_imports_a_lower_floor_by_its_bare_name(folder: str) -> None:
    bad = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(folder)
        for line, name in imports(path)
        if name.partition(".")[0] in ("actors", "protocol")
    ]
    assert bad == []


def floor_of(module: str) -> int | None:
    """0, 1 or 2 for a module of ours; None for others'."""
    parts = module.split(".")
    if parts[0] != "antiphon":
        return None
    return FLOORS.index(parts[1]) if len(parts) > 1 and parts[1] in FLOORS else 2


@pytest.mark.parametrize("floor", range(3))
def test_no_import_goes_up_a_floor(floor: int) -> None:
    bad = []
    for path in sources(FLOORS[floor]):
        for line, name in imports(path):
            # `from antiphon import actors` names two modules: the second says which floor is meant.
            target = None if name == "antiphon" else floor_of(name)
            if target is not None and target > floor:
                bad.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert bad == []


@pytest.mark.parametrize("module", ["threading", "socket", "time", "numpy", "pykka", "selectors", "queue"])
def test_the_lowest_floor_knows_no_threads_sockets_clock_or_numpy(module: str) -> None:
    bad = [
        f"{path.name}:{line}"
        for path in sources("protocol")
        for line, name in imports(path)
        if name.partition(".")[0] == module
    ]
    assert bad == []


@pytest.mark.parametrize("folder", ["actors", "antiphon"])
def test_asyncio_is_nowhere(folder: str) -> None:
    bad = [
        f"{path.name}:{line}"
        for path in sources(folder)
        for line, name in imports(path)
        if name.partition(".")[0] == "asyncio"
    ]
    assert bad == []


def run(code: str) -> dict[str, object]:
    """Run code in a fresh interpreter; it prints one JSON object."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_making_a_model_loads_no_scipy_and_no_websockets() -> None:
    result = run(
        """if True:
        import json, sys, time
        began = time.process_time()
        import antiphon
        imported = time.process_time() - began
        antiphon.RealtimeModel(api_key="k")
        made = time.process_time() - began
        tops = sorted({name.partition(".")[0] for name in sys.modules})
        print(json.dumps({"imported": imported, "made": made, "tops": tops}))
        """
    )
    print(f"import antiphon: {result['imported']:.3f} s of CPU, and a model: {result['made']:.3f} s")
    assert not {"scipy", "websockets", "openai", "pydantic", "PIL", "webrtcvad"} & set(result["tops"])  # type: ignore[call-overload]
    assert result["made"] < 1.0  # type: ignore[operator]


def test_importing_alone_loads_next_to_nothing() -> None:
    result = run(
        """if True:
        import json, sys
        before = set(sys.modules)
        import antiphon
        print(json.dumps({"new": sorted(set(sys.modules) - before)}))
        """
    )
    heavy = {"numpy", "msgspec", "pykka", "websocket", "scipy"}
    assert not heavy & {str(name).partition(".")[0] for name in result["new"]}  # type: ignore[attr-defined]


@pytest.mark.parametrize("preload", [False, True])
def test_a_session_loads_scipy_only_for_those_who_ask_for_it(preload: bool) -> None:
    result = run(
        f"""if True:
        import json, sys, threading, time
        from antiphon import Engine, RealtimeModel
        engine = Engine(preload={preload})
        session = RealtimeModel(api_key="k", base_url="http://127.0.0.1:9/v1", engine=engine).session()
        deadline = time.monotonic() + 20
        while {preload} and "scipy.signal" not in sys.modules and time.monotonic() < deadline:
            threading.Event().wait(0.05)
        session.close()
        print(json.dumps({{"loaded": any(name.partition(".")[0] == "scipy" for name in sys.modules)}}))
        """
    )
    assert result["loaded"] is preload


def test_every_public_name_is_there() -> None:
    for name in antiphon.__all__:
        assert getattr(antiphon, name) is not None
    assert set(antiphon.__all__) <= set(dir(antiphon))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        antiphon.nonsense  # noqa: B018


def test_every_name_that_type_checkers_see_is_the_one_that_is_loaded() -> None:
    tree = ast.parse(Path(antiphon.__file__).read_text())
    guarded = next(
        node
        for node in tree.body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    )
    seen = {
        alias.name: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == antiphon._HOME
    assert set(antiphon.__all__) == set(seen) | {"__version__"}


WANTED = """RealtimeModel RealtimeSession Engine SupervisorConfig AudioFrame VideoFrame ChatContext ChatMessage
    FunctionCall FunctionCallOutput ImageContent AudioContent function_tool FunctionTool RawFunctionTool
    ProviderTool ToolContext ConnectOptions ServerVad SemanticVad AudioTranscription NoiseReduction Tracing
    RetentionRatioTruncation Reasoning MessageGeneration TimedString RealtimeError APIError APIConnectionError
    NOT_GIVEN"""


def test_the_contracts_names_are_public() -> None:
    assert [name for name in WANTED.split() if name not in antiphon.__all__] == []
