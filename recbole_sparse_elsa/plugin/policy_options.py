"""Options by name: unknown ones are refused, and so is what RecBole would complain of late or in a traceback."""

import ast
import contextlib
import difflib
import functools
import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest import mock

from recbole_sparse_elsa.errors import DatasetError, OptionError, UserError
from recbole_sparse_elsa.model import PROPERTIES
from recbole_sparse_elsa.plugin import own_models
from recbole_sparse_elsa.plugin.needed_columns import points_of
from recbole_sparse_elsa.plugin.patching import names_in, replaces, source_of
from recbole_sparse_elsa.plugin.policy import _after_config
from recbole_sparse_elsa.training import RESUMABLE

# Options that RecBole reads but lists nowhere.
_UNLISTED = frozenset(
    (
        *("convert_token_to_onehot", "discretization", "encoding", "norm", "numerical_features", "token_num_threshold"),
        *("tail_ratio", "contrast", "sim", "eta", "has_residual", "use_filter", "xgb_early_stopping_rounds"),
        *("valid_neg_sample_args", "test_neg_sample_args", "eval_type", "device", "MODEL_TYPE", "MODEL_INPUT_TYPE"),
        *("NEG_ITEMS", "POS_ITEMS", "MASK_INDEX", "MASK_ITEM_SEQ", "CROP_ITEM_SEQ", "CROP_ITEM_SEQ_LEN"),
        *("INVERSE_ITEM_SEQ", "REORDER_ITEM_SEQ", "feature_num", "cin"),
        *("model", "dataset", "config_file", "config_files", "resume", "preset", "test_mask"),
        *("valid_share", "refit_epochs"),
        *("nproc", "world_size", "ip", "port", "offset", "group_offset", "local_rank", "single_spec", "gpu_id"),
    )
)

_TIME = "eval_args, with the keys split, order, group_by and mode"
#: Options of RecBole 0.x and early 1.x, with what has replaced them.
FORMER_OPTIONS = {
    "min_user_inter_num": 'user_inter_num_interval, such as "[5,inf)"',
    "max_user_inter_num": 'user_inter_num_interval, such as "[5,inf)"',
    "min_item_inter_num": 'item_inter_num_interval, such as "[5,inf)"',
    "max_item_inter_num": 'item_inter_num_interval, such as "[5,inf)"',
    "lowest_val": 'val_interval, such as {rating: "[4,inf)"}',
    "highest_val": 'val_interval, such as {rating: "(-inf,4]"}',
    "equal_val": 'val_interval, such as {rating: "[4,4]"}',
    "not_equal_val": 'val_interval, such as {rating: "(-inf,4);(4,inf)"}',
    "drop_filter_field": "unused_col",
    "drop_preload_weight": "unused_col",
    "training_neg_sample_num": "train_neg_sample_args, such as {distribution: uniform, sample_num: 1}",
    "training_neg_sample_distribution": "train_neg_sample_args, such as {distribution: uniform, sample_num: 1}",
    "neg_sampling": "train_neg_sample_args, such as {distribution: uniform, sample_num: 1}",
    "eval_setting": _TIME,
    "eval_neg_sample_args": "mode of eval_args, such as uni100",
    "group_by_user": _TIME,
    "split_ratio": _TIME,
    "leave_one_num": _TIME,
    "real_time_process": "nothing: it is gone",
    "fields_in_same_space": "alias_of_user_id and alias_of_item_id",
    "load_pretrain_path": "nothing: it is gone",
    "gpu": "gpu_id",
    "n_gpu": "gpu_id and nproc",
}


def _listed_option_names() -> set[str]:
    from recbole.utils import dataset_arguments, evaluation_arguments, general_arguments, training_arguments

    return {*general_arguments, *training_arguments, *evaluation_arguments, *dataset_arguments, *_UNLISTED}


