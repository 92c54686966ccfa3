"""The base of all instances, judged by itself with small classes: what follows from declarations alone."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.spec.floats import dtype_named
from assay.spec.instance import Instance, array, choice, parts_of, real, whole
from assay.spec.problem import InvalidInstance, Provenance

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Table(Instance):
    """Every kind of field: two axes, arrays like another, optional, broadcast, whole, truth, and plain options."""

    problem = "table"

    points: NDArray[Any] = array("points dim")
    weight: NDArray[Any] | None = array("dim", optional=True, like="points")
    index: NDArray[Any] | None = array("points", kind="whole", optional=True)
    chosen: NDArray[Any] | None = array("points", kind="truth", optional=True)
    offset: NDArray[Any] | None = array("points dim", optional=True, broadcast=True, values="finite or −inf")
    factor: float = real(2.0, plain=1.0)
    shift: float | None = real()
    angles: Literal["float32", "float64"] = "float64"
    window: tuple[int | None, int | None] | None = None
    count: int = 0
    flag: bool = False


@dataclass(frozen=True, eq=False)
class Free(Instance):
    """An array of any numbers that may be empty."""

    problem = "free"

    numbers: NDArray[Any] = array("places", values="any", empty=True)


@dataclass(frozen=True, eq=False)
class Square(Instance):
    """One axis twice."""

    problem = "square"

    matrix: NDArray[Any] = array("rows rows")


@dataclass(frozen=True, eq=False)
class Several(Instance):
    """What an instance must not be: arrays inside of a plain field."""

    problem = "several"

    points: NDArray[Any] = array("points")
    sets: tuple[Any, ...] = ()


@dataclass(frozen=True, eq=False)
class Chosen(Instance):
    """Options with limits, and words that bring others."""

    problem = "chosen"

    points: NDArray[Any] = array("points")
    shape: str = choice("round", "square")
    kind: str | None = choice(
        None, "scaled", "moved", "both", needs={"scaled": ("scale",), "moved": ("step",), "both": ("scale", "step")},
        takes={"both": ("exact", "label")},
    )  # fmt: skip
    scale: float | None = real(None, least=1.0)
    step: int | None = whole(None, least=-2, most=9)
    exact: bool = False
    label: str | None = None
    ratio: float = real(0.5, above=0.0)

    def usual(self) -> dict[str, Any]:
        return {"step": 3} if self.kind == "both" else {}


POINTS = np.arange(12.0).reshape(4, 3)
FULL: dict[str, Any] = {
    "points": POINTS + 0.125,
    "weight": np.array([1.0, -2.0, 0.3]),
    "index": np.array([3, 1, 0, 2]),
    "chosen": np.array([True, False, True, True]),
    "offset": np.array([[0.0], [-np.inf], [1.0], [2.0]]),
    "factor": 0.1,
    "shift": -3.5,
    "angles": "float32",
    "window": (2, None),
    "count": 7,
    "flag": True,
}


def full(**changes: Any) -> Table:
    return Table(**{**FULL, **changes})


# --- refusals ---------------------------------------------------------------------------------------------------------

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"points": [[1.0]]}, "points: list, expected a NumPy array"),
    ({"points": None}, "points: NoneType, expected a NumPy array"),
    ({"points": np.zeros(3)}, "points: shape (3,), expected (points, dim)"),
    ({"points": np.zeros((0, 3))}, "points: shape (0, 3), expected every side at least 1"),
    ({"points": np.zeros((4, 3), int)}, "points: dtype int64, expected one of bfloat16, float16"),
    ({"points": np.zeros((4, 3), object)}, "points: dtype object, expected one of bfloat16, float16"),
    ({"points": np.full((4, 3), np.nan)}, "points: nan at (0, 0), expected finite numbers"),
    ({"points": np.where(POINTS == 7, -np.inf, POINTS)}, "points: -inf at (2, 1), expected finite numbers"),
    ({"weight": np.zeros(2)}, "weight: shape (2,), expected (dim) with dim = 3"),
    ({"weight": np.zeros(3, np.float32)}, "weight: dtype float32, expected float64 as in points"),
    ({"index": np.zeros(4)}, "index: dtype float64, expected integers"),
    ({"index": np.zeros(4, bool)}, "index: dtype bool, expected integers"),
    ({"index": np.zeros((4, 1), int)}, "index: shape (4, 1), expected (points) with points = 4"),
    ({"chosen": np.zeros(4, int)}, "chosen: dtype int64, expected bool"),
    ({"offset": np.zeros((2, 3))}, "offset: shape (2, 3), expected one that broadcasts to (4, 3)"),
    ({"offset": np.zeros((1, 4, 3))}, "offset: shape (1, 4, 3), expected one that broadcasts to (4, 3)"),
    ({"offset": np.full(3, np.inf)}, "offset: inf at (0,), expected finite numbers or −inf"),
    ({"factor": None}, "factor: None, expected a finite number"),
    ({"factor": "2"}, "factor: '2', expected a finite number"),
    ({"factor": False}, "factor: False, expected a finite number"),
    ({"factor": np.nan}, "factor: nan, expected a finite number"),
    ({"factor": 10**400}, "factor: an integer beyond float64, expected a finite number"),
    ({"shift": -np.inf}, "shift: -inf, expected a finite number"),
)


@pytest.mark.parametrize(("changes", "words"), REFUSED, ids=[words.partition(", expected")[0] for _, words in REFUSED])
def test_what_the_declarations_exclude_is_refused_in_one_line_that_names_the_field(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInstance) as caught:
        full(**changes)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


CHOSEN_REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"shape": "oval"}, "shape: 'oval', expected 'round' or 'square'"),
    ({"shape": None}, "shape: None, expected 'round' or 'square'"),
    ({"kind": "turned"}, "kind: 'turned', expected 'scaled', 'moved', 'both' or None"),
    ({"kind": "scaled"}, "scale: None, expected a value, which kind 'scaled' needs"),
    ({"scale": 2.0}, "scale: 2.0, expected none with kind None"),
    ({"kind": "moved", "step": 1, "exact": True}, "exact: True, expected none with kind 'moved'"),
    ({"kind": "scaled", "scale": 0.5}, "scale: 0.5, expected a number of at least 1"),
    ({"kind": "scaled", "scale": "1"}, "scale: '1', expected a finite number"),
    ({"kind": "moved", "step": -3}, "step: -3, expected an integer from -2 to 9"),
    ({"kind": "moved", "step": 10}, "step: 10, expected an integer from -2 to 9"),
    ({"kind": "moved", "step": 1.0}, "step: 1.0, expected an integer from -2 to 9"),
    ({"kind": "moved", "step": True}, "step: True, expected an integer from -2 to 9"),
    ({"kind": "both", "scale": 1, "exact": 1}, "exact: 1, expected True or False"),
    ({"exact": None}, "exact: None, expected True or False"),
    ({"ratio": 0}, "ratio: 0, expected a number > 0"),
    ({"ratio": None}, "ratio: None, expected a finite number"),
)


@pytest.mark.parametrize(("changes", "words"), CHOSEN_REFUSED, ids=[words for _, words in CHOSEN_REFUSED])
def test_an_option_outside_its_limits_or_its_word_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInstance) as caught:
        Chosen(POINTS[0], **changes)
    assert str(caught.value) == words


def test_a_word_may_be_given_with_the_options_that_it_brings() -> None:
    chosen = Chosen(POINTS[0], kind="both", scale=1, exact=np.True_, label="x")
    assert (chosen.scale, chosen.step, chosen.exact, chosen.label) == (1.0, 3, True, "x")
    assert chosen.options() == {"kind": "both", "scale": 1.0, "exact": True, "label": "x"}
    assert type(chosen.exact) is bool


def test_another_choice_drops_the_options_of_the_old_one_unless_they_are_given() -> None:
    chosen = Chosen(POINTS[0], kind="both", scale=4.0, exact=True)
    assert chosen.replace(kind=None).options() == {}
    assert chosen.replace(kind="scaled", scale=2.0).options() == {"kind": "scaled", "scale": 2.0}
    assert chosen.replace(kind="both", ratio=1.0).scale == 4.0
    with pytest.raises(InvalidInstance, match="scale: None, expected a value, which kind 'scaled' needs"):
        chosen.replace(kind="scaled")
    assert any(other.kind is None for other in chosen.smaller())


def test_one_axis_twice_in_an_array_is_one_length() -> None:
    assert Square(np.eye(3)).lengths() == {"rows": 3}
    with pytest.raises(InvalidInstance, match=r"^matrix: shape \(2, 3\), expected \(rows, rows\)$"):
        Square(np.zeros((2, 3)))


def test_any_numbers_and_no_numbers_are_allowed_where_the_declaration_says_so() -> None:
    assert Free(np.array([np.nan, np.inf, -0.0])).size() > 0
    empty = Free(np.zeros(0))
    assert (empty.lengths(), empty.size(), empty.describe()) == ({"places": 0}, 0.0, "places 0, float64")
    assert list(empty.smaller()) == []


@pytest.mark.parametrize("number", [3, np.int8(3), np.float32(3.0), np.float64(3.0)])
def test_a_real_option_is_stored_as_a_float(number: Any) -> None:
    factor = full(factor=number).factor
    assert (factor, type(factor)) == (3.0, float)


def test_an_instance_cannot_be_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        full().factor = 3.0  # type: ignore[misc]


# --- what it says of itself -------------------------------------------------------------------------------------------


def test_lengths_options_and_description_follow_from_the_declarations() -> None:
    instance = full()
    assert instance.lengths() == {"points": 4, "dim": 3}
    assert instance.options() == {name: FULL[name] for name in ("factor", "shift", "angles", "window", "count", "flag")}
    assert list(instance.arrays()) == ["points", "weight", "index", "chosen", "offset"]
    assert instance.describe() == (
        "points 4, dim 3, float64, factor 0.1, shift -3.5, angles float32, window (2, ∞), count 7, flag True, "
        "weight 3, index [3, 1, 0, 2], chosen 4, offset 4×1"
    )


def test_what_is_as_always_is_not_mentioned() -> None:
    instance = Table(POINTS)
    assert instance.options() == {}
    assert instance.describe() == "points 4, dim 3, float64"


def test_which_fields_are_options_and_which_axes_an_array_has() -> None:
    assert [name for name in FULL if Table.is_option(name)] == list(FULL)[1:]
    assert Table.axes_of("offset") == ("points", "dim")


# --- digest -----------------------------------------------------------------------------------------------------------


def copies(numbers: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The same numbers in other memory."""
    spaced = np.zeros((*numbers.shape[:-1], 2 * numbers.shape[-1]), numbers.dtype)
    spaced[..., ::2] = numbers
    return {
        "a copy": numbers.copy(),
        "by columns": np.asfortranarray(numbers),
        "backwards": numbers[::-1].copy()[::-1],
        "spaced": spaced[..., ::2],
        "of the other byte order": numbers.astype(numbers.dtype.newbyteorder()),
    }


