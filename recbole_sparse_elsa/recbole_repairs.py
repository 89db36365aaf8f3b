"""Repairs of RecBole 1.2.1, in one place: what today's Python stack breaks, and a few of its own defects.

`apply` makes them all. Each one says why it is there and when it can go. Each looks for the defect itself rather than
for a version, and checks that what it replaces still has the parameters it knows. Nothing outside RecBole changes,
but for names that numpy and scipy no longer have, which are only added where missing.
"""

import contextlib
import difflib
import functools
import glob
import importlib
import importlib.util
import inspect
import logging
import math
import os
import sys
import threading
import types
import uuid
import warnings

import numpy as np
import pandas as pd
import psutil
import torch
from scipy.sparse import csc_matrix, dok_matrix, hstack
from sklearn.exceptions import ConvergenceWarning
from tqdm import tqdm

from recbole_sparse_elsa.checkpoint import read_checkpoint, write_checkpoint
from recbole_sparse_elsa.errors import DatasetError, OptionError

RECBOLE_LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam")

# Names of the models that are registered beside RecBole's own.
additional_models = set()


def apply() -> None:
    """Make all repairs; doing it again changes nothing.

    Raises
    ------
    ImportError
        A function of RecBole that is to be repaired does not have the expected parameters.
    """
    _silence_harmless_warnings()
    _add_missing_numpy_names(["bool", "float", "long", "str"])
    _add_dok_matrix_update()
    _import_quick_start_without_ray()
    _repair_exhaustive_search()
    _repair_config()
    _repair_get_model()
    _repair_checkpoints()
    _repair_missing_values()
    _repair_lengths_of_sequences()
    _repair_filtering()
    _repair_cached_data()
    _repair_download()
    _repair_slim()
    _repair_evaluator()
    _repair_evaluation_of_traditional_models()
    _repair_full_sort_prediction()
    _repair_evaluation_batches()
    _repair_case_study()
    _repair_device()
    _repair_several_processes()
    _repair_evaluation_on_several_processes()
    _repair_logger()


# How functions are replaced

_REPAIRED = "_recbole_sparse_elsa_repaired"


def replace_everywhere(original, replacement) -> None:
    """Put ``replacement`` wherever a module of RecBole holds ``original``, be it imported there by name."""
    for module_name, module in list(sys.modules.items()):
        if module is not None and module_name.partition(".")[0] == "recbole":
            for name, value in list(vars(module).items()):
                if value is original:
                    setattr(module, name, replacement)


def _repair(owner, name, parameters, make):
    """Replace the function or method ``name`` of a module or class by ``make(original)``, once."""
    original = getattr(owner, name, None)
    if hasattr(original, _REPAIRED):
        return
    if original is None or list(inspect.signature(original).parameters) != parameters.split():
        raise ImportError(
            f"{owner.__name__}.{name} does not have the parameters ({', '.join(parameters.split())}) of RecBole 1.2.1, "
            "for which recbole_sparse_elsa repairs it"
        )
    replacement = functools.wraps(original)(make(original))
    setattr(replacement, _REPAIRED, True)
    if inspect.isclass(owner):
        setattr(owner, name, replacement)
    else:
        replace_everywhere(original, replacement)


class _Overlay(types.ModuleType):
    """A module with some functions of its own, which is otherwise the module it stands for."""

    def __init__(self, module, **functions):
        super().__init__(module.__name__)
        self._module = module
        vars(self).update(functions)

    def __getattr__(self, name):
        return getattr(self._module, name)


# Python, numpy, scipy, ray


def _silence_harmless_warnings():
    """Hide warnings about lines of RecBole that are right, or that are repaired here. Can go when RecBole is mended."""
    ours = r"recbole\."
    # numpy >= 2 wants a torch tensor's __array_wrap__ to take other arguments.
    warnings.filterwarnings("ignore", "__array_wrap__ must accept", DeprecationWarning, module=r"numpy\.")
    # pandas >= 3 gives out read-only arrays; RecBole makes tensors of them and never writes to these.
    warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning, module=ours)
    # torch >= 2.4 renamed GradScaler, and keeps the old name.
    warnings.filterwarnings("ignore", r"`torch\.cuda\.amp\.", FutureWarning, module=ours)
    # pandas >= 3.1 wants its inplace=True to be given up by pandas 4.
    warnings.filterwarnings("ignore", "The inplace keyword in", DeprecationWarning, module=ours)
    # pandas 2 warns that the fillna of _repair_missing_values will do nothing, pandas >= 3 that it does nothing.
    warnings.filterwarnings("ignore", "A value is trying to be set on a copy", FutureWarning, module=ours)
    if hasattr(pd.errors, "ChainedAssignmentError"):
        warnings.filterwarnings("ignore", category=pd.errors.ChainedAssignmentError, module=ours)


_NUMPY_NAMES = {
    "bool": np.bool_,
    "int": np.int_,
    "float": np.float64,
    "complex": np.complex128,
    "object": np.object_,
    "str": np.str_,
    "long": np.int_,
    "unicode": np.str_,
}