@functools.cache
def _option_names_of_files() -> frozenset[str]:
    import recbole
    import yaml

    names: set[str] = set()
    folder = os.path.join(os.path.dirname(recbole.__file__), "properties")
    patterns = os.path.join(folder, "*.yaml"), os.path.join(folder, "*", "*.yaml"), os.path.join(PROPERTIES, "*.yaml")
    for pattern in patterns:
        for file in glob.glob(pattern):
            with open(file, encoding="utf-8") as opened:
                content = yaml.safe_load(opened)
            if isinstance(content, dict):
                names |= {str(name) for name in content}
    return frozenset(names)


def known_options(config: Any) -> set[str]:
    """The names of the options of the model that a Config is for, of its training, data and evaluation."""
    return {*config.internal_config_dict, *_listed_option_names()}


def all_options() -> set[str]:
    """The names of the options of all models, of training, data and evaluation."""
    return {*_listed_option_names(), *_option_names_of_files(), *own_models.names_of_options()}


def describe_unknown_option(name: object, known: Iterable[str]) -> str:
    """What to do about an option that does not exist: its successor, or the nearest names."""
    if name in FORMER_OPTIONS:
        return f"RecBole has it no more; use {FORMER_OPTIONS[str(name)]}"
    close = difflib.get_close_matches(str(name), sorted(known))
    hint = f"did you mean {' or '.join(close)}?" if close else "see RecBole's and this package's option tables"
    return "; ".join([hint, *own_models.where_options_stand()])


@_after_config({"embedding_sise": 32}, until="RecBole refuses options that it does not know")
def refuse_unknown_options(config: Any) -> None:
    """Refuse an option that no model has, with the nearest name, or with the successor of a former name.

    RecBole ignores it, and trains with the default of the option that was meant. A class of one's own that a program
    hands to RecBole may read any option.
    """
    own = own_models.registered(config["model"])
    if own is None and config.model_class.__module__.partition(".")[0] not in ("recbole", "recbole_sparse_elsa"):
        return
    known = known_options(config)
    for name, value in config.external_config_dict.items():
        if name in known or (name not in FORMER_OPTIONS and name in _option_names_of_files()):
            continue
        hint = describe_unknown_option(name, all_options())
        raise OptionError(f"there is no option {name}, which is given as {value!r}; {hint}")


@_after_config(
    {"metrics": ["Recall"], "topk": [20], "valid_metric": "MRR@10"}, until="RecBole compares valid_metric with metrics"
)
def refuse_validation_metrics_that_are_not_computed(config: Any) -> None:
    """Refuse a valid_metric that is not among the metrics and cut-offs.

    RecBole looks for it after the first epochs, and fails with a KeyError.
    """
    from recbole.evaluator.base_metric import TopkMetric
    from recbole.evaluator.register import metrics_dict

    computed = []
    for metric in config["metrics"]:
        name = metric.lower()
        # RecBole adds the cut-off to every metric of a ranking but those of all items.
        has_cutoff = issubclass(metrics_dict[name], TopkMetric) or _is_at_k(metrics_dict[name])
        computed += [f"{name}@{k}" for k in config["topk"]] if has_cutoff else [name]
    if str(config["valid_metric"]).lower() not in computed:
        raise OptionError(
            f"valid_metric is {config['valid_metric']}, but must be one of metrics and topk: {', '.join(computed)}"
        )


def _is_at_k(metric: type) -> bool:
    return "topk" in metric.__init__.__code__.co_names  # type: ignore[misc]


@_after_config({"model": "ELSA", "resume": os.devnull}, until="RecBole compares the options of a checkpoint")
def refuse_to_resume_with_other_options(config: Any) -> None:
    """Refuse to go on from a checkpoint with options that would change the result.

    A training that began with 8 non-zeros goes on with 8, whatever is asked for now.
    """
    if not config["resume"] or config["model"] not in RESUMABLE:
        return
    from recbole_sparse_elsa.training.checkpoint import read_checkpoint
    from recbole_sparse_elsa.training.resuming import require_same_options

    require_same_options(str(config["resume"]), read_checkpoint(config["resume"], "cpu")["config"], config)


