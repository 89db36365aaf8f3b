"""Files are written whole or not at all, nothing of others is touched, and two processes do not write the same one."""

import logging
import os
import re
import stat
import subprocess
import sys

import pytest
from conftest import make_config
from recbole.utils import init_logger

from recbole_sparse_elsa import output
from recbole_sparse_elsa.__main__ import main
from recbole_sparse_elsa.errors import OutputError
from recbole_sparse_elsa.runs import run

HOLD = """
import sys, time
from recbole_sparse_elsa import output
with getattr(output, sys.argv[1])(sys.argv[2]):
    def write(file):
        file.write(b"half")
        file.flush()
        print("writing", flush=True)
        time.sleep(300)
    output.write_file(sys.argv[3], write)
"""


@pytest.fixture
def holder():
    """Starts a process that keeps an output and is half-way through a file, until it is killed."""
    started = []

    def hold(kind, name, file):
        process = subprocess.Popen([sys.executable, "-c", HOLD, kind, name, file], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"writing\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_file_of_a_name_like_a_temporary_one_stays():
    for name in ("X.tmp", "X.abc123.tmp", "m.pth.abc123.tmp", "sparse-elsa-notes.tmp", ".sparse-elsa.locks"):
        open(name, "w").write("mine")
    output.write_text("X", "new")
    with pytest.raises(ZeroDivisionError):
        output.write_file("X", lambda file: 1 / 0)
    assert open("X").read() == "new"
    assert {open(name).read() for name in os.listdir() if name != "X"} == {"mine"} and len(os.listdir()) == 6


@pytest.mark.parametrize("linked", ["there", "not there"])
def test_a_symbolic_link_stays_and_what_it_leads_to_is_written(linked):
    os.mkdir("elsewhere")
    if linked == "there":
        open("elsewhere/X", "w").write("old")
    os.symlink("elsewhere/X", "first")
    os.symlink("first", "second")
    output.write_text("second", "new")
    assert os.readlink("second") == "first" and os.readlink("first") == "elsewhere/X"
    assert open("elsewhere/X").read() == "new" and os.listdir("elsewhere") == ["X"]


def test_a_file_that_is_replaced_keeps_its_permissions():
    output.write_text("X", "old")
    os.chmod("X", 0o604)
    output.write_text("X", "new")
    assert stat.S_IMODE(os.stat("X").st_mode) == 0o604


def test_devices_and_pipes_are_written_to_and_stay():
    output.write_text(os.devnull, "text")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    os.mkfifo("pipe")
    reader = subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE)
    with output.reserve_file("pipe"):
        output.write_text("pipe", "text")
    assert reader.communicate()[0] == b"text" and stat.S_ISFIFO(os.stat("pipe").st_mode)
    assert os.listdir() == ["pipe"]


def test_the_standard_output_keeps_what_was_printed():
    script = "from recbole_sparse_elsa import output; print(1); output.write_text('/dev/stdout', '2\\n'); print(3)"
    with open("printed", "w") as printed:
        subprocess.run([sys.executable, "-c", script], stdout=printed, check=True)
    assert open("printed").read() == "1\n2\n3\n"


@pytest.mark.parametrize(
    "file, reason",
    [
        ("nowhere/X", "No such file or directory"),
        ("plain/X", "Not a directory"),
        ("folder", "Is a directory"),
        ("/", "Is a directory"),
        ("loop", "Too many levels of symbolic links"),
        ("X" * 300, "File name too long"),
        ("/proc/X", "No such file or directory"),
        ("no\nwhere/X", "No such file or directory"),
    ],
)
def test_what_cannot_be_written_is_said_in_one_line_with_the_reason(file, reason):
    open("plain", "w").close()
    os.mkdir("folder")
    os.symlink("loop", "loop")
    before = os.listdir()
    for write in (lambda: output.write_text(file, "text"), lambda: output.reserve_file(file).__enter__()):
        with pytest.raises(OutputError, match=f"cannot be written: {reason}") as refused:
            write()
        assert "\n" not in str(refused.value)
    assert os.listdir() == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_device_is_named():
    with pytest.raises(OutputError, match="/dev/full cannot be written: No space left on device"):
        output.write_text("/dev/full", "text")


LIMITED = """
import resource, sys
import torch
from recbole_sparse_elsa import output
from recbole_sparse_elsa.training.checkpoint import write_checkpoint
output.write_text("m.pth", "old")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_checkpoint({"config": {}, "state_dict": {"weight": torch.zeros(100_000)}}, "m.pth")
except output.OutputError as error:
    print(error)
"""


def test_a_limit_on_the_size_of_files_is_named_where_torch_hides_it():
    printed = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert printed.stdout == "m.pth cannot be written: File too large\n" and printed.stderr == ""
    assert os.listdir() == ["m.pth"] and open("m.pth").read() == "old"


def test_the_next_run_removes_what_a_killed_one_left_and_leaves_what_a_living_one_writes(holder):
    os.mkdir("folder")
    process = holder("reserve_file", "folder/X", "folder/X")
    left = sorted(os.listdir("folder"))
    assert left[0] == ".X.sparse-elsa.lock" and len(left) == 2
    output.write_text("folder/Y", "text")
    assert sorted(os.listdir("folder")) == sorted([*left, "Y"])
    process.kill()
    process.wait()
    with output.reserve_file("folder/X"):
        output.write_text("folder/X", "text")
    assert sorted(os.listdir("folder")) == ["X", "Y"]


