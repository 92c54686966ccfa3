"""Older releases of real libraries, each in an environment of its own: does the judge find what is documented of them?

    python benchmarks/history.py --keep /tmp/history                          # every release of the table
    python benchmarks/history.py --keep /tmp/history "onnxruntime 1.23.2"     # one of them

For every row of :data:`RELEASES` it makes a virtual environment, installs this checkout and the pinned release with
pip, runs ``assay check``, and looks in the report for the words of each documented defect.  With ``--keep`` the
environments stay, and are used again by the next run.  Exit status 1 if a documented defect was not found.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from timing import publish

from assay.conformance.report.finding import OUT_OF_TIME
from assay.conformance.report.reading import from_json

if TYPE_CHECKING:
    from assay.conformance.report.report import Report

__all__ = ["RELEASES", "Defect", "Release", "unsaid"]

_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Defect:
    """What is documented of a release: where, and the words by which the diagnosis must name it."""

    source: str
    words: str


@dataclass(frozen=True)
class Release:
    """A release, what pip is to install, what is judged, and the defects that its later releases or issues document."""

    name: str
    pins: tuple[str, ...]
    target: str
    defects: tuple[Defect, ...] = ()
    precision: str = "float32"
    level: str = "standard"
    options: tuple[str, ...] = ()


_GROUPS = Defect("onnxruntime#25966", "query head h reads key head h mod h_k")
_NAN = Defect("onnx#8068: NaN for an empty row", "an empty row gives NaN instead of 0")
_MEAN = Defect("onnxruntime#28904: mean of V for an empty row", "an empty row gives the mean of the values")
_ONE_QUERY = Defect("onnxruntime#29020: one query", "causal mask aligned bottom-right, where top-left was asked for")
_CACHE = Defect("onnxruntime#28904, #28958", "causal mask aligned top-left, where bottom-right was asked for")
_LENGTHS = Defect("onnxruntime#27384: nonpad_kv_seqlen came to the CPU", "key lengths ignored")
_SOFTCAP = Defect("onnx#7867, onnxruntime#28379", "softcap after the bias instead of before it")
_WINDOW = Defect("jax#32300", "window ignored")
_RESIDUAL = Defect(
    "docs/findings.md; in other kernels flash-attention#1817", "the gradient of the log-sum-exp is dropped"
)


def _onnxruntime(version: str, onnx: str, *defects: Defect) -> Release:
    pins = (f"onnxruntime=={version}", f"onnx=={onnx}")
    return Release(f"onnxruntime {version}", pins, "onnxruntime:attention", defects)


def _jax(version: str, *defects: Defect) -> Release:
    pins = (f"jax=={version}", f"jaxlib=={version}")
    return Release(f"jax {version}", pins, "jax:dot_product_attention", defects)


def _jax_gradient(version: str, *defects: Defect) -> Release:
    pins = (f"jax=={version}", f"jaxlib=={version}")
    return Release(f"jax {version} vjp", pins, "jax:dot_product_attention-vjp", defects)


#: What is judged: releases that have the documented defects, the first that has none, and a later one.
RELEASES: tuple[Release, ...] = (
    _onnxruntime("1.23.0", "1.19.1", _GROUPS, _NAN, _ONE_QUERY, _SOFTCAP),
    _onnxruntime("1.23.2", "1.19.1", _NAN, _ONE_QUERY, _SOFTCAP),
    _onnxruntime("1.24.4", "1.19.1", _LENGTHS, _CACHE, _MEAN, _NAN, _ONE_QUERY, _SOFTCAP),
    _onnxruntime("1.25.1", "1.20.1", _CACHE, _MEAN, _NAN, _ONE_QUERY, _SOFTCAP),
    _onnxruntime("1.26.0", "1.21.0", _CACHE, _MEAN, _NAN, _ONE_QUERY, _SOFTCAP),
    _onnxruntime("1.27.0", "1.21.0", _CACHE, _MEAN, _NAN, _ONE_QUERY),
    _onnxruntime("1.28.0", "1.22.0"),
    _onnxruntime("1.31.1", "1.23.2"),
    _jax("0.4.35", _WINDOW),
    _jax("0.8.0", _WINDOW),
    _jax("0.8.1"),
    _jax_gradient("0.4.35", _WINDOW),
    _jax_gradient("0.8.0", _WINDOW),
    _jax_gradient("0.8.1"),
    _jax_gradient("0.9.0", _RESIDUAL),
    _jax_gradient("0.10.0", _RESIDUAL),
)


def unsaid(release: Release, report: Report) -> list[Defect]:
    """Documented defects that the diagnosis does not name."""
    return [defect for defect in release.defects if not any(defect.words in line for line in report.diagnosis)]


def environment(release: Release, folder: Path) -> Path:
    """The folder of a virtual environment with this checkout and the release; made where it is not there yet."""
    path = folder / release.name.replace(" ", "-")
    installed = path / "installed"  # written last: an interrupted installation is begun anew
    wanted = "\n".join((str(_ROOT), *release.pins))
    if not installed.exists() or installed.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(path, ignore_errors=True)
        venv.create(path, with_pip=True)
        pip = [path / "bin" / "python", "-m", "pip", "install", "--quiet", "-e", f"{_ROOT}[check]", *release.pins]
        subprocess.run(pip, check=True, capture_output=True, text=True)
        installed.write_text(wanted, encoding="utf-8")
    return path


def judged(release: Release, path: Path) -> Report:
    """The report of the release in its environment."""
    json = path / "report.json"
    command = [path / "bin" / "assay", "check", release.target, "--precision", release.precision]
    command += ["--level", release.level, "--json", json, "--reproducers", path / "reproducers", "--quiet"]
    command += [word for option in release.options for word in ("--option", option)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)
    if done.returncode not in (0, 1):  # neither passed nor failed: asked wrongly, or crashed
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    (report,) = from_json(json.read_text(encoding="utf-8"))
    return report


def row(release: Release, report: Report) -> dict[str, Any]:
    """A line of the table."""
    left = unsaid(release, report)
    return {
        "release": release.name,
        "class": release.precision,
        "level": release.level,
        "judged": report.ran,
        "failed": len(report.failures),
        "out of time": sum(case.reason == OUT_OF_TIME for case in report.cases),
        "diagnosis": "; ".join(report.diagnosis) or "-",
        "documented": "; ".join(defect.source for defect in release.defects) or "-",
        "found": f"{len(release.defects) - len(left)} of {len(release.defects)}",
        "not found": "; ".join(defect.source for defect in left) or "-",
    }


def run(releases: list[Release], folder: Path) -> int:
    """Judge every release and print the table; the number of documented defects that were not found."""
    console, rows, lost = Console(stderr=True), [], 0
    for number, release in enumerate(releases, 1):
        with console.status(f"{number} of {len(releases)}: {release.name}, installing") as status:
            path = environment(release, folder)
            status.update(f"{number} of {len(releases)}: {release.name}, judging")
            report = judged(release, path)
        lost += len(unsaid(release, report))
        rows.append(row(release, report))
        console.print(f"{release.name}: {rows[-1]['failed']} failed, documented defects found: {rows[-1]['found']}")
    documented = sum(len(release.defects) for release in releases)
    publish("history", rows, f"{documented - lost} of {documented} documented defects found and named")
    return lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", nargs="*", help="names of the table (default all)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the environments stay (default: removed again)")
    chosen = parser.parse_args()
    known = {release.name: release for release in RELEASES}
    if unknown := [name for name in chosen.release if name not in known]:
        parser.error(f"unknown release {unknown[0]!r}: expected some of {', '.join(known)}")
    releases = [known[name] for name in chosen.release] or list(RELEASES)
    try:
        with tempfile.TemporaryDirectory() as passing:
            folder = (chosen.keep or Path(passing)).absolute()
            folder.mkdir(parents=True, exist_ok=True)
            sys.exit(run(releases, folder) > 0)
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout or "").strip().splitlines()[-1:] or [f"exit status {error.returncode}"]
        sys.exit(f"history: {' '.join(map(str, error.cmd))}: {last[0]}")
    except KeyboardInterrupt:
        sys.exit(f"history: interrupted; what is installed stays in {chosen.keep}" if chosen.keep else "interrupted")


if __name__ == "__main__":
    main()