@pytest.mark.parametrize("name", copies(POINTS))
def test_equal_contents_in_other_memory_have_one_digest(name: str) -> None:
    points = copies(FULL["points"])[name]
    assert (points == FULL["points"]).all()
    assert full(points=points).digest() == full().digest()


def test_the_same_bytes_in_another_byte_order_are_other_numbers() -> None:
    numbers = np.array([1.0, 2.0])
    assert Free(numbers.view(numbers.dtype.newbyteorder())).digest() != Free(numbers).digest()


@pytest.mark.parametrize("name", FULL)
def test_every_field_enters_the_digest(name: str) -> None:
    other: dict[str, Any] = {"angles": "float64", "window": (2, 0), "flag": False}
    value = FULL[name]
    if isinstance(value, np.ndarray):
        changed = value.copy()
        changed.flat[-1] = ~changed.flat[-1] if value.dtype == bool else changed.flat[-1] + 1
    else:
        changed = other[name] if name in other else value + 1
    assert full(**{name: changed}).digest() != full().digest()


def test_one_changed_bit_changes_the_digest() -> None:
    words = FULL["points"].copy().view(np.uint64)
    for bit in range(52):
        changed = words.copy()
        changed[1, 2] ^= np.uint64(1 << bit)
        assert full(points=changed.view(np.float64)).digest() != full().digest()
    zero = np.zeros((4, 3))
    assert full(points=-zero).digest() != full(points=zero).digest()