def _add_missing_numpy_names(names):
    """Add the names of numpy's types that RecBole uses and numpy >= 1.24 no longer has. Never changes an existing one.

    RecBole adds them itself, but only when a Config is made: a process that reads a checkpoint makes none. Can go when
    RecBole uses numpy's present names.
    """
    for name in names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy < 1.24 warns when the name is looked up
            if not hasattr(np, name):
                setattr(np, name, _NUMPY_NAMES[name])


def _add_dok_matrix_update():
    """Let LightGCN, NGCF, NCL, SpectralCF, GCMC, KGIN and MCCLK fill their adjacency matrix.

    They call dok_matrix._update, which scipy >= 1.13 has not. Can go when they no longer do.
    """
    if not hasattr(dok_matrix, "_update"):
        if not isinstance(getattr(dok_matrix((1, 1)), "_dict", None), dict):
            raise ImportError("scipy's dok_matrix no longer keeps its entries in _dict; use scipy < 1.19")
        dok_matrix._update = lambda matrix, entries: matrix._dict.update(entries)


def _report_to_ray(**metrics):
    """Stands for ray.tune.report: hands the metrics on if the program uses Ray Tune, and does nothing otherwise."""
    tune = sys.modules.get("ray.tune")
    if tune is None:
        return None
    kinds = {parameter.kind for parameter in inspect.signature(tune.report).parameters.values()}
    # Ray took keywords up to 2.6, and takes a dictionary since.
    return tune.report(**metrics) if inspect.Parameter.VAR_KEYWORD in kinds else tune.report(metrics)


def _import_quick_start_without_ray():
    """Import recbole.quick_start with a stand-in for ray, of which it uses nothing but tune.report.

    The ray that RecBole asks for cannot be imported with numpy >= 2 or setuptools >= 82, and does not exist for
    Python >= 3.12; a newer one takes other arguments. The stand-in is seen by this import only: a program's own
    ``import ray`` gets the real one. Can go when RecBole imports ray only where it tunes.
    """
    name = "recbole.quick_start.quick_start"
    if name not in sys.modules:
        ray, tune = types.ModuleType("ray"), types.ModuleType("ray.tune")
        ray.tune, tune.report = tune, _report_to_ray
        real = {module: sys.modules.pop(module) for module in ("ray", "ray.tune") if module in sys.modules}
        sys.modules.update({"ray": ray, "ray.tune": tune})
        try:
            importlib.import_module(name)
        finally:
            del sys.modules["ray"], sys.modules["ray.tune"]
            sys.modules.update(real)
    quick_start = sys.modules[name]
    if getattr(quick_start.tune, "report", None) is not _report_to_ray:
        quick_start.tune = _Overlay(quick_start.tune, report=_report_to_ray)


class _RandomState(np.random.RandomState):
    """numpy's older generator, which also answers to the newer one's name for integers."""

    integers = np.random.RandomState.randint


def _repair_exhaustive_search():
    """Let HyperTuning's exhaustive search run with hyperopt >= 0.2.6, which draws integers as numpy's Generator does.

    Older ones need the older name, and pkg_resources, which setuptools >= 82 has not. Can go when RecBole hands
    hyperopt a Generator (issues #1868, #1240).
    """
    from recbole.trainer import hyper_tuning

    if hyper_tuning.np is np:
        hyper_tuning.np = _Overlay(np, random=_Overlay(np.random, RandomState=_RandomState))


# Options


def _repair_config():
    from recbole.config import Config

    def make_settings(original):
        """RecBole's version needs names that numpy >= 2 has not (np.float_), and overwrites np.bool and np.long."""

        def compatibility_settings(self):
            _add_missing_numpy_names(_NUMPY_NAMES)

        return compatibility_settings

    def make_init(original):
        """Refuse, before any data are read, what RecBole would silently ignore or do wrong.

        Each check can go when RecBole refuses the same.
        """

        def init(self, model=None, dataset=None, config_file_list=None, config_dict=None):
            original(self, model, dataset, config_file_list, config_dict)
            _repair_pretraining_models()
            _check_learner(self)
            _check_gradient_clipping(self)
            _check_threshold(self)
            _check_dataset(self)

        return init

    _repair(Config, "compatibility_settings", "self", make_settings)
    _repair(Config, "__init__", "self model dataset config_file_list config_dict", make_init)


def _check_learner(config):
    # RecBole trains with Adam, without weight_decay, if it does not know the learner.
    from recbole.utils import get_trainer

    trainer = get_trainer(config["MODEL_TYPE"], config["model"])
    allowed = [*RECBOLE_LEARNERS, *getattr(trainer, "additional_learners", ())]
    if str(config["learner"]).lower() not in allowed:
        raise OptionError(
            f"learner is {config['learner']}, but must be one of {', '.join(allowed)} for {config['model']}"
        )
    rate = config["learning_rate"]
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not (math.isfinite(rate) and rate > 0):
        raise OptionError(f"learning_rate is {rate}, but must be a finite number above 0")


