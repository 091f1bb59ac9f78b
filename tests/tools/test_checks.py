"""The checks of ./dev floors and ./dev tidy, each on a small tree that breaks its rule."""
import importlib.machinery
import importlib.util
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load(name):
    loader = importlib.machinery.SourceFileLoader(name, str(ROOT / "tools" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


HOUSE = {
    "CMakeLists.txt": "add_subdirectory(base)\nadd_subdirectory(app)\n# Beside the house\nadd_subdirectory(sim)\n",
    "base/CMakeLists.txt": "penstock_floor(base)\n",
    "sim/CMakeLists.txt": "penstock_floor(sim DEPS base)\n",
    "app/CMakeLists.txt": "penstock_floor(app ROOMS common dialects/openai commands\n  DEPS base)\n",
    "base/a.h": "",
    "app/common/a.h": '#include "base/a.h"\n',
    "app/dialects/openai/a.h": '#include "app/common/a.h"\n',
    "app/commands/a.cc": '#include "app/dialects/openai/a.h"\n',
    "app/main.cc": '#include "app/commands/a.h"\n',
    "app/common/a_test.cc": '#include "app/commands/a.h"\n',
}


def violations(tmp_path, extra):
    write(tmp_path, {**HOUSE, **extra})
    return list(load("check_floors").violations(tmp_path))


def test_a_tree_in_which_every_include_goes_down_passes(tmp_path):
    assert violations(tmp_path, {}) == []


def test_an_include_of_a_higher_room_is_named(tmp_path):
    found = violations(tmp_path, {"app/common/b.cc": '\n#include "app/commands/a.h"\n'})
    assert found == ["app/common/b.cc:2: room app/common includes app/commands, a higher room"]


def test_rooms_may_be_nested_and_keep_their_order(tmp_path):
    found = violations(tmp_path, {"app/dialects/openai/b.cc": '#include "app/commands/a.h"\n'})
    assert found == ["app/dialects/openai/b.cc:1: room app/dialects/openai includes app/commands, a higher room"]


def test_a_room_may_not_include_its_floor_s_own_files(tmp_path):
    found = violations(tmp_path, {"app/commands/b.cc": '#include "app/main.h"\n'})
    assert found == ["app/commands/b.cc:1: room app/commands includes app/, a higher room"]


def test_higher_floors_and_what_is_beside_the_house_are_named(tmp_path):
    found = violations(tmp_path, {"base/b.cc": '#include "app/common/a.h"\n#include "sim/x.h"\n'})
    assert found == ["base/b.cc:1: base/ includes app/, a higher floor",
                     "base/b.cc:2: includes sim/, which is beside the house"]


def test_a_test_may_not_include_a_higher_floor(tmp_path):
    assert violations(tmp_path, {"base/a_test.cc": '#include "app/common/a.h"\n'})


def test_long_source_files_are_named_and_tests_are_exempt(tmp_path):
    check = load("check_sizes")
    long = "x\n" * (check.LIMIT + 1)
    write(tmp_path, {"a/long.cc": long, "a/long_test.cc": long, "tests/x.py": long, "a/fits.cc": "x\n" * check.LIMIT,
                     "tool": "#!/bin/sh\n" + long, "notes.md": long})
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    named = [line.split(":")[0] for line in check.too_long(tmp_path)]
    assert named == ["a/long.cc", "tool"]


def test_the_tables_that_are_exempt_from_the_length_exist():
    assert all((ROOT / name).is_file() for name in load("check_sizes").TABLES)