def _says_in_its_own_way(init: Callable[..., Any]) -> bool:
    from recbole.config import Config

    with mock.patch.dict(os.environ), mock.patch("sys.argv", [""]):
        try:
            init(Config.__new__(Config), "BPR", "ml-100k", None, {"metrics": ["NoSuchMetric"]})
        except UserError:
            return False
        except Exception:
            return True
    return False


@replaces(
    "recbole.config.Config.__init__",
    parameters="self model dataset config_file_list config_dict",
    kind="policy",
    until="RecBole's complaints about options are of one type, and name the option",
    probe=_says_in_its_own_way,
)
def say_in_one_line_what_recbole_does_not_accept(original: Callable[..., Any]) -> Callable[..., Any]:
    """Make one line of what RecBole has to say against options.

    Its complaints are exceptions of many types, which end in a traceback.
    """

    def init(self, model=None, dataset=None, config_file_list=None, config_dict=None):
        try:
            original(self, model, dataset, config_file_list, config_dict)
        except (UserError, ImportError):
            raise
        except FileNotFoundError as error:
            raise OptionError(f"config file {error.filename} was not found") from error
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise OptionError(f"RecBole does not accept the options: {reason}") from error

    return init


_RECBOLES_COMPLAINTS = (ValueError, KeyError, IndexError, TypeError, NotImplementedError, AssertionError)


def _complains_in_its_own_way(original: Callable[..., Any]) -> bool:
    return "UserError" not in names_in(original)


@replaces(
    "recbole.data.utils.create_dataset",
    parameters="config",
    kind="policy",
    until="RecBole's complaints about data are of one type, and name the data set",
    probe=_complains_in_its_own_way,
)
def say_in_one_line_what_recbole_does_not_read(original: Callable[..., Any]) -> Callable[..., Any]:
    """Make one line of what RecBole has to say against a data set.

    Its complaints are exceptions of many types, which end in a traceback.
    """

    def create_dataset(config):
        with _in_one_line(config):
            return original(config)

    return create_dataset


@contextlib.contextmanager
def _in_one_line(config: Any) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except _RECBOLES_COMPLAINTS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(
            f"RecBole cannot prepare data set {config['dataset']} with these options: {reason}"
        ) from error


# The command line


def _drops_values_after_a_space(load_cmd_line: Callable[..., Any]) -> bool:
    from recbole.config import Config

    with mock.patch("sys.argv", ["run_recbole.py", "--k", "16"]):
        return load_cmd_line(Config.__new__(Config)) != {"k": 16}


@replaces(
    "recbole.config.Config._load_cmd_line",
    parameters="self",
    kind="repair",
    until="RecBole takes options with a space, and values with an equals sign",
    probe=_drops_values_after_a_space,
)
def read_the_whole_command_line(original: Callable[..., Any]) -> Callable[..., Any]:
    """Read ``--name value`` as ``--name=value``, and values that have an equals sign.

    RecBole passes over both with a warning, and runs with the default. An option without a value is refused.
    """

    def load_cmd_line(self):
        program, *arguments = sys.argv or [""]
        joined = [program, *_joined(arguments)]
        sys.argv = [_with_one_equals_sign(argument) for argument in joined]
        try:
            return original(self)
        finally:
            sys.argv = joined

    return load_cmd_line


def _with_one_equals_sign(argument: str) -> str:
    """The argument with its value as a literal of Python, which RecBole evaluates, in which = is an escape."""
    name, _, text = argument.partition("=")
    if "=" not in text:
        return argument
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    return f"{name}={value!r}".replace("=", r"\x3d").replace(r"\x3d", "=", 1)


def _joined(arguments: list[str]) -> list[str]:
    """The arguments with each of RecBole's options that stands apart from its value joined to it.

    Others belong to the program that calls RecBole, and stay as they are.
    """
    joined: list[str] = []
    waiting = None
    for argument in arguments:
        is_option = argument.startswith("--")
        if waiting is not None and not is_option:
            joined.append(f"{waiting}={argument}")
            waiting = None
            continue
        _require_a_value(waiting)
        if is_option and "=" not in argument and (argument[2:] in FORMER_OPTIONS or argument[2:] in all_options()):
            waiting = argument
        else:
            joined.append(argument)
    _require_a_value(waiting)
    return joined


