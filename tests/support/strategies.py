"""JSON values for property tests, with an alphabet that has caused trouble before."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NASTY = "\"\\/\b\f\n\r\t\x01\x1f\x7f\x85\u2028\u2029\ufeff\ufffe\uffff\U0010ffff☃𝄞é${}[]:,%_'`-;e0"

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    st.text(NASTY, max_size=20),
    st.sampled_from(["", "\\u0000", "\\\\u0000", "1e+16", "NaN", "null", "[" * 250, '{"a":' * 250]),
)
integers = st.one_of(
    st.integers(),
    st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**22, 10**25]),
    st.integers(1, 400).map(lambda digits: 10**digits - 7),
)
floats = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1e15, 1e16, -1e16, 1e22, 1e25, 1.5e300, 5e-324, 1.7976931348623157e308, -0.0]),
)
scalars = st.one_of(st.none(), st.booleans(), integers, floats, texts)
"""Everything that JSON and jsonb can hold, as Python has it."""

values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)
maps = st.dictionaries(texts, values, max_size=5)

nasty_scalars = st.one_of(
    scalars,
    st.floats(),
    st.text(max_size=10),
    st.sampled_from(["\0", "a\0b", "\ud800", "\udfff", float("nan"), float("inf"), b"", object()]),
    st.decimals(),
    st.datetimes(),
    st.uuids(),
)
nasty_keys: st.SearchStrategy[Any] = st.one_of(texts, st.text(max_size=5), st.integers(), st.none())
nasty_values = st.recursive(
    nasty_scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(nasty_keys, inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.sets(st.integers() | texts, max_size=3)
    ),
    max_leaves=15,
)
"""What callers really pass: storable or not."""


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types all the way down: 1 is not 1.0 and not True."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b
