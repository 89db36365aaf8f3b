"""Trainings in processes of their own, which may be killed, or find no room. They are forked from one that has imported
all that a training needs: most of the time of a short one would go into imports."""

import contextlib
import json
import multiprocessing
import os
import sys
import traceback

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["recbole_sparse_elsa.runs", "recbole_sparse_elsa.training.autoencoder_trainer"])


def train(folder, options, resume=None):
    """Train in a folder: a dict with the test result and the model's file, what a user is told, or a traceback."""
    import recbole_sparse_elsa
    from recbole_sparse_elsa.errors import UserError

    os.chdir(folder)
    sys.argv = ["pytest"]
    with open(os.devnull, "w") as said, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            result = recbole_sparse_elsa.run(options=options, resume=resume)
            return {"result": dict(result["test_result"]), "file": result["saved_model_file"]}
        except UserError as error:
            return {"refused": f"{type(error).__name__}: {error}"}
        except BaseException:
            return {"traceback": traceback.format_exc()}


def train_and_tell(folder, options, resume, done_file):
    """As `train`; what came of it goes to a file elsewhere."""
    done = train(folder, options, resume)
    with open(f"{done_file}.tmp", "w") as file:
        json.dump(done, file)
    os.replace(f"{done_file}.tmp", done_file)


def start(folder, options, done_file, resume=None):
    """A process that trains."""
    process = context.Process(target=train_and_tell, args=(str(folder), options, resume, str(done_file)))
    process.start()
    return process


def finished(folder, options, done_file, resume=None):
    """What came of a training that nobody disturbs."""
    return ended(start(folder, options, done_file, resume), done_file)


def ended(process, done_file):
    """What came of a training, when it has ended."""
    process.join(300)
    if process.exitcode is None:
        process.kill()
        raise AssertionError("the training hangs")
    with open(done_file) as file:
        return json.load(file)