def test_an_array_that_is_missing_or_reshaped_or_of_another_type_changes_the_digest() -> None:
    square = np.zeros((4, 4))
    digests = {
        Table(square).digest(),
        Table(square.reshape(2, 8)).digest(),
        Table(square.astype(np.float32)).digest(),
        Table(square.view(np.float32)).digest(),
        Table(square, weight=np.zeros(4)).digest(),
        Table(square, offset=np.zeros(4)).digest(),
        Table(square, offset=np.zeros((4, 1))).digest(),
    }
    assert len(digests) == 7


def test_the_digest_reads_the_whole_of_a_large_array() -> None:
    large = np.zeros(100_000)
    other = large.copy()
    other[50_000] = 1.0
    assert Free(large).digest() != Free(other).digest()


def test_where_it_comes_from_does_not_enter_the_digest_and_the_class_does() -> None:
    assert full(provenance=Provenance("family", 3)).digest() == full().digest()
    assert Free(np.zeros(2)).digest() != Several(np.zeros(2)).digest()


@pytest.mark.parametrize("method", ["digest", "values"])
def test_arrays_inside_of_a_plain_field_are_refused_in_words(method: str) -> None:
    """Their repr is short: two different tuples of large arrays would have one digest."""
    instance = Several(np.zeros(2), (np.zeros(100_000), np.ones(3)))
    with pytest.raises(InvalidInstance, match=r"^sets: tuple, expected an array or a plain value$"):
        getattr(instance, method)()


