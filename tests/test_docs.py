"""The pages are true of the repository: what they name exists, their commands are commands, their Python runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer

from assay.cli import app, main
from assay.conformance.interface.project import KEYS, project

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "proofs_notes").glob("*.md")])
#: The pages of contributors and of users whose every command is read here; the others show commands with their results.
GUIDES = [page for page in PAGES if page.parent != ROOT / "proofs_notes" and page.name not in ("findings.md",)]
#: The pages whose Python runs by itself, without arrays that a reader has and the page has not.
RUNNING = [
    ROOT / "docs" / f"{name}.md"
    for name in (
        "adding-a-bug",
        "adding-a-kernel",
        "adding-a-problem",
        "attention",
        "attention_gradient",
        "document_similarity_fast",
        "firing_neurons",
        "kernel_graph",
        "kernel_graph_solve",
        "layer_collapse",
        "layer_collapse_fast",
        "rope",
        "rope_attention",
        "small_transformers",
        "small_transformers_fast",
        "small_transformers_merge",
    )
]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def paths(page: Path) -> Iterator[str]:
    """Everything between back-ticks that is the path of a file or a folder of this repository."""
    top = "|".join(re.escape(entry.name) for entry in ROOT.iterdir() if entry.is_dir() and entry.name != ".git")
    for quoted in re.findall(r"`([^`\n]+)`", prose(page)):
        if re.fullmatch(rf"(?:{top})/[\w./-]*", quoted):
            yield quoted


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command in the shell blocks of a page, continuation lines joined and comments left out."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s&&\s", line):
                if words := shlex.split(part, comments=True):
                    yield words


# --- what a page names exists -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    assert [path for path in paths(page) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_cites_no_document_that_is_not_here(page: Path) -> None:
    """Documents have names in capitals; those of this repository are found by that name."""
    cited = set(re.findall(r"\b[A-Z][A-Z_]{3,}\.md\b", page.read_text(encoding="utf-8")))
    assert {name for name in cited if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    tests = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in re.findall(r"`(test_\w+)`", prose(page)) if f"def {name}(" not in tests] == []


def test_every_page_is_reachable_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            links = re.findall(r"\]\(([^)\s#]+)", page.read_text(encoding="utf-8"))
            waiting += [(page.parent / link).resolve() for link in links if (page.parent / link).is_file()]
    assert [named(page) for page in PAGES if page.parent != ROOT / "proofs_notes" and page not in reached] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_line_has_at_most_120_characters(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [number for number, line in enumerate(lines, start=1) if len(line) > 120] == []


# --- figures of time --------------------------------------------------------------------------------------------------

#: What a table of times names: one kind of processor, so that those of unlike ones are never mixed.
KINDS = ("AMD EPYC", "Intel Xeon", "a processor that was not written down")
_OF_TIME = re.compile(
    r"(?<![\w^.])(?:s|ms|µs|ns|seconds?|time|wall|warm|cold)(?![\w])|torch ?[/÷]|[/÷] ?(?:torch|assay|ours|products)"
)
_SECONDS = re.compile(r"(?<![\w^.])[Ss]econds?(?!\w)")  # in the paragraph that says what a table is


def of_time(table: str, before: str) -> bool:
    """Whether a table holds figures of time, by its first line or by the paragraph before it."""
    paragraph = before.rstrip().rpartition("\n\n")[2]
    return bool(_OF_TIME.search(table.splitlines()[0]) or _SECONDS.search(paragraph))


def tables(page: Path) -> Iterator[tuple[str, str]]:
    """Every table of a page with the part of its section that stands before it."""
    for section in re.split(r"^(?=#)", prose(page), flags=re.MULTILINE):
        for found in re.finditer(r"(?:^\|.*\n)+", section + "\n", flags=re.MULTILINE):
            yield found.group(), section[: found.start()]


def kinds(text: str) -> list[str]:
    return [kind for kind in KINDS if kind in re.sub(r"\s+", " ", text)]


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name != "proofs_notes"], ids=named)
def test_a_table_of_times_names_one_kind_of_processor(page: Path) -> None:
    """In itself, or in its section, which then names no other."""
    unclear = [
        table.splitlines()[0]
        for table, before in tables(page)
        if of_time(table, before) and len(kinds(table) or kinds(before)) != 1
    ]
    assert unclear == []


def test_every_table_of_times_of_the_benchmarks_is_seen_as_one() -> None:
    """The test above cannot pass because it finds none."""
    assert sum(of_time(*each) for each in tables(ROOT / "docs" / "benchmarks.md")) >= 10


# --- what a page says to type can be typed ----------------------------------------------------------------------------


@pytest.mark.parametrize("page", GUIDES, ids=named)
def test_every_command_of_a_page_parses(page: Path) -> None:
    """Commands of assay are parsed, not run; of other programs the files that they name exist."""
    command_line = typer.main.get_command(app)
    for words in commands(page):
        if Path(words[0]).name == "assay" or words[1:3] == ["-m", "assay"]:
            arguments = words[3:] if words[1:3] == ["-m", "assay"] else words[1:]
            command = command_line.commands[arguments[0]]  # type: ignore[attr-defined]
            command.make_context(arguments[0], arguments[1:])  # raises where it is no command
        elif words[0].startswith(".ci/"):
            assert (ROOT / words[0]).is_file(), words
        elif Path(words[0]).name in ("pytest", "python", "cd"):
            named_files = [word for word in words[1:] if re.match(r"(tests|benchmarks|docs)/", word)]
            assert [word for word in named_files if not (ROOT / word.partition("::")[0]).exists()] == []


#: Commands of pages that are run where what they need is installed: page, its command, and the exit status it says.
RUN = [
    ("README.md", "assay check torch:sdpa-math --precision bfloat16", 0),
    ("docs/findings.md", "assay check torch:sdpa --level smoke", 1),
    ("docs/findings.md", "assay check torch:sdpa-math --level smoke", 0),
    ("docs/findings.md", "assay check torch:sdpa --level smoke --option nonpositive_causal_scale=no", 0),
    ("docs/findings.md", "assay check onnxruntime:attention --precision float16", 1),
    ("docs/findings.md", "assay check onnxruntime:attention --precision float16-eager", 0),
    ("docs/findings.md", "assay check jax:dot_product_attention-jit --precision float16", 1),
    ("docs/findings.md", "assay check rotary-embedding-torch:apply_rotary_emb --problem rope --precision bfloat16", 0),
    (
        "docs/findings.md",
        "assay check torch:cosine_similarity --problem document_similarity --option small_norms=no",
        0,
    ),
    (
        "docs/findings.md",
        "assay check torch:sdpa_merger --problem small_transformers_merge --precision float32 "
        "--option first_part_empty=no",
        0,
    ),
    ("docs/findings.md", "assay check faiss:range_search --problem firing_neurons", 0),
    ("docs/findings.md", "assay check torch:cdist --problem kernel_graph --precision float32", 1),
    ("docs/findings.md", "assay check torch:cdist-differences --problem kernel_graph --precision float32", 0),
    ("docs/getting-started.md", "assay check softmax.py:attend --level smoke --option grouped_heads=no", 0),
    ("docs/getting-started.md", "assay check softmax.py:attend --option contiguous=yes --option grouped_heads=no", 0),
]


@pytest.mark.parametrize(("page", "command", "status"), RUN)
def test_a_command_of_a_page_ends_as_the_page_says(
    page: str, command: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the least level: what it rejects every level rejects."""
    words = shlex.split(command)[1:]
    assert [".venv/bin/assay", *words] in (found := list(commands(ROOT / page))) or ["assay", *words] in found
    library = words[1].partition(":")[0]
    if not library.endswith(".py"):
        pytest.importorskip(library.replace("-", "_"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "softmax.py").write_text(blocks(ROOT / "docs" / "getting-started.md", "python")[0], encoding="utf-8")
    assert main([*words, "--quiet", "--level", "smoke", "--seconds", "100"]) == status


def test_tables_of_a_page_are_tables_that_a_project_may_have(tmp_path: Path) -> None:
    table, known = blocks(ROOT / "docs" / "projects.md", "toml")
    (tmp_path / "pyproject.toml").write_text(table, encoding="utf-8")
    (tmp_path / "known.toml").write_text(known, encoding="utf-8")
    read = project(tmp_path)
    assert read is not None
    assert read.settings["options"] == {"grouped_heads": "no", "dims": "64,128"}
    assert [entry.family for entry in read.known] == ["causal"]


def test_every_key_of_a_project_is_named_by_its_page() -> None:
    text = (ROOT / "docs" / "projects.md").read_text(encoding="utf-8")
    assert [key for key in KEYS if f"`{key}`" not in text] == []


@pytest.mark.parametrize("page", RUNNING, ids=named)
def test_the_python_of_a_page_runs_in_order(page: Path) -> None:
    code = "\n".join(blocks(page, "python"))
    assert code
    done = subprocess.run([sys.executable, "-c", code], cwd=EXAMPLES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_digits_are_clustered_and_labelled_as_with_dense_matrices() -> None:
    """The example on fewer digits than it takes by itself."""
    for module in ("sklearn", "scipy", "numba"):
        pytest.importorskip(module)
    words = [sys.executable, "kernel_graph_digits.py", "--digits", "300"]
    done = subprocess.run(words, cwd=EXAMPLES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "spectral clustering: 1.000 of 1 agreement" in done.stdout
    assert "300 of 300 as the dense solve says" in done.stdout


@pytest.mark.parametrize(
    ("kernel", "behaves"),
    [
        ("exact", None),
        ("backwards", None),
        ("dropping", "the last column is left out"),
        ("signed", "absolute is ignored"),
    ],
)
def test_a_problem_of_ones_own_is_judged_from_the_folder_where_it_lies(
    kernel: str, behaves: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    words = ["check", f"weighted_sum:{kernel}", "--problem", "weighted_sum:SUITE", "--level", "smoke"]
    assert main(words) == (0 if behaves is None else 1)
    assert behaves is None or f"behaves like: {behaves}\n" in capsys.readouterr().out
