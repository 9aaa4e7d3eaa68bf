"""The check of the rooms finds what it is for."""

from pathlib import Path

from tools.check_rooms import check_lengths, check_page, check_size


def create_room(folder: Path, modules: int) -> Path:
    folder.mkdir()
    (folder / "__init__.py").touch()
    for number in range(modules):
        (folder / f"module_{number}.py").touch()
    return folder


def test_a_room_has_three_to_sixteen_modules(tmp_path: Path) -> None:
    for modules, faults in ((2, 1), (3, 0), (16, 0), (17, 1)):
        room = create_room(tmp_path / str(modules), modules)
        assert len(list(check_size(room))) == faults


def test_a_room_that_holds_rooms_may_have_no_modules(tmp_path: Path) -> None:
    room = create_room(tmp_path / "outer", 0)
    create_room(room / "inner", 3)
    assert list(check_size(room)) == []


def test_a_file_has_no_more_lines_than_it_may(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "short.py").write_text("pass\n" * 5)
    (inner / "long.py").write_text("pass\n" * 6)
    (fault,) = check_lengths(tmp_path, 5)
    assert "long.py has 6 lines" in fault


def test_a_circle_of_the_page_is_named(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.js").write_text('import { b,\n  c } from "./inner/b.js";\n')
    (tmp_path / "inner" / "b.js").write_text("export { d } from '../c.js';\n")
    (tmp_path / "c.js").write_text("// no import\n")
    assert list(check_page(tmp_path)) == []
    (tmp_path / "c.js").write_text('import "./a.js";\n')
    (fault,) = check_page(tmp_path)
    assert all(name in fault for name in ("a.js", "inner/b.js", "c.js"))