@pytest.mark.parametrize("value", [0.5, {"a": 1}, [1], np.int64(3), (1, 0.5)])
def test_a_plain_field_that_no_file_keeps_is_refused_in_words(value: Any) -> None:
    with pytest.raises(InvalidInstance, match=rf"^sets: {type(value).__name__}, expected an array or a plain value$"):
        Several(np.zeros(2), value).digest()


# --- files ------------------------------------------------------------------------------------------------------------


def saved(instance: Any, folder: Path) -> Any:
    instance.save(folder / "x.npz")
    return type(instance).load(folder / "x.npz")


def test_a_file_keeps_every_field(tmp_path: Path) -> None:
    instance = full(provenance=Provenance("family", 3, "note", {"known": [1, None]}))
    back = saved(instance, tmp_path)
    assert back.digest() == instance.digest()
    assert back.provenance == instance.provenance
    assert back.options() == instance.options()
    assert type(back.window) is tuple


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", ">f4"])
def test_a_file_keeps_every_bit_of_every_type(dtype: str, tmp_path: Path) -> None:
    bits = np.random.default_rng(1).integers(0, 256, 64 * dtype_named(dtype).itemsize, np.uint8)
    instance = Free(bits.view(dtype_named(dtype)))
    back = saved(instance, tmp_path).numbers
    assert back.dtype.name == instance.numbers.dtype.name
    assert back.tobytes() == instance.numbers.astype(back.dtype).tobytes()


@pytest.mark.parametrize("word", ["float32", "float64", "0x1p0", "nan", ""])
def test_a_string_option_survives_whatever_it_looks_like(word: Any, tmp_path: Path) -> None:
    assert saved(Table(POINTS, angles=word), tmp_path).angles == word


@pytest.mark.parametrize("number", [0.1, -0.0, 5e-324, 1.7976931348623157e308])
def test_real_options_come_back_to_the_last_bit(number: float, tmp_path: Path) -> None:
    back = saved(Table(POINTS, factor=number, shift=number), tmp_path)
    assert (repr(back.factor), repr(back.shift)) == (repr(number), repr(number))


def test_tuples_of_tuples_come_back_as_such(tmp_path: Path) -> None:
    assert saved(Several(np.zeros(2), ((1, 2), (None, "a"))), tmp_path).sets == ((1, 2), (None, "a"))


def test_a_file_of_another_problem_is_refused(tmp_path: Path) -> None:
    Free(np.zeros(2)).save(tmp_path / "x.npz")
    with pytest.raises(InvalidInstance, match=r"x\.npz: an instance of 'free', expected 'table'"):
        Table.load(tmp_path / "x.npz")


# --- parts ------------------------------------------------------------------------------------------------------------


def test_a_part_keeps_the_indices_of_an_axis_in_every_array_that_has_it() -> None:
    part = full().part(points=[2, 0])
    assert (part.points == FULL["points"][[2, 0]]).all()
    assert part.index is not None
    assert part.index.tolist() == [0, 3]
    assert part.offset is not None
    assert part.offset.tolist() == [[1.0], [0.0]]
    assert (part.weight == FULL["weight"]).all()
    assert part.options() == full().options()