def _require_a_value(option: str | None) -> None:
    if option is not None:
        raise OptionError(f"option {option} has no value; give {option}=value")


def require_known_arguments(arguments: Iterable[str]) -> None:
    """Raise OptionError for an argument of a command line that is none of RecBole's or this package's options.

    RecBole passes over what is not ``--name=value`` with a warning, and runs without it.
    """
    known = all_options()
    takes_value = False
    for argument in arguments:
        if takes_value and not argument.startswith("--"):
            takes_value = False
            continue
        name, equals, _ = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or name not in known:
            hint = describe_unknown_option(name, known)
            raise OptionError(f"there is no option {argument.partition('=')[0]}; {hint}")
        takes_value = not equals


# Data that lie where the user says


def _takes_its_own_copy(set_default_parameters: Callable[..., Any]) -> bool:
    return 'self.dataset == "ml-100k"' in source_of(set_default_parameters)


@replaces(
    "recbole.config.Config._set_default_parameters",
    parameters="self",
    kind="repair",
    until="RecBole looks into data_path for ml-100k, too",
    probe=_takes_its_own_copy,
)
def look_into_data_path_for_every_data_set(original: Callable[..., Any]) -> Callable[..., Any]:
    """Take ml-100k from data_path where it lies there.

    RecBole takes the copy that it ships, without a word, whatever data_path says.
    """

    def set_default_parameters(self):
        given = self.external_config_dict.get("data_path")
        original(self)
        if given is not None and self.dataset == "ml-100k":
            folder = os.path.join(given, self.dataset)
            if glob.glob(os.path.join(glob.escape(folder), f"{self.dataset}.*inter")):
                self.final_config_dict["data_path"] = folder

    return set_default_parameters


# What only the data tell


def _takes_any_cutoff(original: Callable[..., Any]) -> bool:
    return "topk" not in source_of(original)


@replaces(
    "recbole.data.utils.data_preparation",
    parameters="config dataset",
    kind="policy",
    until="RecBole refuses these before it trains",
    probe=_takes_any_cutoff,
)
def refuse_evaluations_that_cannot_be(original: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse a cut-off beyond the catalogue, and data of which nothing is left to evaluate.

    RecBole trains first, and then fails, or prints None as the result.
    """

    def data_preparation(config, dataset):
        with _in_one_line(config):
            train_data, valid_data, test_data = original(config, dataset)
        if config["topk"] and _ranks(config):
            n_items = train_data._dataset.item_num - 1
            # A list may have one more place than there are items: it stays empty, as the padding is no candidate.
            if max(config["topk"]) > n_items + 1:
                raise OptionError(
                    f"topk is {config['topk']}, but data set {config['dataset']} has {n_items} items: give cut-offs of "
                    f"at most {n_items}"
                )
        if _asks_for_test_data(config) and len(test_data._dataset) == 0:
            raise DatasetError(
                f"no interaction of data set {config['dataset']} is left to test on with eval_args "
                f"{config['eval_args']}: its users have too few interactions, so filter them (user_inter_num_interval) "
                "or give another split"
            )
        return train_data, valid_data, test_data

    return data_preparation


def _ranks(config: Any) -> bool:
    from recbole.utils import EvaluatorType

    return config["eval_type"] == EvaluatorType.RANKING


def _asks_for_test_data(config: Any) -> bool:
    if config["benchmark_filename"] is not None:
        return True
    split = config["eval_args"]["split"]
    kind, shares = next(iter(split.items())) if isinstance(split, dict) and split else ("", None)
    if points_of(config) is not None:
        return True
    if kind in ("RS", "TS"):
        return isinstance(shares, (list, tuple)) and len(shares) == 3 and shares[2] > 0
    return not (kind == "LS" and shares == "valid_only")
