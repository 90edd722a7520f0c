from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import _sql, migrations
from hephaestus_pg.errors import MigrationFileError
from hephaestus_pg.migrations.files import index_names, load, shipped

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.quick

# The checksums that databases which 0.1.0 migrated have recorded.
RELEASED = {
    1: "b18c157588d11f7b42162159937beb29cd54e4e5faf604cfe5b17eae9555022b",
    2: "5fa1e8da7a598b049888d77e546d080701de0e6eef9ddaf70544368ae2c113b0",
    3: "c2aeec8da77d0dabeaae0fb1605b88e835d53a1102ac90e3ced9dc2f842cee50",
    4: "8afe38b2b33908060309701df05f7a2c08f07fb3e7a4e139ab62cd7e4087d27c",
}
WHOLE = ("001_first.up.sql", "001_first.down.sql", "002_second.up.sql", "002_second.down.sql")


def written(folder: Path, *names: str, text: str = "SELECT 1;\n") -> Path:
    for name in names:
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_the_shipped_set_is_complete() -> None:
    assert [each.version for each in shipped()] == list(range(1, _sql.latest_version() + 1))
    assert _sql.latest_version() == migrations.LATEST >= 4


def test_a_complete_set_is_loaded_in_order(tmp_path: Path) -> None:
    stages = ("002_second.online.2.no_transaction.sql", "002_second.online.1.chunked.sql")
    others = ("002_second.online.up.sql", "002_second.distributed.up.sql")
    first, second = load(written(tmp_path, *WHOLE, *stages, *others))
    assert (first.version, first.name, first.stages, first.online_up) == (1, "first", (), None)
    assert [stage.kind for stage in second.stages] == ["chunked", "no_transaction"]
    assert second.online_up == second.distributed_up == "SELECT 1;\n"
    assert first.distributed_up is None


@pytest.mark.parametrize(
    ("names", "message"),
    (
        ((), "numbered from 1 without a gap"),
        (WHOLE[2:], r"without a gap; found \[2\]"),
        ((*WHOLE[:2], "003_third.up.sql", "003_third.down.sql"), r"found \[1, 3\]"),
        (WHOLE[:3], r"002_second\.down\.sql is missing"),
        ((*WHOLE[:2], WHOLE[3]), r"002_second\.up\.sql is missing"),
        (
            (*WHOLE, "002_other.up.sql", "002_other.down.sql"),
            "two migrations have the number 2: other and second",
        ),
        ((*WHOLE, "003.up.sql"), r"003\.up\.sql is not named"),
        ((*WHOLE, "3_third.up.sql"), "is not named"),
        ((*WHOLE, "002_second.online.1.quickly.sql"), "is not named"),
    ),
)
def test_an_incomplete_set_is_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(MigrationFileError, match=message):
        load(written(tmp_path, *names))


@pytest.mark.parametrize("marker", ("/* schmea */", "/*schema*/", "/* include: x */"))
def test_a_marker_that_nothing_replaces_is_refused(tmp_path: Path, marker: str) -> None:
    with pytest.raises(MigrationFileError, match=r"001_first\.down\.sql has a marker"):
        load(written(tmp_path, "001_first.down.sql", text=f"DROP TABLE {marker}t;"))


@pytest.mark.parametrize("part", ("up", "down", "before", "online.up"))
def test_only_a_stage_may_include_another_file(tmp_path: Path, part: str) -> None:
    include = "/* include: drop_invalid_indexes */\n"
    written(tmp_path, *WHOLE)
    written(tmp_path, "001_first.online.1.transaction.sql", text=include)
    assert load(tmp_path)[0].stages[0].text == include
    written(tmp_path, f"002_second.{part}.sql", text=include)
    with pytest.raises(MigrationFileError, match="has a marker"):
        load(tmp_path)


@pytest.mark.parametrize("version", RELEASED)
def test_a_released_migration_is_never_changed(version: int) -> None:
    assert shipped()[version - 1].checksum == RELEASED[version]


def test_the_names_of_indexes_are_those_of_every_way() -> None:
    assert len(index_names()) == 12
    online, profile = "hephaestus_pg_wide_id_key", "hephaestus_pg_initial_index"
    assert {online, profile, "idx_workflow_instances_state"} < set(index_names())


def test_line_ends_do_not_change_a_checksum(tmp_path: Path) -> None:
    written(tmp_path, *WHOLE)
    before = [each.checksum for each in load(tmp_path)]
    (tmp_path / WHOLE[0]).write_bytes(b"SELECT 1;\r\n")
    assert [each.checksum for each in load(tmp_path)] == before
    (tmp_path / WHOLE[0]).write_bytes(b"SELECT 2;\n")
    assert load(tmp_path)[0].checksum != before[0]


def test_no_shipped_file_writes_ectos_comment() -> None:
    for each in shipped():
        texts = [each.up, each.down, each.online_up or "", *(stage.text for stage in each.stages)]
        assert not any("COMMENT ON" in text.upper() for text in texts)