def _check_gradient_clipping(config):
    # RecBole clips the gradients while they are still multiplied by the scaler's factor, that is nearly to nothing.
    if config["clip_grad_norm"] and config["enable_scaler"]:
        raise OptionError(
            f"clip_grad_norm is {config['clip_grad_norm']} and enable_scaler is {config['enable_scaler']}, but only "
            "one of them is allowed: RecBole would clip the scaled gradients, not the gradients"
        )


def _check_threshold(config):
    from recbole.utils import EvaluatorType, ModelType

    ranks_all_ratings = (
        config["eval_type"] == EvaluatorType.RANKING
        and config["MODEL_TYPE"] in (ModelType.GENERAL, ModelType.TRADITIONAL)
    )
    if ranks_all_ratings and isinstance(config["threshold"], dict) and config["threshold"]:
        field, value = next(iter(config["threshold"].items()))
        raise OptionError(
            f"threshold is {config['threshold']}, but is not allowed with ranking metrics: it only adds a label, and "
            f"all ratings stay; to drop the low ones use val_interval: {{{field}: \"[{value},inf)\"}}"
        )


def _check_dataset(config):
    if not _cached_dataset_files(config):
        missing = _missing_dataset_files(config)
        if missing:
            raise DatasetError(_describe_missing_dataset(config, missing))


def _cached_dataset_files(config):
    default = os.path.join(glob.escape(config["checkpoint_dir"]), glob.escape(config["dataset"]) + "-*Dataset.pth")
    return [path for path in [config["dataset_save_path"]] if path and os.path.exists(path)] + glob.glob(default)


def _missing_dataset_files(config):
    folder, name = config["data_path"], config["dataset"]
    parts = config["benchmark_filename"]
    names = [f"{name}.inter"] if parts is None else [f"{name}.{part}.inter" for part in parts]
    return [path for path in (os.path.join(folder, name) for name in names) if not os.path.isfile(path)]


def _describe_missing_dataset(config, missing):
    parent = os.path.dirname(os.path.normpath(config["data_path"])) or "."
    others = sorted(
        name
        for name in (os.listdir(parent) if os.path.isdir(parent) else [])
        if glob.glob(os.path.join(glob.escape(parent), glob.escape(name), glob.escape(name) + ".*inter"))
    )
    return (
        f"data set {config['dataset']} not found: there is no {', '.join(os.path.abspath(path) for path in missing)}; "
        f"data sets in {os.path.abspath(parent)} (option data_path): {', '.join(others) or 'none'}; ml-100k comes with "
        "RecBole; RecBole's download addresses have refused since August 2026 (its issue #2218), so put the files "
        "named above there yourself (github.com/RUCAIBox/RecSysDatasets tells how to make them)"
    )


def _repair_download():
    """RecBole downloads a data set that is not there, from addresses that refuse (its issue #2218).

    Options made anew are checked before (`_check_dataset`); this covers those that come with a checkpoint. Can go when
    the addresses answer again.
    """
    from recbole.data.dataset import Dataset

    def make(original):
        def download(self):
            raise DatasetError(_describe_missing_dataset(self.config, _missing_dataset_files(self.config)))

        return download

    _repair(Dataset, "_download", "self", make)


# Models by name


def known_models():
    """Return the names of the models that RecBole finds, RecBole's own and the additional ones, as a sorted list."""
    import recbole

    folder = os.path.join(os.path.dirname(recbole.__file__), "properties", "model")
    names = {os.path.splitext(name)[0] for name in os.listdir(folder) if name.endswith(".yaml")}
    return sorted(names | {"Random"} | additional_models, key=str.lower)  # Random alone has no defaults


def _repair_get_model():
    """Name the models that exist when a name is unknown.

    RecBole imports lightgbm while it looks for a model, and then complains that this is not installed (issue #2172).
    Can go when RecBole says that the model is unknown.
    """
    from recbole.utils import utils

    def make(original):
        def get_model(model_name):
            if model_name not in known_models() and not _is_importable_model(model_name):
                raise OptionError(_describe_unknown_model(model_name))
            model = original(model_name)
            _repair_pretraining_models()
            return model

        return get_model

    _repair(utils, "get_model", "model_name", make)


def _is_importable_model(name):
    # A model that a user registered or put into RecBole's folder.
    for kind in ("general", "context_aware", "sequential", "knowledge_aware"):
        module = f"recbole.model.{kind}_recommender.{name.lower()}"
        if importlib.util.find_spec(module):
            return hasattr(importlib.import_module(module), name)
    return False


def _describe_unknown_model(name):
    known = known_models()
    by_lower_case = {model.lower(): model for model in known}
    close = [by_lower_case[match] for match in difflib.get_close_matches(name.lower(), by_lower_case)]
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"there is no model {name}: {hint}The models are {', '.join(known)}"


# Checkpoints