def test_a_temporary_checkpoint_of_version_0_1_0_is_removed_once_it_is_old():
    old, new = (f"SparseELSA-Nov-28-2026_08-09-10-abcde{digit}-resume.pth.0a1b2c.tmp" for digit in "01")
    for name in (old, new):
        open(name, "w").close()
    os.utime(old, (0, 0))
    output.write_text("X", "text")
    assert sorted(os.listdir()) == [new, "X"]


@pytest.mark.parametrize("kind", ["reserve_file", "reserve_folder"])
def test_an_output_in_use_is_refused_with_who_has_it_until_that_process_is_dead(kind, holder):
    process = holder(kind, "mine", "mine" if kind == "reserve_file" else "mine/X")
    for _ in range(2):
        said = rf"^output: mine is in use by process {process.pid} on \S+, since 20\d\d"
        with pytest.raises(OutputError, match=said):
            getattr(output, kind)("mine").__enter__()
    process.kill()
    process.wait()
    with getattr(output, kind)("mine"), getattr(output, kind)("mine"):  # this process may have it twice
        output.write_text("mine" if kind == "reserve_file" else "mine/X", "text")
    assert sorted(os.listdir()) == ["mine"] and not os.path.exists("mine/.sparse-elsa.lock")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"pid": "x"}', b"\xff", b'{"pid": 1, "host": {}, "since": 3}', b"9" * 9000]
)
def test_a_lock_of_any_content_is_a_lock(content, holder):
    holder("reserve_folder", "mine", "elsewhere")
    with open("mine/.sparse-elsa.lock", "wb") as file:
        file.write(content)
    with pytest.raises(OutputError, match="output: mine is in use by another process; wait"):
        output.reserve_folder("mine").__enter__()


def test_a_command_says_who_has_its_output(holder):
    open("ratings.csv", "w").write("userId,movieId,rating,timestamp\n1,2,3.0,4\n")
    process = holder("reserve_folder", "mine", "elsewhere")
    with pytest.raises(SystemExit, match=f"^OutputError: output: mine is in use by process {process.pid} on "):
        main(["convert", "ratings.csv", "--output", "mine"])
    process.kill()
    process.wait()
    main(["convert", "ratings.csv", "--output", "mine"])
    assert os.listdir("mine") == ["mine.inter"]


def test_a_benchmark_keeps_its_folder_to_itself(holder):
    process = holder("reserve_folder", "mine", "elsewhere")
    with pytest.raises(SystemExit, match=f"^OutputError: output: mine is in use by process {process.pid} on "):
        main(["benchmark", "step", "--output", "mine"])


def test_a_new_folder_goes_again_where_nothing_came_of_it():
    with pytest.raises(SystemExit, match="^OptionError: users is 0"):
        main(["benchmark", "step", "--users", "0", "--output", "new"])
    os.mkdir("old")
    with pytest.raises(ZeroDivisionError), output.reserve_folder("old"):
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), output.reserve_folder("full"):
        output.write_text("full/X", "text")
        raise ZeroDivisionError
    assert sorted(os.listdir()) == ["full", "old"] and os.listdir("full") == ["X"] and os.listdir("old") == []


def test_a_data_set_has_a_name():
    open("ratings.csv", "w").write("userId,movieId,rating,timestamp\n1,2,3.0,4\n")
    with pytest.raises(SystemExit, match="^OptionError: output is /, which has no name; give a folder whose name"):
        main(["convert", "ratings.csv", "--output", "/"])
    assert not os.path.exists("/.inter")


@pytest.mark.parametrize("folder", ["log", "log_tensorboard", "saved"])
def test_a_run_says_before_it_reads_data_which_folder_it_cannot_write(folder, checkerboard, root_logger):
    open(folder, "w").close()
    with pytest.raises(OutputError, match=f"^[a-z_]+: {folder} cannot be made a folder: File exists$"):
        run("EASE", checkerboard, options={"state": "ERROR"})


RUN_LIMITED = """
import resource, sys
from recbole_sparse_elsa.commands import train
resource.setrlimit(resource.RLIMIT_FSIZE, 2 * (int(sys.argv.pop(1)),))
train.main("", sys.argv[1:])
"""


@pytest.mark.parametrize(
    "limit, said",
    [
        (100, "OutputError: log: log cannot be written to: File too large\n"),
        (5000, "OutputError: saved/SparseELSA-.*-resume.safetensors cannot be written: File too large\n"),
    ],
)
def test_a_run_under_a_limit_on_the_size_of_files_ends_in_one_line(limit, said, checkerboard):
    options = ["--embedding_size=256", "--k=8", "--epochs=5", "--stage_epochs=1", "--dataset=checkerboard"]
    command = [sys.executable, "-c", RUN_LIMITED, str(limit), *options, "--show_progress=False", "--state=ERROR"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 1 and re.fullmatch(said, ended.stderr)
    folder = "saved" if os.path.isdir("saved") else "."
    assert not any(name.endswith((".pth", ".safetensors", ".tmp")) for name in os.listdir(folder))


def test_a_log_that_cannot_be_written_any_more_is_said_once(checkerboard, root_logger, capsys):
    init_logger(make_config(checkerboard, state="INFO"))
    handler = next(handler for handler in root_logger.handlers if isinstance(handler, logging.FileHandler))
    handler.setStream(open("/dev/full", "w"))
    for line in ("one", "two"):
        root_logger.info(line)
    said = [line for line in capsys.readouterr().err.splitlines() if "INFO" not in line]
    assert len(said) == 1 and said[0].startswith("No log from here on: ") and "No space left on device" in said[0]
    init_logger(make_config(checkerboard, state="INFO"))  # the next run of the process has a log again
    root_logger.info("three")
    assert "No log" not in capsys.readouterr().err
