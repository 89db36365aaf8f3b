"""Reading a data set: the rules of atomic files, columns that options need, missing values and missing files."""

import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from recbole_sparse_elsa.data.atomic_files import AtomicFile, read_atomic_file, read_header
from recbole_sparse_elsa.errors import DatasetError, OptionError
from recbole_sparse_elsa.plugin.missing_dataset import describe_missing_dataset, missing_dataset_files
from recbole_sparse_elsa.plugin.needed_columns import (
    field_of_histories,
    fields_on_loan,
    fields_to_keep,
    nearest_field,
    why_time_is_needed,
)
from recbole_sparse_elsa.plugin.patching import replaces


def _takes_users_for_items(load_feat: Callable[..., Any]) -> bool:
    from recbole.utils import FeatureSource

    options = {"field_separator": "\t", "seq_separator": " ", "encoding": "utf-8"}
    stub = mock.MagicMock(config=options, field2type={}, field2source={}, field2seqlen={}, field2bucketnum={})
    stub._get_load_and_unload_col.return_value = (None, None)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "some.inter")
        with open(path, "w") as file:
            file.write("user_id:token\titem_id:token\nu1\ti1\t\nu2\ti2\t\n")
        try:
            return load_feat(stub, path, FeatureSource.INTERACTION)["user_id"].tolist() == ["i1", "i2"]
        except Exception:  # whatever RecBole will then raise
            return False


@replaces(
    "recbole.data.dataset.Dataset._load_feat",
    parameters="self filepath source",
    kind="repair",
    until="RecBole reads what its documentation says",
    probe=_takes_users_for_items,
)
def read_atomic_files_by_their_rules(original: Callable[..., Any]) -> Callable[..., Any]:
    """Read every atomic file by the rules of its format, refuse what breaks them, and load what the options need.

    RecBole reads them with pandas' conveniences for CSV files: a tab at the end of each line makes items of users, ids
    such as NA or null are dropped, and so is an interaction whose user or item is empty. It fails where an option needs
    a column that load_col does not name.
    """

    def load_feat(self, filepath, source):
        config = self.config
        text = {"separator": config["field_separator"], "encoding": config["encoding"]}
        header = read_header(filepath, **text)
        # What a message may propose, whether or not load_col names it.
        vars(self).setdefault("fields_of_the_files", {}).update(header)
        if source == _source("inter"):
            _require_histories(self, filepath, header)
        fields, ids = _fields_to_read(self, filepath, source, header)
        if not fields:
            return None
        needs_times = config["rm_dup_inter"] is not None or why_time_is_needed(config) is not None
        exact = [self.time_field] if source == _source("inter") and needs_times else []
        read = read_atomic_file(filepath, fields, sequence_separator=config["seq_separator"], exact=exact, **text)
        _require_ids(filepath, read, ids)
        if source == _source("inter"):
            _require_the_fields_of_the_first_part(self, filepath, read.types)
            _require_times(self, filepath, read, header)
        return _frame(self, read, source)

    return load_feat


def _source(value: str) -> Any:
    from recbole.utils import FeatureSource

    return FeatureSource(value)