_PRETRAINING_MODULES = (
    "general_recommender.convncf",
    "general_recommender.nais",
    "general_recommender.neumf",
    "general_recommender.ract",
    "context_aware_recommender.kd_dagfm",
    "sequential_recommender.s3rec",
)


def _load_pickle(file, map_location=None):
    return torch.load(file, map_location=map_location, weights_only=False)


def _repair_pretraining_models():
    """Let models read the pre-trained weights that RecBole saved for them.

    torch >= 2.6 reads weights only, unless told otherwise; these files hold more. Can go when the models say so.
    """
    for name in _PRETRAINING_MODULES:
        module = sys.modules.get(f"recbole.model.{name}")
        if module is not None and module.torch is torch:
            module.torch = _Overlay(torch, load=_load_pickle)


def _repair_checkpoints():
    from recbole.quick_start import quick_start
    from recbole.trainer import Trainer, trainer

    # torch >= 2.6 reads weights only, unless told otherwise, and a checkpoint also holds RecBole's Config: training
    # would end with an error when the best model is read back. And a file that is being written when the program is
    # stopped is lost together with the model it replaces. Can go when the trainer gives weights_only and writes to a
    # temporary file.
    if trainer.torch is torch:
        trainer.torch = _Overlay(torch, load=read_checkpoint, save=_save_checkpoint)
    _repair(quick_start, "load_data_and_model", "model_file", _make_load_data_and_model)
    _repair(Trainer, "__init__", "self config model", _make_trainer_init)


def _save_checkpoint(state, file, pickle_protocol=4):
    write_checkpoint(state, file)


_torch_load_lock = threading.Lock()


@contextlib.contextmanager
def _hand_to_torch_load(checkpoint, file):
    """Let this thread's next torch.load, which must be of ``file``, return ``checkpoint``; all others are as usual."""
    thread = threading.get_ident()
    torch_load = None

    @functools.wraps(torch.load)
    def load(f, *args, **kwargs):
        if threading.get_ident() != thread or f is not file:
            return torch_load(f, *args, **kwargs)
        restore()
        return checkpoint

    def restore():
        torch.load = torch_load
        _torch_load_lock.release()

    _torch_load_lock.acquire()
    torch_load, torch.load = torch.load, load
    try:
        yield
    finally:
        if torch.load is load:
            restore()


def _make_load_data_and_model(original):
    """torch.load as in `_repair_checkpoints`; here RecBole imports torch within the function.

    Also lets a checkpoint of a run on a GPU, or on several, be read where there is none, or in one process.
    """

    def load_data_and_model(model_file):
        checkpoint = read_checkpoint(model_file, None if torch.cuda.is_available() else "cpu")
        options = checkpoint["config"].final_config_dict
        if not options["single_spec"] and not torch.distributed.is_initialized():
            options.update(single_spec=True, local_rank=0, device=torch.device("cuda"))
        if options["device"].type == "cuda" and not torch.cuda.is_available():
            options["device"] = torch.device("cpu")
        with _hand_to_torch_load(checkpoint, model_file):
            return original(model_file)

    return load_data_and_model


def _make_trainer_init(original):
    """Give each run its own checkpoint.

    RecBole's names differ by the second, so that runs started together in one folder overwrite each other's, and the
    processes of one run may not agree. Can go when RecBole's names are unique.
    """

    def init(self, config, model):
        original(self, config, model)
        folder, name = os.path.split(self.saved_model_file)
        stem, extension = os.path.splitext(name)
        names = [f"{stem}-{uuid.uuid4().hex[:6]}{extension}"]
        if not config["single_spec"]:
            torch.distributed.broadcast_object_list(names)  # from rank 0; another machine may have another folder
        self.saved_model_file = os.path.join(folder, names[0])

    return init


# Data


