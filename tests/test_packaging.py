"""The package as it is built and installed: each fact in one place, and files that those find who have no checkout."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import recbole_sparse_elsa
from recbole_sparse_elsa import options
from recbole_sparse_elsa.__main__ import COMMANDS, main
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.options import find_config_file
from recbole_sparse_elsa.plugin.on_import import RECBOLE_VERSION

tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")

TOP = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
PINS = [
    line
    for line in (TOP / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]

# Runs sparse-elsa as where RecBole is not installed.
WITHOUT_RECBOLE = """
import sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: None if name == "recbole" else find(name, path, target)
from recbole_sparse_elsa.__main__ import main

for arguments in {calls!r}:
    try:
        main(arguments)
    except SystemExit as ended:
        print(arguments, repr(ended.code))
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The shipped files where an installed package has them, and a working folder that has none."""
    shipped = tmp_path / "site-packages" / "recbole_sparse_elsa" / "shipped"
    shutil.copytree(TOP / "configs", shipped / "configs")
    for name in ("constraints.txt", "CITATION.cff", "CHANGELOG.md"):
        shutil.copy(TOP / name, shipped)
    monkeypatch.setattr(options, "__file__", str(shipped.parent / "options.py"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return shipped


def ended_with(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return str(ended.value)


def test_the_version_is_stated_once_and_citation_and_changelog_agree():
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "recbole_sparse_elsa.__version__"}
    citation = yaml.safe_load((TOP / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == recbole_sparse_elsa.__version__
    changelog = (TOP / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", changelog, re.MULTILINE).group(1)
    assert newest in ("Unreleased", recbole_sparse_elsa.__version__)
    assert f"\n## {recbole_sparse_elsa.__version__}" in changelog


def test_no_fact_stands_in_both_files_of_the_build():
    setup = configparser.ConfigParser()
    setup.read(TOP / "setup.cfg", encoding="utf-8")
    assert set(PYPROJECT["project"]["dynamic"]) == {"version", "dependencies", "optional-dependencies"}
    assert not setup.has_section("metadata") and not setup.has_section("options.entry_points")
    assert set(setup["options"]) == {"packages", "install_requires"}


def test_uv_is_held_to_the_tested_versions():
    """Run ``python .ci/pin_uv.py`` after a change of constraints.txt."""
    uv = PYPROJECT["tool"]["uv"]
    assert [pin.replace("'", '"') for pin in uv["constraint-dependencies"]] == PINS
    assert PYPROJECT["dependency-groups"]["recbole"] == [f"recbole=={RECBOLE_VERSION}"]
    assert f"recbole=={RECBOLE_VERSION}" in PINS and uv["default-groups"] == ["recbole"]


def test_every_command_helps_where_recbole_is_missing():
    calls = [["--version"], ["--help"], *([command, "--help"] for command in COMMANDS)]
    code = WITHOUT_RECBOLE.format(calls=[*calls, ["train"], ["index", "no.safetensors", "--output", "my.index"]])
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    for call in calls:
        assert f"\n{call} 0\n" in f"\n{result.stdout}"
    for command in ("train", "index"):
        (code,) = re.findall(rf"^\['{command}'(?:, 'no.*)?\] '(.*)'$", result.stdout, re.MULTILINE)
        assert code == (
            f"ModuleNotFoundError: recbole_sparse_elsa {recbole_sparse_elsa.__version__} needs RecBole 1.2.1, but no "
            'recbole is installed; run: pip install --no-deps "recbole==1.2.1"'
        )


def test_a_file_of_the_package_is_read_by_its_name_where_there_is_no_such_file(installed, capsys):
    name = "configs/leaderboard/quickstart.yaml"
    assert find_config_file(name) == str(installed / "configs" / "leaderboard" / "quickstart.yaml")
    assert f"{name} is not in this folder; the package's own is read: {installed}" in capsys.readouterr().err
    os.makedirs("configs/leaderboard")
    Path(name).write_text("mine: 1", encoding="utf-8")
    assert find_config_file(name) == name
    for missing in ("configs/none.yaml", "ml-1m.yaml", "configs", "configs/../constraints.txt", "other/ml-1m.yaml"):
        assert find_config_file(missing) == missing
    assert capsys.readouterr().err == ""


def test_in_a_checkout_its_own_files_are_shipped(monkeypatch):
    # The tests may be run on an installed package.
    monkeypatch.setattr(options, "__file__", str(TOP / "recbole_sparse_elsa" / "options.py"))
    assert Path(options.shipped_folder()) == TOP
    assert find_config_file("configs/ml-1m.yaml") == str(TOP / "configs" / "ml-1m.yaml")


def test_every_command_that_takes_a_file_of_options_takes_one_of_the_package(installed):
    from recbole_sparse_elsa.benchmark.data_options import DataOptions
    from recbole_sparse_elsa.leaderboard.specification import read_specification
    from recbole_sparse_elsa.search.search_space import read_search_space

    assert read_specification("configs/leaderboard/quickstart.yaml").cells
    assert "reg_weight" in read_search_space("configs/search/EASE.yaml")
    data = DataOptions(config_files=["configs/ml-100k.yaml"])
    data.check_data_options()
    assert data.config_files_found() == [str(installed / "configs" / "ml-100k.yaml")]
    with pytest.raises(OptionError, match="configs/none.yaml was not found"):
        DataOptions(config_files=["configs/none.yaml"]).check_data_options()
    # The file is read, and names a data set that is not there.
    assert ended_with("train", "--config_files=configs/gowalla.yaml").startswith("DatasetError: data set gowalla")


def test_configs_lists_each_file_with_what_it_is(installed, capsys):
    main(["configs"])
    lines = capsys.readouterr().out.splitlines()
    files = [path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()]
    assert sorted(lines[::2]) == sorted(files)
    assert all(line.startswith("    ") and line.rstrip().endswith(".") for line in lines[1::2])


def test_configs_copies_what_is_asked_for_and_replaces_no_other_file(installed, capsys):
    main(["configs", "configs/search", "CITATION.cff", "--output", "mine"])
    copied = {path.relative_to("mine").as_posix() for path in Path("mine").rglob("*") if path.is_file()}
    expected = {f"configs/search/{path.name}" for path in (installed / "configs" / "search").iterdir()}
    assert copied == expected | {"CITATION.cff"}
    for name in copied:
        assert (Path("mine") / name).read_bytes() == (installed / name).read_bytes()
    main(["configs", "configs/search", "--output", "mine"])  # the same files
    Path("mine/configs/search/EASE.yaml").write_text("reg_weight: {uniform: [1, 2]}", encoding="utf-8")
    assert "EASE.yaml is there already, and is another file" in ended_with("configs", "--output", "mine")
    assert not Path("mine/constraints.txt").exists()  # nothing was copied before that was seen
    main(["configs", "--output", "mine", "--overwrite"])
    assert Path("mine/configs/search/EASE.yaml").read_bytes() == (TOP / "configs/search/EASE.yaml").read_bytes()
    assert "NAME is configs/x, but no file or folder is called so" in ended_with("configs", "configs/x")


@pytest.mark.parametrize("command", COMMANDS)
def test_options_are_spelt_with_dashes(command, capsys):
    """Of train those stay that RecBole spells with underscores."""
    calls = [[command]]
    if command == "benchmark":
        calls = [[command, name] for name in ("step", "training", "scale", "evaluation", "retrieval", "segments")]
    for call in calls:
        assert ended_with(*call, "--help") == "0"
        spelt = set(re.findall(r"--[\w-]*_[\w-]*", capsys.readouterr().out))
        assert spelt == ({"--config_files", "--world_size", "--group_offset"} if command == "train" else set())


@pytest.mark.parametrize("spelt", ["--n_segments", "--n-segments"])
@pytest.mark.parametrize("form", ["{}=0", "{} 0"])
def test_both_spellings_of_an_option_are_taken(spelt, form):
    arguments = ["segments", "my.index", "--output", "s.json", *form.format(spelt).split()]
    assert ended_with(*arguments) == "OptionError: n_segments is 0, but must be a whole number of at least 1"


@pytest.mark.parametrize("spelt", ["--config-files=no.yaml", "--config_files=no.yaml", "--config-files no.yaml"])
def test_train_takes_both_spellings(spelt):
    assert ended_with("train", *spelt.split()).startswith("OptionError: config_files: no.yaml was not found")


def test_options_of_recbole_are_taken_in_both_spellings(tmp_path):
    options = ["--k-of-nobody=1", "--embedding-size=-1", "--k", "4", "--show-progress=False"]
    said = []
    for given in (options, options[1:]):
        result = subprocess.run(
            [sys.executable, "-m", "recbole_sparse_elsa", "train", *given],
            env={**os.environ, "PYTHONPATH": str(TOP)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 1 and "will not be used" not in result.stdout + result.stderr
        said.append(result.stderr.strip().splitlines()[-1])
    assert said[0].startswith("OptionError: there is no option --k-of-nobody")
    assert said[1].startswith("OptionError: embedding_size is -1, but must be")


def test_what_follows_two_dashes_is_no_option():
    from recbole_sparse_elsa.options import Parser

    parser = Parser()
    parser.add_argument("--a-b")
    parser.add_argument("words", nargs="*")
    assert parser.parse_args(["--a_b=x_y", "--", "--a_b"]) == parser.parse_args(["--a-b", "x_y", "--", "--a_b"])
    assert parser.parse_args(["--", "--a_b"]).words == ["--a_b"]
