"""The README says what is so."""

import os
import re
import shlex
import subprocess
import sys

import pytest
import yaml

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
with open(os.path.join(TOP, "README.md"), encoding="utf-8") as readme:
    README = readme.read()


def defaults(model):
    import recbole_sparse_elsa

    folder = os.path.join(os.path.dirname(recbole_sparse_elsa.__file__), "model", "properties")
    with open(os.path.join(folder, f"{model}.yaml"), encoding="utf-8") as file:
        # YAML 1.1 reads 1e-4 as a string; RecBole's own loader does not.
        options = yaml.safe_load(file)
    floats = ("nadam_epsilon", "autoencoder_learning_rate")
    return {name: float(value) if name in floats else value for name, value in options.items()}


def option_table():
    section = README.split("\n## Options\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \| ([^|]+) \|$", section, re.MULTILINE)
    return {name: {"SparseELSA": sparse, "ELSA": dense} for name, sparse, dense in rows}


@pytest.mark.parametrize("model", ["SparseELSA", "ELSA"])
def test_the_option_table_has_every_option_with_its_default(model):
    table = {name: cells[model] for name, cells in option_table().items()}
    for name, value in defaults(model).items():
        written = table.pop(name)
        if value is None:
            assert written == "–", name
        elif isinstance(value, float):
            assert float(written) == value, name
        else:
            assert written == str(value), name
    assert all(cell == "–" for cell in table.values()), table


def test_the_table_of_sparse_slim_has_every_option_with_its_default():
    section = README.split("\n## SparseSLIM")[1].split("\n## ")[0]
    table = {}
    for names, cells in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|.*\| ([^|]+) \|$", section, re.MULTILINE):
        table |= dict(zip(re.findall(r"\w+", names), cells.split(", ")))
    assert {name: str(value) for name, value in defaults("SparseSLIM").items()} == {
        name: str(float(cell)) if name == "reg_weight" else cell for name, cell in table.items()
    }


def test_the_main_job_runs_as_written(tmp_path):
    """The first command, without its installation."""
    block = re.search(r"```bash\n(pip install .*run_recbole.*)\n```", README).group(1)
    program, script, *options = shlex.split(block.split("&&")[-1])
    assert (program, script) == ("python", "run_recbole.py")
    result = subprocess.run(
        [sys.executable, os.path.join(TOP, script), *options],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    text = re.sub(r"\x1b\[[0-9;]*m", "", result.stdout + result.stderr)
    # Well above ItemKNN's .2833, which the same seed gives; the README's table has the mean of five seeds.
    ndcg = float(re.search(r"test result: .*'ndcg@10'[,:] (0\.\d+)", text).group(1))
    assert ndcg > 0.2833
    sizes = re.search(r"item embeddings: .*", text).group()
    assert sizes in README
    assert list((tmp_path / "saved").glob("SparseELSA-*.pth"))


def test_the_python_example_runs(tmp_path):
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    code = example.replace('{"k": 16}', '{"k": 16, "epochs": 22, "show_progress": False}') + "\nprint(sorted(result))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": TOP},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=600,
    )
    assert "test_result" in result.stdout, result.stderr


def test_the_example_that_recommends_runs(tmp_path):
    example = re.search(r"```python\n(import recbole_sparse_elsa\n\nresult = .*?)```", README, re.DOTALL).group(1)
    code = example.replace('{"k": 16}', '{"k": 16, "epochs": 22, "show_progress": False}')
    assert code != example
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": TOP},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    assert len(re.findall(r"'\d+'", result.stdout.splitlines()[-1])) == 5


def test_the_example_of_an_index_runs():
    from scipy.sparse import eye_array

    from recbole_sparse_elsa.index import SparseIndex

    SparseIndex(eye_array(200), [str(token) for token in range(200)]).save("ml-100k.index")
    example = re.search(r"```python\n(from recbole_sparse_elsa.index import SparseIndex\n.*?)```", README, re.DOTALL)
    names = {}
    exec(example.group(1), names)
    assert len(names["found"].items) == 10 and len(names["batch"]) == 2


def test_the_leaderboard_example_is_accepted():
    from recbole_sparse_elsa.leaderboard.specification import read_specification

    for name, part in (("ml-100k", ""), ("ml-1m", ""), ("mysplit", "train."), ("mysplit", "test.")):
        os.makedirs(f"dataset/{name}", exist_ok=True)
        open(f"dataset/{name}/{name}.{part}inter", "w").close()
    with open("example.yaml", "w", encoding="utf-8") as file:
        file.write(re.search(r"```yaml\n(data_path: .*?)```", README, re.DOTALL).group(1))
    cells = read_specification("example.yaml").cells
    # 3 data sets x 2 seeds, of EASE, of three sizes of SparseELSA, and of two with options of their own.
    assert len(cells) == 36


@pytest.mark.parametrize("file", ["ml-100k", "ml-1m", "amazon-beauty"])
def test_ready_config_files_are_complete(file):
    from recbole.config import Config

    path = os.path.join(TOP, "configs", f"{file}.yaml")
    folder = os.path.join("dataset", file)
    os.makedirs(folder)
    open(os.path.join(folder, f"{file}.inter"), "w").close()
    config = Config(config_file_list=[path])
    expected = "SparseSLIM" if file == "amazon-beauty" else "SparseELSA"  # as the data's histories are short or long
    assert (config["model"], config["dataset"]) == (expected, file)
    assert f"--config_files=configs/{file}.yaml" in open(path).read()


CONFIGS = sorted(
    os.path.relpath(os.path.join(folder, file), TOP)
    for folder, _, files in os.walk(os.path.join(TOP, "configs"))
    for file in files
)


@pytest.mark.parametrize("file", CONFIGS)
def test_every_file_of_options_is_accepted(file):
    """By today's options: those that a model has no more are refused."""
    from recbole.config import Config

    from recbole_sparse_elsa.leaderboard.specification import read_specification
    from recbole_sparse_elsa.search.search_space import read_search_space

    path = os.path.join(TOP, file)
    with open(path, encoding="utf-8") as opened:
        content = yaml.safe_load(opened)
    if "models" in content:
        for dataset in content["datasets"]:
            name = dataset if isinstance(dataset, str) else dataset["name"]
            os.makedirs(f"dataset/{name}", exist_ok=True)
            for part in ("train.", "test.") if "split" in dataset else ("",):
                open(f"dataset/{name}/{name}.{part}inter", "w").close()
        assert read_specification(path).cells
    elif "dataset" in content:
        os.makedirs(f"dataset/{content['dataset']}")
        open(f"dataset/{content['dataset']}/{content['dataset']}.inter", "w").close()
        assert Config(config_file_list=[path])["model"] == content["model"]
    else:
        assert read_search_space(path)