def _fields_to_read(dataset: Any, path: str, source: Any, header: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The fields to read of a file, in its order, and those of them that name the user or the item."""
    config, suffix = dataset.config, getattr(source, "value", source)
    load_col, unload_col = dataset._get_load_and_unload_col(source)
    if load_col and "load_col" in config.external_config_dict:
        _require_fields("load_col", path, load_col, header)
    if unload_col:
        _require_fields("unload_col", path, unload_col, header)
    chosen = {
        field
        for field in header
        if (load_col is None or field in load_col) and (unload_col is None or field not in unload_col)
    }
    user, item = ((dataset.uid_field, "USER_ID_FIELD"), (dataset.iid_field, "ITEM_ID_FIELD"))
    ids = {"inter": [user, item], "user": [user], "item": [item]}
    if suffix not in ids:
        return [field for field in header if field in chosen], []
    loans = []
    if load_col is not None or unload_col is not None:
        # A field that several files have is that of the first one, or of all parts of the interactions.
        missing = [
            field for field in header if field not in chosen and dataset.field2source.get(field, source) == source
        ]
        kept, lent = fields_to_keep(config), fields_on_loan(config)
        chosen |= {field for field in missing if field in kept}
        loans = [field for field in missing if field in lent and field not in kept]
    if suffix != "inter" and not chosen and not loans:
        return [], []
    names = [field for field, _ in ids[suffix] if field is not None]
    for field, option in ids[suffix]:
        if field is not None and header.get(field) != "token":
            found = f"has type {header[field]}" if field in header else "is not in the header"
            raise DatasetError(
                f"{path}, line 1: the field {field} (option {option}) {found}, but must be there, with type token; "
                f"found {_header_of(header)}"
            )
    if suffix != "inter" and not chosen:
        vars(dataset).setdefault("frames_on_loan", []).append(suffix)
    vars(dataset).setdefault("columns_on_loan", []).extend((suffix, field) for field in loans if field not in names)
    chosen |= {*names, *loans}
    return [field for field in header if field in chosen], names


def _require_fields(option: str, path: str, fields: Collection[str], header: Mapping[str, str]) -> None:
    for field in sorted(map(str, fields)):
        if field not in header:
            hint = nearest_field(field, header)
            raise OptionError(
                f"{option} has the field {field}, which {path} does not have: {hint}Its fields are {', '.join(header)}"
            )


def _require_ids(path: str, read: AtomicFile, ids: Collection[str]) -> None:
    for field in ids:
        for text, found in (("", "is missing"), ("[PAD]", "is [PAD], which RecBole uses for padding")):
            wrong = np.flatnonzero(read.columns[field] == text)
            if len(wrong):
                raise DatasetError(
                    f"{path}, line {read.lines[wrong[0]]}: {field} {found}, but expected a token in every line"
                )


def _require_the_fields_of_the_first_part(dataset: Any, path: str, types: Mapping[str, str]) -> None:
    if dataset.benchmark_filename_list is None:
        return
    first_path, first_types = vars(dataset).setdefault("_first_part", (path, dict(types)))
    if dict(types) != first_types:
        raise DatasetError(
            f"{path} has the fields {_header_of(types)}, but must have those of {first_path}: {_header_of(first_types)}"
        )


def _require_histories(dataset: Any, path: str, header: Mapping[str, str]) -> None:
    field = field_of_histories(dataset.config)
    if field and header.get(field) != "token_seq":
        raise DatasetError(
            f"{path}, line 1: there is no field {field}:token_seq with the items before each interaction, which the "
            f"sequential model {dataset.config['model']} needs in the files of benchmark_filename; found "
            f"{_header_of(header)}"
        )


def _header_of(types: Mapping[str, str]) -> str:
    return ", ".join(f"{field}:{kind}" for field, kind in types.items())


def _require_times(dataset: Any, path: str, read: AtomicFile, header: Mapping[str, str]) -> None:
    """Refuse times that cannot put interactions into an order, if an option needs one."""
    config, field = dataset.config, dataset.time_field
    reason = why_time_is_needed(config)
    if reason is None and (config["rm_dup_inter"] is None or field not in read.types):
        return
    reason = reason or "rm_dup_inter"
    if field not in read.types:
        hint = nearest_field(field, header)
        raise DatasetError(
            f"{path} does not have the field {field} (option TIME_FIELD), which {reason} needs: {hint}Its fields are "
            f"{', '.join(header)}"
        )
    if read.types[field] != "float":
        raise DatasetError(
            f"{path}, line 1: the field {field} (option TIME_FIELD) has type {read.types[field]}, but must have type "
            f"float, as {reason} needs it"
        )
    missing = np.flatnonzero(np.isnan(read.columns[field]))
    if len(missing):
        raise DatasetError(
            f"{path}, line {read.lines[missing[0]]}: {field} is missing, but expected a number in every line, as "
            f"{reason} needs it"
        )


def _frame(dataset: Any, read: AtomicFile, source: Any) -> pd.DataFrame:
    """The table that RecBole keeps of a file; what it notes about the fields is noted on the way."""
    from recbole.utils import FeatureType

    columns: dict[str, Any] = {}
    separator = dataset.config["seq_separator"]
    for field, kind in read.types.items():
        values: Any = read.columns[field]
        length = 1
        if kind == "token":
            missing = values == ""
            values = np.where(missing, np.nan, values) if missing.any() else values
        elif kind != "float":
            number = str if kind == "token_seq" else float
            values = [np.array(list(map(number, filter(None, text.split(separator))))) for text in values]
            length = max(map(len, values), default=0)
            limit = (dataset.config["seq_len"] or {}).get(field)
            if limit is not None:
                values, length = [sequence[:limit] for sequence in values], min(limit, length)
        columns[field] = values
        if source != "link":
            dataset.field2source[field] = source
            dataset.field2type[field] = FeatureType(kind)
            if "float" in kind:
                dataset.field2bucketnum[field] = 2
        if source != "link" or kind.endswith("seq"):
            dataset.field2seqlen[field] = length
    return pd.DataFrame(columns)


def _forgets_columns_on_loan(data_filtering: Callable[..., Any]) -> bool:
    stub = mock.MagicMock(columns_on_loan=[("inter", "rating")], frames_on_loan=[])
    data_filtering(stub)
    return bool(stub.columns_on_loan)


@replaces(
    "recbole.data.dataset.Dataset._data_filtering",
    parameters="self",
    kind="repair",
    until="RecBole loads the columns that its options need",
    probe=_forgets_columns_on_loan,
)
def give_back_columns_on_loan(original: Callable[..., Any]) -> Callable[..., Any]:
    """Drop the columns that were read for a filter only, before a model takes them for features.

    RecBole fails where load_col does not name the column that a filter needs; and whoever names it gets a feature.
    """

    def data_filtering(self):
        original(self)
        for suffix in vars(self).pop("frames_on_loan", ()):
            frame = getattr(self, f"{suffix}_feat")
            for field in frame.columns.difference([self.uid_field, self.iid_field]):
                _drop_column(self, frame, field)
            setattr(self, f"{suffix}_feat", None)
            self.feat_name_list.remove(f"{suffix}_feat")
        for loan in list(vars(self).get("columns_on_loan", ())):
            suffix, field = loan
            if suffix == "inter" and field == self.time_field and why_time_is_needed(self.config):
                continue  # until interactions are in order
            frame = getattr(self, f"{suffix}_feat")
            if frame is not None and field in frame:
                _drop_column(self, frame, field)
            self.columns_on_loan.remove(loan)

    return data_filtering


def _drop_column(dataset: Any, frame: pd.DataFrame, field: str) -> None:
    dataset._del_col(frame, field)
    dataset.field2bucketnum.pop(field, None)
    # The tokens that are still to be numbered.
    dataset._rest_fields = np.array([name for name in dataset._rest_fields if name != field], dtype=object)


def _fillna_in_place_does_nothing(*original: Callable[..., Any]) -> bool:
    frame = pd.DataFrame({"value": [1.0, np.nan]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame["value"].fillna(value=0, inplace=True)
    return bool(frame["value"].isna().any())


@replaces(
    "recbole.data.dataset.Dataset._fill_nan",
    parameters="self",
    kind="repair",
    since="pandas 3.0",
    until="RecBole assigns the filled column",
    probe=_fillna_in_place_does_nothing,
    only_where_needed=True,
)
def fill_missing_values(original: Callable[..., Any]) -> Callable[..., Any]:
    """Fill missing tokens and numbers.

    With pandas >= 3 ``frame[field].fillna(..., inplace=True)`` changes nothing: RecBole then reads a missing token or
    number as garbage.
    """
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


def _len_is_that_of_the_series(agg: Callable[..., Any]) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # pandas >= 2.1 announces the change
            return not np.array_equal(agg(pd.Series([[1, 2], [3]]), len), [2, 1])
    except FutureWarning:
        return True


# A Series' agg has had other names for its parameters; only that it takes func is relied on.
@replaces(
    "pandas.Series.agg",
    parameters="self func ...",
    kind="repair",
    since="pandas 3.0",
    until="RecBole uses map",
    probe=_len_is_that_of_the_series,
    only_where_needed=True,
)
def take_lengths_of_elements(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let RecBole's ``series.agg(len)`` give the length of each element.

    pandas >= 3 gives the length of the series: no data set with a sequence field can be read, ml-100k's own .item
    included. Only calls from RecBole's data modules are changed.
    """

    def agg(self, func=None, *args, **kwargs):
        if func is len and sys._getframe(1).f_globals.get("__name__", "").startswith("recbole.data"):
            return self.map(len)
        return original(self, func, *args, **kwargs)

    return agg


def _asks_for_an_address(download: Callable[..., Any]) -> bool:
    stub = mock.MagicMock(config={"local_rank": 0})
    stub._get_download_url.side_effect = LookupError
    try:
        download(stub)
    except LookupError:
        return True
    return False


@replaces(
    "recbole.data.dataset.Dataset._download",
    parameters="self",
    kind="repair",
    since="August 2026",
    until="RecBole's download addresses answer again (its issue #2218)",
    probe=_asks_for_an_address,
)
def say_that_a_dataset_is_missing(original: Callable[..., Any]) -> Callable[..., Any]:
    """Say which files of a data set are missing, instead of downloading it.

    RecBole downloads a data set that is not there, from addresses that refuse (its issue #2218). Options that are not
    a checkpoint's are checked before, by the policy of the same name; this covers those that come with a checkpoint.
    """

    def download(self):
        raise DatasetError(describe_missing_dataset(self.config, missing_dataset_files(self.config)))

    return download
