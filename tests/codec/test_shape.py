from traceback import format_exception
from typing import Any

import pytest

from hephaestus_pg import (
    CorruptInstanceError,
)
from tests.support.rows import from_state

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("state", "reason"),
    (
        ([], "state is a list"),
        (None, "state is a NoneType"),
        ({"context": []}, "context is a list"),
        ({"context": {"initial": 1}}, "initial is a int"),
        ({"active_steps": "S"}, "active_steps is a str"),
        ({"active_steps": [1]}, "a int stands where a text should"),
        ({"completed_steps": {"S": 1}}, "completed_steps is a dict"),
        ({"current_step": 1}, "a int stands"),
        ({"step_configs": []}, "step_configs is a list"),
        ({"runtime_metadata": "x"}, "runtime_metadata is a str"),
        ({"execution_history": {}}, "execution_history is a dict"),
        ({"execution_history": [1]}, r"execution_history\[0\]: it is a int"),
        ({"execution_history": [{"event": "e"}]}, "a NoneType stands"),
        (
            {"execution_history": [{"step_ref": "S", "event": "e", "timestamp": "now"}]},
            r"execution_history\[0\]: its timestamp is not one of ISO 8601$",
        ),
        (
            {
                "execution_history": [
                    {"step_ref": "S", "event": "e", "timestamp": "2026-04-06T12:00:00"}
                ]
            },
            "time zone",
        ),
        (
            {
                "execution_history": [
                    {
                        "step_ref": "S",
                        "event": "e",
                        "timestamp": "2026-04-06T12:00:00Z",
                        "context_updates": 1,
                    }
                ]
            },
            "context_updates is a int",
        ),
    ),
)
def test_a_broken_state_is_an_error_with_the_id(state: Any, reason: str) -> None:
    with pytest.raises(CorruptInstanceError, match=f"^instance 'x' cannot be read: .*{reason}"):
        from_state(state)


def test_a_broken_state_is_named_by_its_place_and_not_by_what_it_holds() -> None:
    secret = "the patient has it"
    good = {"step_ref": "S", "event": secret, "timestamp": "2026-04-06T12:00:00Z"}
    states: list[Any] = [
        secret,
        [secret],
        {"context": secret},
        {"context": {"initial": secret}},
        {"context": {"steps": [secret]}},
        {"runtime_metadata": secret},
        {"step_configs": [secret]},
        {"active_steps": {secret: secret}},
        {"completed_steps": [{secret: secret}]},
        {"current_step": [secret]},
        {"execution_history": secret},
        {"execution_history": {secret: secret}},
        *(
            {"execution_history": [good, good, {**good, **broken}]}
            for broken in (
                {"timestamp": secret},
                {"timestamp": f"2026-04-06T12:00:00{secret}"},
                {"timestamp": [secret]},
                {"step_ref": [secret]},
                {"event": {secret: secret}},
                {"context_updates": secret},
            )
        ),
        {"execution_history": [good, good, secret]},
    ]
    for state in states:
        with pytest.raises(CorruptInstanceError, match="'x'") as caught:
            from_state(state)
        printed = "".join(format_exception(caught.value))
        assert secret not in printed
        if isinstance(state, dict) and isinstance(state.get("execution_history"), list):
            assert "execution_history[2]" in str(caught.value)
