"""Who may import whom, and what must never exist (docs/data_flow.md)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HUB = {
    "configuration_fgsgl": set(),
    "container_fgsgl": set(),
    "video_fgsgl": {"container_fgsgl"},
    "processing_fgsgl": {"video_fgsgl"},
    # The network names the pipeline for those who save and load it; it runs nothing of it.
    "modeling_fgsgl": {"configuration_fgsgl", "pipeline_fgsgl"},
    "spotting_fgsgl": {"video_fgsgl"},
    "explain_fgsgl": set(),
    "pipeline_fgsgl": {"configuration_fgsgl", "explain_fgsgl", "spotting_fgsgl"},
}
ENTRIES = {"train_fgsgl", "evaluate_fgsgl", "app"}
PURE = {f"microgesture/losses/{name}.py" for name in ("class_balance", "contrastive", "orthogonal")}
PURE |= {"microgesture/schedule.py"}
PURE |= {f"microgesture/evaluation/{name}.py" for name in ("metrics", "class_groups", "comparison", "segments")}
PURE |= {f"microgesture/evaluation/{name}.py" for name in ("coefficients", "span_matching")}
STREAM_FILES = sorted(p for p in (ROOT / "microgesture" / "streams").glob("*/*_*.py") if p.stem != "__init__")
BASELINE_FILES = sorted(p for p in (ROOT / "microgesture" / "baselines").glob("*.py") if p.stem != "__init__")
PACKAGE = sorted(p for p in (ROOT / "microgesture").rglob("*.py"))


def imported(path: Path, inside_functions: bool = True) -> set[str]:
    """Names of the modules that a file imports, in full; relative ones by their own name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if inside_functions else tree.body
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_the_data_folder_never_hides_the_library() -> None:
    import datasets

    assert not list((ROOT / "datasets").rglob("*.py"))
    assert hasattr(datasets, "load_dataset")
    assert "site-packages" in str(datasets.__file__)


@pytest.mark.parametrize("name", sorted(HUB))
def test_hub_files_import_siblings_only(name: str) -> None:
    ours = roots(imported(ROOT / f"{name}.py")) & (set(HUB) | ENTRIES | {"microgesture"})
    assert ours == HUB[name]


@pytest.mark.parametrize("path", STREAM_FILES, ids=lambda p: p.stem)
def test_hub_files_of_a_stream_import_siblings_of_their_own_folder_only(path: Path) -> None:
    nodes = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)
    ]
    siblings = {node.module for node in nodes if node.level == 1}
    assert siblings <= {p.stem for p in path.parent.glob("*.py")}
    assert not [node.module for node in nodes if node.level > 1]
    assert not roots(imported(path) - siblings) & (set(HUB) | ENTRIES | {"microgesture"})


@pytest.mark.parametrize("path", BASELINE_FILES, ids=lambda p: p.stem)
def test_the_file_of_a_baseline_imports_nothing_of_ours(path: Path) -> None:
    nodes = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)
    ]
    assert not [node.module for node in nodes if node.level]
    assert not roots(imported(path)) & (set(HUB) | ENTRIES | {"microgesture"})


@pytest.mark.parametrize("path", PACKAGE, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_package_never_imports_a_root_file(path: Path) -> None:
    inside = path.name != "cli.py"  # the command line may, inside its functions
    assert not roots(imported(path, inside_functions=inside)) & (set(HUB) | ENTRIES)


@pytest.mark.parametrize("path", sorted(PURE))
def test_losses_schedule_and_metrics_know_no_model_and_no_trainer(path: str) -> None:
    allowed = {"__future__", "torch", "numpy", "sklearn", "scipy", "collections", "typing", "math", "dataclasses"}
    assert roots(imported(ROOT / path)) <= allowed


def test_nothing_imports_the_entry_points() -> None:
    files = [*PACKAGE, *ROOT.glob("*_fgsgl.py")]
    assert {p.stem for p in files if roots(imported(p)) & ENTRIES} == set()


def test_the_command_line_is_there_at_once() -> None:
    code = "import sys; from microgesture import cli; cli.parser(); print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "av"} & set(told.stdout.split())


def test_no_dangerous_call_and_no_path_of_a_machine() -> None:
    forbidden = [r"pickle\.load", r"allow_pickle\s*=\s*True", r"weights_only\s*=\s*False", r"shell\s*=\s*True"]
    forbidden += [r"yaml\.load\(", r"\beval\(", r"\bexec\(", r"except\s*:", r"/home/\w+", r"/root/"]
    files = [*PACKAGE, *ROOT.glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    found = [
        f"{path.name}: {match.group()}"
        for path in files
        for pattern in forbidden
        for match in re.finditer(pattern, re.sub(r"\.eval\(", "", path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_files_are_rooms_not_houses() -> None:
    long = {str(p.relative_to(ROOT)): n for p in [*PACKAGE, *ROOT.glob("*.py")]
            if (n := len(p.read_text(encoding="utf-8").splitlines())) > 500}  # fmt: skip
    assert long == {}