def test_a_part_leaves_an_axis_alone_where_an_array_broadcasts_along_it() -> None:
    offset = full().part(dim=[1]).offset
    assert offset is not None
    assert offset.shape == (4, 1)
    row = full(offset=np.arange(3.0)).part(points=[1], dim=[2, 0]).offset
    assert row is not None
    assert row.tolist() == [2.0, 0.0]


def test_all_of_an_axis_is_none_and_an_unknown_axis_is_an_error_that_lists_the_known_ones() -> None:
    assert full().part(points=None).digest() == full().digest()
    with pytest.raises(TypeError, match="no axis rows, expected some of dim, points"):
        full().part(rows=[0])


@pytest.mark.parametrize(("length", "parts"), [(0, []), (1, []), (2, [[0], [1]]), (3, [[0], [2], [1, 2], [0, 1]])])
def test_parts_of_an_axis_are_never_empty_or_whole_and_come_once(length: int, parts: list[list[int]]) -> None:
    assert list(parts_of(length)) == parts


# --- shrinking --------------------------------------------------------------------------------------------------------


@st.composite
def tables(draw: st.DrawFn) -> Table:
    n, d = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    numbers = st.floats(-1e6, 1e6, width=32)

    def matrix(*shape: int) -> NDArray[Any]:
        count = int(np.prod(shape))
        return np.array(draw(st.lists(numbers, min_size=count, max_size=count)), np.float32).reshape(shape)

    optional = {
        "weight": lambda: matrix(d),
        "index": lambda: np.arange(n) * draw(st.integers(0, 3)),
        "chosen": lambda: np.arange(n) % 2 == draw(st.integers(0, 1)),
        "offset": lambda: matrix(n, 1),
        "factor": lambda: draw(numbers),
        "shift": lambda: draw(numbers),
        "angles": lambda: "float32",
        "window": lambda: (draw(st.integers(0, 3)), None),
        "count": lambda: draw(st.integers(0, 3)),
        "flag": lambda: True,
    }
    taken = draw(st.sets(st.sampled_from(sorted(optional))))
    return Table(matrix(n, d), **{name: optional[name]() for name in sorted(taken)})


PLAINEST = {"factor": 1.0}


@given(tables())
def test_everything_smaller_is_valid_and_something_is_smaller_unless_nothing_can_be(instance: Table) -> None:
    smaller = list(instance.smaller())
    for other in smaller:
        assert type(other) is Table
        other.replace()  # validates again
    plainest = instance.points.shape == (1, 1) and (instance.points == 0).all() and len(instance.arrays()) == 1
    plainest &= {name: instance.options().get(name) for name in instance.options()} == PLAINEST
    assert plainest == (not any(other.size() < instance.size() for other in smaller))


@given(tables())
def test_shrinking_ends_at_one_zero_and_plain_options(instance: Table) -> None:
    steps = 0
    while (other := next((one for one in instance.smaller() if one.size() < instance.size()), None)) is not None:
        instance, steps = other, steps + 1
        assert steps < 100
    assert (instance.points.tolist(), instance.options()) == ([[0.0]], PLAINEST)


def test_numbers_of_any_size_are_rounded_without_a_warning() -> None:
    huge = Table(np.array([[1e308, -1.7e308, 2.0**60, 0.3]]))
    assert all(np.isfinite(other.points).all() for other in huge.smaller())
    assert huge.size() < 10.0


def test_numbers_that_rounding_leaves_as_they_are_are_not_tried_again() -> None:
    odd = Free(np.array([np.nan]))
    assert [other.numbers.tolist() for other in odd.smaller()] == [[0.0]]


def test_a_smaller_instance_that_is_none_is_left_out() -> None:
    @dataclass(frozen=True, eq=False)
    class Odd(Instance):
        problem = "odd"
        points: Any = array("points")

        def __post_init__(self) -> None:
            super().__post_init__()
            if len(self.points) % 2 == 0:
                raise InvalidInstance("points: an even number, expected an odd one")

    with contextlib.suppress(InvalidInstance):
        Odd(np.zeros(2))
        pytest.fail("an even number is accepted")
    assert {len(other.points) for other in Odd(np.ones(3)).smaller()} == {1, 3}
