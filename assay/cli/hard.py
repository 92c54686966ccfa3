"""Commands about hard instances: ``assay hard`` writes them, ``assay decode`` reads the answer of an output."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.console import FAILED, INCOMPLETE, PASSED, say
from assay.cli.files import writing
from assay.conformance.interface.targets import option_values
from assay.conformance.interface.usage import UsageError
from assay.spec.problem import PROBLEMS, InvalidInstance

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["array_in", "decode", "hard"]

_OPTIONS = ("problem", "source", "seed", "counting", "via", "dtype")  # what `hard` takes besides the parameters


def hard(
    problem: Annotated[str | None, typer.Argument(help="The problem that is to be hard.")] = None,
    source: Annotated[Path | None, typer.Option("--from", help="A formula in DIMACS CNF.")] = None,
    family: Annotated[str | None, typer.Option(help="A family of formulas or vectors.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the family, or of the corpus.")] = 0,
    n: Annotated[int | None, typer.Option(help="Vectors in each set.")] = None,
    d: Annotated[int | None, typer.Option(help="Coordinates of a vector.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=NUMBER", help="Another parameter of the family (repeatable).")
    ] = None,
    counting: Annotated[bool, typer.Option("--counting", help="Decode numbers too; needs more accuracy.")] = False,
    gap: Annotated[bool, typer.Option("--gap", help="The family gap: entries of order √log n.")] = False,
    via: Annotated[
        str | None, typer.Option(metavar="ARROW", help="The reduction to take, where several lead there.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float64, float32, bfloat16 or float16.")] = "float32",
    to: Annotated[Path | None, typer.Option("-o", help="The instance file, .npz or .json.")] = None,
    texts: Annotated[Path | None, typer.Option(help="A folder for the documents as texts, one a line.")] = None,
    corpus: Annotated[Path | None, typer.Option(help="Write the whole corpus, of attention, into this folder.")] = None,
) -> int:
    """Write an instance whose right output decides a formula or finds orthogonal vectors, with its certified truth."""
    from assay.spec.instances.hard import FAMILIES
    from assay.spec.instances.hard import hard as hard_problem

    if corpus is not None:
        if problem not in (None, "attention"):
            raise UsageError(f"{problem}: not with --corpus, which is of attention")
        singles = {"--from": source, "--family": family, "--n": n, "--d": d, "--parameter": parameter, "-o": to}
        singles |= {
            "--via": via,
            "--texts": texts,
            "--counting": counting or None,
            "--gap": gap or None,
            "--dtype": None if dtype == "float32" else 1,
        }
        return _write_corpus(corpus, seed, [name for name, value in singles.items() if value is not None])
    if gap:
        if family not in (None, "gap") or source is not None:
            raise UsageError("--gap: is a family of its own, expected no other --family and no --from")
        family = "gap"
    if problem is None:
        raise UsageError(f"expected the problem that is to be hard: one of {', '.join(PROBLEMS)}")
    if (source is None) == (family is None):
        raise UsageError(f"expected --from FILE, --corpus DIR or --family, one of {', '.join(FAMILIES)}")
    if to is None:
        raise UsageError("expected -o FILE, .npz or .json, to write the instance to")
    if to.suffix not in (".npz", ".json"):
        raise UsageError(f"-o {to}: expected a name that ends in .npz or .json")
    if family is not None and family not in FAMILIES:
        raise UsageError(f"unknown family {family!r}: expected one of {', '.join(FAMILIES)}")
    sizes = {name: value for name, value in (("n", n), ("d", d)) if value is not None}
    sizes |= _numbers(parameter or [])
    made = hard_problem(
        problem,
        source if source is not None else family,
        seed,
        counting=counting,
        via=via,
        dtype=dtype,
        **sizes,
    )
    with writing(to):
        made.save(to)
    if texts is not None:
        _write_texts(texts, made.instance)
    say(f"{to}  {made.problem}  {made.reduced.reduction.name}")
    sized = "  ".join(f"{name} {value}" for name, value in made.sizes.items() if name != "B")
    bounds = (("B", made.entry_bound), ("B/√ln n", made.entry_bound_over_root_log))
    sized += "".join(f"  {name} {value:.4g}" for name, value in bounds if value is not None)
    say(f"sizes      {sized}")
    decoded = made.reduced.reduction.output  # what `assay decode` reads, where a kernel returns several outputs
    of = "" if decoded == "output" else f" of {decoded}"
    say(f"accuracy   every element{of} within {float(made.accuracy):.4g}")
    say(f"truth      {_in_words(made.truth)}  ({', '.join(made.truth.certified)})")
    return PASSED


def _write_texts(folder: Path, instance: Any) -> None:
    """``--texts``: left.txt and, for two collections, right.txt."""
    from assay.spec.document_similarity import texts

    if instance.problem != "document_similarity":
        raise UsageError(f"--texts: an instance of {instance.problem} has no documents")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, lines in zip(("left", "right"), texts.written(instance), strict=False):
            (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _numbers(words: list[str]) -> dict[str, int]:
    """Parameters of a family as they are written on a command line."""
    numbers = {}
    for name, text in option_values(words).items():
        if name in _OPTIONS:
            raise UsageError(f"--parameter {name}={text}: no parameter of a family, expected --{name} or another name")
        try:
            numbers[name] = int(text)
        except ValueError:
            raise UsageError(f"--parameter {name}={text}: expected a whole number") from None
    return numbers


def _write_corpus(folder: Path, seed: int, others: list[str]) -> int:
    """``assay hard --corpus``.  others: options that are about a single instance, and so refused."""
    from assay.spec.instances import corpus

    if others:
        raise UsageError(f"{others[0]}: not with --corpus")
    with writing(folder):
        files = corpus.write(folder, seed)
    say(f"{folder}  {files} files and manifest.json  version {corpus.VERSION}  seed {seed}")
    return PASSED


def decode(
    instance: Annotated[Path, typer.Argument(help="A hard instance (.npz or .json) that assay hard wrote.")],
    output: Annotated[Path, typer.Argument(help="A kernel's output on it (.npy).")],
) -> int:
    """The answer that an output says.  Exit 1 if it contradicts the truth that the file holds, or counts for nothing.

    An answer counts if the output is certified to be as accurate as the decoder needs, or shows a solution, a model or
    a pair, that is one.  Exit 3 if neither could be told: the instance is too large to certify its output.
    """
    from assay.spec.instances.hard import load

    problem, array = load(instance), array_in(output)
    try:
        answer = problem.decode(array)
    except InvalidInstance:
        raise
    except ValueError as error:
        raise UsageError(f"{output}: {error}") from None
    say(_in_words(answer))
    if answer.model is not None:
        say("model      " + " ".join(str(i if true else -i) for i, true in enumerate(answer.model, 1)))
    if answer.pairs:
        say("pair       " + ", ".join(f"left {i}, right {j}" for i, j in answer.pairs))
    most, needed = problem.error(array), float(problem.accuracy)
    say(f"error      {'not certified' if most is None else f'{most:.3g}'}; less than {needed:.3g} is needed")
    counts = (most is not None and most < needed) or problem.witnessed(answer, array)
    right = problem.right(answer)
    say(f"truth      {_compared(problem.truth, right=right, counts=counts)}")
    if not right:
        return FAILED
    if counts:
        return PASSED
    if most is None:
        say("no answer: nothing certifies the output, which shows no solution that is one")
        return INCOMPLETE
    say("no answer: the output errs too much for what it says, and shows no witness")
    return FAILED


def _compared(truth: Any, *, right: bool, counts: bool) -> str:
    """What the truth has to say of an answer.  It agrees with none that counts for nothing."""
    if truth.satisfiable is None:
        return "unknown" if right else "unknown, but what is shown is no solution"
    words = {(True, True): "agrees", (True, False): f"{_in_words(truth)}; not compared"}
    return f"{words.get((right, counts), f'contradicts it: {_in_words(truth)}')}  ({', '.join(truth.certified)})"


def _in_words(answer: Any) -> str:
    """An answer or a truth: whether there is a solution and, where it is known, how many."""
    if answer.satisfiable is None:
        return "not known"
    count = "" if answer.count is None else f", {answer.count} solution{'' if answer.count == 1 else 's'}"
    return f"{'satisfiable' if answer.satisfiable else 'unsatisfiable'}{count}"


def array_in(path: Path) -> NDArray[Any]:
    """The array of an .npy file.  NumPy writes a bfloat16 array as two bytes without a name: those are read as one.

    Raises ``UsageError`` in one line.
    """
    import ml_dtypes

    from assay.spec import untrusted

    try:
        with untrusted.regular(path) as (file, size):
            if file.read(2) == b"PK":
                raise UsageError(f"{path}: several arrays, expected the .npy file of one")
            file.seek(0)
            array = untrusted.array(file, size)
    except UsageError:
        raise
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (OSError, ValueError, MemoryError) as error:
        raise UsageError(f"{path}: not a readable .npy file ({untrusted.line(error)})") from None
    return array.view(ml_dtypes.bfloat16) if array.dtype.kind == "V" and array.dtype.itemsize == 2 else array
