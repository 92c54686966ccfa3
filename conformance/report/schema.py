"""Whether a document follows a schema of ours: the part of JSON Schema that ``report.schema.json`` uses.

A file of reports may come from anywhere.  What follows the schema has the types that its readers expect.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

__all__ = ["report_schema", "require"]

_TYPES: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}
#: The words of a schema that are followed here, and those that only say something.
_FOLLOWED = frozenset(
    {"$ref", "additionalProperties", "anyOf", "const", "enum", "items", "maxItems", "minItems", "minimum",
     "properties", "required", "type"}
)  # fmt: skip
_SAID = frozenset({"$defs", "$id", "$schema", "description", "title"})


def report_schema() -> dict[str, Any]:
    """The published schema of reports."""
    text = (files("assay.conformance.report") / "report.schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def require(value: Any, schema: dict[str, Any], root: dict[str, Any], place: str = "") -> None:
    """Raise ``ValueError``, which says where in one line, unless ``value`` follows ``schema``.

    root: the document that references of the schema are about.

    >>> require([1, "2"], {"type": "array", "items": {"type": "integer"}}, {})
    Traceback (most recent call last):
    ValueError: [1] is no integer
    """
    if unknown := schema.keys() - _FOLLOWED - _SAID:
        raise NotImplementedError(f"of the schema: {', '.join(sorted(unknown))}")
    place_said = place or "it"
    if "$ref" in schema:
        require(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, place)
    if "anyOf" in schema and not any(_follows(value, one, root) for one in schema["anyOf"]):
        raise ValueError(f"{place_said} is none of what may be there")
    if "const" in schema and value != schema["const"]:
        raise ValueError(f"{place_said} is not {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        raise ValueError(f"{place_said} is none of {', '.join(map(str, schema['enum']))}")
    if "type" in schema and not _is_of(value, schema["type"]):
        raise ValueError(f"{place_said} is no {schema['type']}")
    if "minimum" in schema and value < schema["minimum"]:
        raise ValueError(f"{place_said} is below {schema['minimum']}")
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            raise ValueError(f"{place_said} has {len(value)} parts")
        for index, part in enumerate(value if "items" in schema else ()):
            require(part, schema["items"], root, f"{place}[{index}]")
    if isinstance(value, dict):
        if absent := [name for name in schema.get("required", ()) if name not in value]:
            raise ValueError(f"{place_said} has no {absent[0]}")
        others = schema.get("additionalProperties", {})
        for name, part in value.items():
            known = schema.get("properties", {}).get(name, others)
            if known is False:
                raise ValueError(f"{place_said} has an unknown part {name[:80]!r}")
            require(part, known, root, f"{place}.{name[:80]}")


def _is_of(value: Any, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and not (isinstance(value, bool) and kind != "boolean")


def _follows(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    try:
        require(value, schema, root)
    except ValueError:
        return False
    return True