def _repair_missing_values():
    """Fill missing values.

    With pandas >= 3 ``frame[field].fillna(..., inplace=True)`` changes nothing: RecBole then fails on a missing
    sequence, and reads a missing token or number as garbage. Can go when RecBole assigns the filled column.
    """
    from recbole.data.dataset import Dataset, dataset

    frame = pd.DataFrame({"value": [1.0, np.nan]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame["value"].fillna(value=0, inplace=True)
    if not frame["value"].isna().any():
        return

    def make_fill_nan(original):
        from recbole.utils import FeatureType

        def fill_nan(self):
            for feat in (getattr(self, name) for name in self.feat_name_list):
                for field in feat:
                    if self.field2type[field] == FeatureType.TOKEN:
                        feat[field] = feat[field].fillna(value=0)
                    elif self.field2type[field] == FeatureType.FLOAT:
                        feat[field] = feat[field].fillna(value=feat[field].mean())
            original(self)  # for the sequences

        return fill_nan

    def read_csv(*args, **kwargs):
        frame = pd.read_csv(*args, **kwargs)
        for column in frame.columns:  # named "field:type", as in the file
            if column.endswith("_seq"):
                frame[column] = frame[column].fillna("")
        return frame

    _repair(Dataset, "_fill_nan", "self", make_fill_nan)
    if dataset.pd is pd:
        dataset.pd = _Overlay(pd, read_csv=read_csv)


def _repair_lengths_of_sequences():
    """Let RecBole's ``series.agg(len)`` give the length of each element.

    pandas >= 3 gives the length of the series: no data set with a sequence field can be read, ml-100k's own .item
    included. Only calls from RecBole's data modules are changed. Can go when RecBole uses map.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # pandas >= 2.1 announces the change
            if np.array_equal(pd.Series([[1, 2], [3]]).agg(len), [2, 1]):
                return
    except FutureWarning:
        pass

    def make(original):
        def agg(self, func=None, *args, **kwargs):
            if func is len and sys._getframe(1).f_globals.get("__name__", "").startswith("recbole.data"):
                return self.map(len)
            return original(self, func, *args, **kwargs)

        return agg

    # A Series' agg has had other names for its parameters; only that it takes func is relied on.
    parameters = list(inspect.signature(pd.Series.agg).parameters)
    if parameters[:2] != ["self", "func"]:
        raise ImportError("pandas' Series.agg does not take func, as recbole_sparse_elsa expects; use pandas < 4")
    _repair(pd.Series, "agg", " ".join(parameters), make)


def _repair_filtering():
    """Say which filters left nothing; RecBole trains on nothing, or fails without naming them.

    Can go when RecBole names them.
    """
    from recbole.data.dataset import Dataset, KnowledgeBasedDataset

    def make(original):
        def data_filtering(self):
            failure = None
            try:
                original(self)
            except Exception as error:
                failure = error
            empty = [name for name in self.feat_name_list if len(getattr(self, name)) == 0]
            if empty:
                raise DatasetError(_describe_empty_dataset(self, empty)) from failure
            if failure is not None:
                raise failure

        return data_filtering

    _repair(Dataset, "_data_filtering", "self", make)
    _repair(KnowledgeBasedDataset, "_data_filtering", "self", make)


def _describe_empty_dataset(dataset, empty):
    config = dataset.config
    filters = {
        name: config[name]
        for name in ("val_interval", "user_inter_num_interval", "item_inter_num_interval")
        if config[name] not in (None, {}, "[0,inf)")
    }
    has_features = dataset.user_feat is not None or dataset.item_feat is not None
    if config["filter_inter_by_user_or_item"] is True and has_features:
        filters["filter_inter_by_user_or_item"] = True
    what = "interactions" if "inter_feat" in empty else " and ".join(name.removesuffix("_feat") + "s" for name in empty)
    return (
        f"no {what} of data set {config['dataset']} are left after filtering; the filters are "
        + (", ".join(f"{name}: {value}" for name, value in filters.items()) or "none")
    )


# Options that shape the data, but that RecBole does not compare with those of a saved data set.
_OTHER_DATASET_OPTIONS = (
    "data_path",
    "encoding",
    "numerical_features",
    "discretization",
    "kg_reverse_r",
    "entity_kg_num_interval",
    "relation_kg_num_interval",
    "convert_token_to_onehot",
    "token_num_threshold",
)
# The same for saved data loaders, whose batches are fixed when they are made.
_LOADER_OPTIONS = ("train_batch_size", "eval_batch_size", "train_neg_sample_args", "shuffle", "worker")


def _changed_options(saved, config, names):
    return [name for name in names if saved[name] != config[name]]


def _repair_cached_data():
    """Let a saved data set, and saved data loaders, be used only where this run's options would give the same.

    RecBole uses a data set that an earlier run saved with that run's options: asked for another split, it makes the
    old one. And it does not look whether the files were others. Can go when RecBole does both.
    """
    from recbole.data import utils

    def make_create_dataset(original):
        def create_dataset(config):
            dataset = original(config)
            if dataset.config is config:
                return dataset
            changed = _changed_options(dataset.config, config, _OTHER_DATASET_OPTIONS)
            if changed == ["data_path"] and config["dataset_save_path"] and not os.path.isdir(config["data_path"]):
                changed = []  # a saved data set that was taken along without its files
            if changed:
                logging.getLogger().info(f"The saved data set has another {', '.join(changed)}: it is made anew")
                dataset = type(dataset)(config)
                if config["save_dataset"]:
                    dataset.save()
            else:
                dataset.config = config
            return dataset

        return create_dataset

    def make_load_split_dataloaders(original):
        def load_split_dataloaders(config):
            loaders = original(config)
            if loaders is None:
                return None
            changed = _changed_options(loaders[0]._dataset.config, config, _OTHER_DATASET_OPTIONS + _LOADER_OPTIONS)
            if changed:
                logging.getLogger().info(f"The saved data loaders have another {', '.join(changed)}: not used")
                return None
            for loader in loaders:
                loader._dataset.config = config
            return loaders

        return load_split_dataloaders

    _repair(utils, "create_dataset", "config", make_create_dataset)
    _repair(utils, "load_split_dataloaders", "config", make_load_split_dataloaders)


# Models


def _repair_slim():
    """Fit each item's regression of SLIMElastic on the items alone that can get a weight: minutes in place of hours.

    RecBole fits it on the whole catalogue, and converts the matrix of all interactions anew for each item. Where
    weights are not negative, as by default, the correlation of an item with what is left to explain is at most the
    number of users that it shares with the target; if that is within the L1 penalty, its weight stays 0. What is
    minimised is the same. Can go when RecBole leaves these items out.
    """
    from recbole.model.general_recommender import slimelastic
    from recbole.model.general_recommender.slimelastic import SLIMElastic

    def make_init(original):
        def init(self, config, dataset):
            if not (config["positive_only"] and config["hide_item"]):
                original(self, config, dataset)
                return
            super(SLIMElastic, self).__init__(config, dataset)
            for option in ("hide_item", "alpha", "l1_ratio", "positive_only"):
                setattr(self, option, config[option])
            self.dummy_param = torch.nn.Parameter(torch.zeros(1))
            self.interaction_matrix = dataset.inter_matrix(form="csr").astype(np.float32)
            self.item_similarity = _slim_weights(slimelastic.ElasticNet, self.interaction_matrix, config)
            self.other_parameter_name = ["interaction_matrix", "item_similarity"]

        return init

    _repair(SLIMElastic, "__init__", "self config dataset", make_init)


def _slim_weights(elastic_net, interactions, config):
    """Of SLIM: float32 CSC matrix of items x items, in whose column the weights stand that predict an item."""
    n_users, n_items = interactions.shape
    regression = elastic_net(
        alpha=config["alpha"],
        l1_ratio=config["l1_ratio"],
        positive=True,
        fit_intercept=False,
        copy_X=False,
        selection="random",
        max_iter=100,
        tol=1e-4,
    )
    by_item = interactions.tocsc()
    shared_users = (by_item.T @ by_item).tocsc()
    l1_penalty = n_users * config["alpha"] * config["l1_ratio"]
    columns = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=ConvergenceWarning)
        for item in tqdm(range(n_items), desc="SLIMElastic", unit="item", disable=not config["show_progress"]):
            column = shared_users[:, [item]]
            others = column.indices[(column.data > l1_penalty) & (column.indices != item)]
            weights = np.zeros(0, dtype=np.float32)
            if len(others):
                regression.fit(by_item[:, others], by_item[:, [item]].toarray().ravel())
                weights = regression.coef_
            columns.append(csc_matrix((weights, (others, np.zeros_like(others))), shape=(n_items, 1)))
    similarity = hstack(columns, format="csc", dtype=np.float32)
    similarity.eliminate_zeros()
    return similarity


# Evaluation


def _repair_evaluator():
    from recbole.evaluator import Collector, Evaluator

    def make_evaluate(original):
        """numpy >= 2 prints its floats as np.float64(0.1), in logs too. Can go when the metrics are Python's floats."""

        def evaluate(self, dataobject):
            result = original(self, dataobject)
            for metric, value in result.items():
                if isinstance(value, np.floating):
                    result[metric] = float(value)
            return result

        return evaluate

    def make_get_data_struct(original):
        """ItemCoverage, AveragePopularity, GiniIndex and TailPercentage need a count, of which RecBole asks .cpu().

        Can go when RecBole asks tensors only (issues #2131, #2191, #2194). For runs on several processes see
        `_repair_evaluation_on_several_processes`.
        """

        def get_data_struct(self):
            if not self.config["single_spec"]:
                _gather_from_all_processes(self.data_struct._data_dict)
            collected = self.data_struct._data_dict
            others = {key: value for key, value in collected.items() if not isinstance(value, torch.Tensor)}
            for key in others:
                del collected[key]
            returned = original(self)
            collected.update(others)
            returned._data_dict.update(others)
            return returned

        return get_data_struct

    _repair(Evaluator, "evaluate", "self dataobject", make_evaluate)
    _repair(Collector, "get_data_struct", "self", make_get_data_struct)


def _repair_evaluation_of_traditional_models():
    """Validate the only epoch of a model that has just one (EASE, ItemKNN, ...) whatever ``eval_step`` is.

    RecBole means to, but sets their number of epochs only after it has taken the smaller of the two. The epoch then is
    neither validated nor saved, and the run ends with the checkpoint missing. Can go when RecBole sets it before.
    """
    from recbole.trainer import TraditionalTrainer

    def make_init(original):
        def init(self, config, model):
            original(self, config, model)
            self.eval_step = min(self.eval_step, self.epochs)

        return init

    _repair(TraditionalTrainer, "__init__", "self config model", make_init)


def _defines_full_sort_predict(model_class):
    from recbole.model.abstract_recommender import AbstractRecommender

    return getattr(model_class, "full_sort_predict", None) not in (None, AbstractRecommender.full_sort_predict)


@contextlib.contextmanager
def _not_implemented_is_an_error(model):
    """Turn a NotImplementedError that leaves the model's own full_sort_predict into a RuntimeError.

    RecBole takes it for a model without full_sort_predict, and scores each user and item alone, which is right but
    takes hours. torch raises it where a device or a sparse layout lacks an operation. Can go when RecBole looks whether
    the model has the method.
    """
    if not _defines_full_sort_predict(type(model)):
        yield
        return
    predict, of_instance = model.full_sort_predict, "full_sort_predict" in vars(model)

    def full_sort_predict(interaction):
        try:
            return predict(interaction)
        except NotImplementedError as error:
            raise RuntimeError(f"{type(model).__name__}.full_sort_predict needs what is not there: {error}") from error

    model.full_sort_predict = full_sort_predict
    try:
        yield
    finally:
        if of_instance:
            model.full_sort_predict = predict
        else:
            del model.full_sort_predict


def _repair_full_sort_prediction():
    from recbole.trainer import Trainer

    def make(original):
        def full_sort_batch_eval(self, batched_data):
            with _not_implemented_is_an_error(self.model):
                return original(self, batched_data)

        return full_sort_batch_eval

    _repair(Trainer, "_full_sort_batch_eval", "self batched_data", make)


def _repair_case_study():
    """Name the users that a case study cannot look at; RecBole fails on their missing history with a TypeError.

    Can go when RecBole does.
    """
    from recbole.utils import case_study

    def make(original):
        def full_sort_scores(uid_series, model, test_data, device=None):
            if not test_data.is_sequential:
                history = test_data.uid2history_item
                missing = [int(user) for user in uid_series if not 0 <= user < len(history) or history[user] is None]
                if missing:
                    raise DatasetError(
                        f"users {', '.join(map(str, missing))} (internal ids) have no interactions in the test data; "
                        f"the {len(test_data.uid_list)} users that have are test_data.uid_list"
                    )
            with _not_implemented_is_an_error(model):
                return original(uid_series, model, test_data, device)

        return full_sort_scores

    _repair(case_study, "full_sort_scores", "uid_series model test_data device", make)


# Models whose memory per score is a multiple of the embedding size, and one that ranks alike all users of a batch.
_KEEP_RECBOLE_BATCHES = ("ENMF", "GCMC", "Random")
_MAX_SCORES = 2**24
_BYTES_PER_SCORE = 24  # the scores, RecBole's mask of the positives, and the model's own temporaries


def _users_per_batch(n_users, n_items, device):
    if device.type == "cuda":
        available = torch.cuda.mem_get_info(device)[0]
    else:
        available = psutil.virtual_memory().available
    budget = min(_MAX_SCORES, available // 8 // _BYTES_PER_SCORE)
    return max(1, min(budget // n_items, n_users))


def _repair_evaluation_batches():
    """Evaluate many users at a time, unless the user set eval_batch_size.

    RecBole's default, 4096 scores, is two users of ml-100k and one user from 4097 items on, which makes evaluation
    several times as slow (issues #1556, #1878, #1843). The figures are the same. Can go when RecBole's default depends
    on the number of items.
    """
    from recbole.data.dataloader import FullSortEvalDataLoader

    def make(original):
        def init_batch_size_and_step(self):
            original(self)
            config = self.config
            set_by_user = (
                "eval_batch_size" in config.external_config_dict
                or config["eval_batch_size"] != config.internal_config_dict["eval_batch_size"]
            )
            keep = config["model"] in _KEEP_RECBOLE_BATCHES or not _defines_full_sort_predict(config.model_class)
            if self.is_sequential or set_by_user or keep:
                return
            n_items = self._dataset.item_num
            self.step = _users_per_batch(self.sample_size, n_items, config["device"])
            self.set_batch_size(self.step * n_items)
            logging.getLogger().info(f"Evaluating {self.step} users at a time, as eval_batch_size is not set")

        return init_batch_size_and_step

    _repair(FullSortEvalDataLoader, "_init_batch_size_and_step", "self", make)


# Devices and several processes


def _repair_device():
    """Train where the user asked for, also in several processes.

    RecBole trains on a GPU in spite of ``use_gpu: False``, puts its default ``gpu_id`` in the place of the user's
    CUDA_VISIBLE_DEVICES, by which schedulers hand out GPUs (issue #1955), and knows several processes on GPUs only: here
    they take gloo on CPUs. Can go when RecBole does these.
    """
    from recbole.config import Config

    def make(original):
        by_user = by_recbole = None  # what CUDA_VISIBLE_DEVICES was set to

        def init_device(self):
            nonlocal by_user, by_recbole
            options = self.final_config_dict
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            if visible != by_recbole:
                by_user = visible
            if by_user is not None and "gpu_id" not in self.external_config_dict:
                options["gpu_id"] = by_user
            local_rank = options.pop("local_rank", None)
            original(self)  # as for one process: whether there is a GPU to use
            by_recbole = os.environ["CUDA_VISIBLE_DEVICES"]
            if not options["use_gpu"]:
                options["device"] = torch.device("cpu")
            if local_rank is None:
                return
            if options["device"].type != "cpu":
                options["local_rank"] = local_rank
                original(self)
                return
            torch.distributed.init_process_group(
                backend="gloo",
                rank=local_rank + options["offset"],
                world_size=options["world_size"],
                init_method=f"tcp://{options['ip']}:{options['port']}",
            )
            options.update(local_rank=local_rank, single_spec=False)
            if local_rank != 0:
                options.update(state="error", show_progress=False, verbose=False)

        return init_device

    _repair(Config, "_init_device", "self", make)


def _repair_several_processes():
    """Let RecBole's runs on several processes train on CPUs too, and wait for each other.

    RecBole knows GPUs only. Can go when it chooses by the device.
    """
    from recbole.trainer import Trainer
    from recbole.trainer.trainer import AbstractTrainer
    from recbole.utils import utils

    def make_abstract_trainer_init(original):
        def init(self, config, model):
            if config["single_spec"] or config["device"].type != "cpu":
                original(self, config, model)
                return
            self.config, self.model = config, model
            # Neither device_ids nor SyncBatchNorm, which are for GPUs only.
            self.distributed_model = torch.nn.parallel.DistributedDataParallel(model)

        return init

    def make_evaluate(original):
        """The process that writes the best model may still be at it when the others want to read it.

        Can go when RecBole waits.
        """

        def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
            if load_best_model and not self.config["single_spec"]:
                torch.distributed.barrier()
            return original(self, eval_data, load_best_model, model_file, show_progress)

        return evaluate

    def make_ensure_dir(original):
        """Two processes may both see that a folder is missing. Can go when RecBole makes it with exist_ok."""

        def ensure_dir(dir_path):
            os.makedirs(dir_path, exist_ok=True)

        return ensure_dir

    _repair(utils, "ensure_dir", "dir_path", make_ensure_dir)
    _repair(AbstractTrainer, "__init__", "self config model", make_abstract_trainer_init)
    _repair(Trainer, "evaluate", "self eval_data load_best_model model_file show_progress", make_evaluate)


class _Share(torch.utils.data.Sampler):
    """The part of ``range(n)`` that this process evaluates: parts are contiguous, and in the order of the processes."""

    def __init__(self, n):
        rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.indices = range(n * rank // world_size, n * (rank + 1) // world_size)

    def __iter__(self):
        return iter(self.indices)

    def __len__(self):
        # RecBole takes a loader without batches for missing data, and would not evaluate on this process.
        return max(1, len(self.indices))


def _repair_evaluation_on_several_processes():
    """Give the same metrics on several processes as on one.

    RecBole evaluates some users twice, so that all processes have as many, and weights the processes' averages by their
    batches instead of their users. Not every metric is an average either. Here each user is evaluated once, and each
    process computes the metrics from what all have collected. Can go when RecBole does (its pull request #1872).
    """
    from recbole.data.dataloader import FullSortEvalDataLoader, NegSampleEvalDataLoader
    from recbole.trainer import Trainer

    def make_loader_init(original):
        def init(self, config, dataset, sampler, shuffle=False):
            original(self, config, dataset, sampler, shuffle)
            if not config["single_spec"]:
                self.batch_sampler.sampler = _Share(self.sample_size)

        return init

    def make_map_reduce(original):
        def map_reduce(self, result, num_sample):
            return result  # is that of all processes already

        return map_reduce

    for loader in (FullSortEvalDataLoader, NegSampleEvalDataLoader):
        _repair(loader, "__init__", "self config dataset sampler shuffle", make_loader_init)
    _repair(Trainer, "_map_reduce", "self result num_sample", make_map_reduce)


def _gather_from_all_processes(collected):
    """Put together, in the order of the processes, what each has collected of its users in an evaluation."""
    of_users = {
        name: value.cpu() for name, value in collected.items() if name.startswith("rec.") or name == "data.label"
    }
    parts = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, of_users)
    for name in sorted(set().union(*parts)):
        collected[name] = torch.cat([part[name] for part in parts if name in part])


# Logs

_log_handlers = []


def _repair_logger():
    """Give each run its own log file, and its own tensorboard folder, which is named after it.

    RecBole sets up logging only while the root logger has no handler, so the second run of a process writes into the
    file of the first, and none is written where a program set up logging itself. It also wraps the standard output for
    colours once more with every run, until Python's recursion limit is reached. Can go when RecBole does neither.
    """
    from colorama.ansitowin32 import StreamWrapper
    from recbole.utils import logger

    def make(original):
        def init_logger(config):
            root = logging.getLogger()
            for handler in _log_handlers:
                root.removeHandler(handler)
                handler.close()
            _log_handlers.clear()
            others = root.handlers[:]
            streams = {name: getattr(sys, name) for name in ("stdout", "stderr")}
            for handler in others:
                root.removeHandler(handler)
            try:
                original(config)
                _log_handlers.extend(root.handlers)
            finally:
                for handler in others:
                    root.addHandler(handler)
                for name, stream in streams.items():
                    if isinstance(stream, StreamWrapper):
                        setattr(sys, name, stream)

        return init_logger

    _repair(logger, "init_logger", "config", make)
