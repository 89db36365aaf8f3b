"""``sparse-elsa benchmark step``: one training step on the non-zeros against the dense masked computation.

Both steps are measured in one process and in turn, so that whatever else the machine does meets both alike.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from recbole_sparse_elsa import output
from recbole_sparse_elsa.benchmark.dense_masked import dense_masked_loss
from recbole_sparse_elsa.benchmark.reporting import require_positive, show, write_report
from recbole_sparse_elsa.core import TopKEmbedding, UserHistories
from recbole_sparse_elsa.core.sparse_products import Support
from recbole_sparse_elsa.errors import OptionError
from recbole_sparse_elsa.machine import environment
from recbole_sparse_elsa.machine.memory import available_memory, peak_memory
from recbole_sparse_elsa.options import require_whole_number

_INPUT_DROPOUT = 0.5
# Popularity of the item of rank r is proportional to r ** -0.8: roughly that of MovieLens.
POPULARITY_EXPONENT = 0.8
_TOLERANCE = 1e-4
# Predictions are sums of terms of about 1.
_ROUNDING = 1e-5

_EXPLANATION = """
A step: zero_grad, loss with input dropout {input_dropout:g}, backward, NAdam. "Dense masked" is the plain computation
with the whole items x d matrix and a mask (recbole_sparse_elsa/benchmark/dense_masked.py), given its dense batch
ready made; "ours" is the compact embedding layer, which assembles its batch within the step. Before they were timed,
both gave the same loss and, on the support, the same gradient to {tolerance:g}. Times are medians of {repeats} steps
each, in turn; "faster" is the median of the ratios of neighbouring steps. "State" is parameters, gradients and
optimiser states, exactly; "with support" adds the mask, or the places of the non-zeros. Interactions are generated:
{interactions} a user, item popularity proportional to rank ** -{exponent:g}, seed {seed}.
"""


@dataclass(frozen=True)
class Cell:
    """One place of the grid."""

    users: int
    items: int
    embedding_size: int
    k: int

    def __str__(self):
        return f"{self.users:,} users x {self.items:,} items, d {self.embedding_size:,}, k {self.k:,}"

    def estimated_bytes(self) -> int:
        """Memory that the cell needs at its peak, about: what both steps keep, and the dense one uses on its way."""
        # 4 matrices of the state, 1/4 of a mask, and 6 on the way; 12 copies of the batch at most; the compact form.
        item_matrix, batch_matrix = 4 * self.items * self.embedding_size, 4 * self.users * self.items
        user_vectors = 4 * self.users * self.embedding_size
        return int(10.25 * item_matrix + 12 * batch_matrix + 6 * user_vectors + 80 * self.items * self.k)


def make_optimizer(weight: nn.Parameter) -> torch.optim.Optimizer:
    """The optimiser of a parameter as PruningTrainer makes it, with SparseELSA's defaults."""
    return torch.optim.NAdam([weight], lr=0.05, eps=1e-4, momentum_decay=1.0, decoupled_weight_decay=True)


class _Step:
    """One whole training step; subclasses set the attributes, and give the loss."""

    weight: nn.Parameter
    optimizer: torch.optim.Optimizer

    def loss(self) -> torch.Tensor:
        """The loss of the step, with input dropout."""
        raise NotImplementedError

    def take(self) -> None:
        """Take the step."""
        self.optimizer.zero_grad()
        self.loss().backward()
        self.optimizer.step()

    def state_bytes(self) -> int:
        """Size of parameters, gradients and optimiser states; the last are made by the first step."""
        state = self.optimizer.state[self.weight].values()
        return _bytes_of([self.weight, self.weight.grad, *(value for value in state if torch.is_tensor(value))])


class DenseMaskedStep(_Step):
    """The dense masked computation on a layer that is pruned and still in its dense form."""

    form = "dense_masked"

    def __init__(self, layer: TopKEmbedding, histories: UserHistories, users: torch.Tensor) -> None:
        self.weight = nn.Parameter(layer.weight.detach().clone())
        self.mask = torch.ones_like(layer.weight, dtype=torch.bool) if layer.support is None else layer.support.clone()
        self.rows = histories.batch(users).rows()
        self.optimizer = make_optimizer(self.weight)

    def loss(self) -> torch.Tensor:
        """The loss of a step: scalar float32."""
        return self.loss_of(F.dropout(self.rows, _INPUT_DROPOUT))

    def loss_of(self, inputs: torch.Tensor) -> torch.Tensor:
        """The loss with this input: float32, shape ``(n_users, n_items)``."""
        return dense_masked_loss(self.weight, self.mask, self.rows, inputs)

    def gradient_on_support(self) -> torch.Tensor:
        """The gradient of the entries that are kept: float32, shape ``(n_nonzeros,)``."""
        return self.weight.grad[self.mask]

    def support_bytes(self) -> int:
        """Size of what says which entries are kept."""
        return _bytes_of([self.mask])

    def batch_bytes(self) -> int:
        """Size of the batch that is kept between the steps."""
        return _bytes_of([self.rows])


class CompactStep(_Step):
    """This package's step on a layer in its compact form."""

    form = "compact"

    def __init__(self, layer: TopKEmbedding, histories: UserHistories, users: torch.Tensor) -> None:
        self.layer, self.histories, self.users = layer, histories, users
        self.weight = layer.weight
        self.optimizer = make_optimizer(self.weight)

    def loss(self) -> torch.Tensor:
        """The loss of a step: scalar float32."""
        return self.layer.nmse_loss(self.histories.batch(self.users).drop_input(_INPUT_DROPOUT))

    def loss_of(self, inputs: torch.Tensor) -> torch.Tensor:
        """The loss with this input: float32, shape ``(n_users, n_items)``."""
        return self.layer.nmse_loss(self._batch_of(inputs))

    def before_relu(self, inputs: torch.Tensor) -> torch.Tensor:
        """The predictions from this input, before the relu: same shape."""
        return self.layer.reconstruct(self._batch_of(inputs)) - inputs

    def _batch_of(self, inputs):
        batch = self.histories.batch(self.users)
        return dataclasses.replace(batch, input_value=inputs[batch.user_index, batch.item_index])

    def gradient_on_support(self) -> torch.Tensor:
        """The gradient of the entries that are kept: float32, shape ``(n_nonzeros,)``."""
        return self.weight.grad

    def support_bytes(self) -> int:
        """Size of what says which entries are kept."""
        supports = [part for part in vars(self.layer).values() if isinstance(part, Support)]
        parts = [part for support in supports for part in vars(support).values() if torch.is_tensor(part)]
        return _bytes_of([*self.layer.buffers(), *parts])

    def batch_bytes(self) -> int:
        """Of a batch nothing is kept between the steps."""
        return 0


def _bytes_of(tensors):
    """Size of the tensors, those that share their memory counted once."""
    return sum({tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in tensors}.values())


@dataclass(frozen=True, kw_only=True)
class StepBenchmark:
    """One training step, dense masked and on the non-zeros, at every combination of some sizes.

    Parameters
    ----------
    output : str
        Folder for the table, CSV files and plot.
    users, items, embedding_size, k : sequence of int
        The grid: users in a batch, items in the catalogue, width d of the item embeddings, and non-zeros of each.
    repeats : int
        Timed steps of each.
    interactions_per_user : int
        Distinct items a user.
    device : {"auto", "cpu", "cuda"}
        auto is cuda if there is one.
    seed : int
        Of interactions and weights.
    """

    output: str
    users: Sequence[int] = (1024,)
    items: Sequence[int] = (10_000,)
    embedding_size: Sequence[int] = (4096,)
    k: Sequence[int] = (16, 64, 128, 256)
    repeats: int = 5
    interactions_per_user: int = 150
    device: str = "auto"
    seed: int = 2020

    def run(self) -> None:
        """Measure the grid; write step.csv, step_summary.csv, step.md and, with matplotlib, step.pdf, .svg and .png.

        Raises
        ------
        OptionError
            A parameter is not allowed, or no cell of the grid fits into memory.
        """
        _check(self)
        device, ran_on = environment.start(self.output, self.device)
        cells, left_out = _cells_that_fit(self, device)
        print(*left_out, sep="\n", end="\n" if left_out else "")
        rows = []
        with tqdm(total=len(cells) * 2 * (self.repeats + 1), unit="step") as progress:
            for cell in cells:
                rows += _measure(cell, self, device, progress)
        _write(self, rows, _summarise(rows), left_out, ran_on)


def _check(options):
    require_positive(options, "users", "items", "embedding_size", "k", "repeats")
    require_whole_number("interactions-per-user", options.interactions_per_user, at_least=1)
    if max(options.k) > min(options.embedding_size):
        raise OptionError(
            f"k is {max(options.k)}, but must be at most embedding_size, and one of these is "
            f"{min(options.embedding_size)}"
        )
    if options.interactions_per_user > min(options.items):
        raise OptionError(
            f"interactions-per-user is {options.interactions_per_user}, but must be at most the number of items, and "
            f"one of these is {min(options.items)}"
        )


def _cells_that_fit(options, device):
    axes = (options.users, options.items, options.embedding_size, options.k)
    available, cells, left_out = available_memory(device), [], []
    for values in itertools.product(*(sorted(set(axis)) for axis in axes)):
        cell = Cell(*values)
        if cell.estimated_bytes() <= available:
            cells.append(cell)
            continue
        left_out.append(f"Left out: {cell} needs about {_gb(cell.estimated_bytes())}, and there are {_gb(available)}.")
    if not cells:
        raise OptionError(
            f"no cell of the grid fits into the {_gb(available)} that are available: give fewer users or items, or a "
            "smaller embedding_size"
        )
    return cells, left_out


def _gb(size):
    return f"{size / 1e9:.3g} GB"


def generate_histories(n_users: int, n_items: int, interactions_per_user: int, seed: int) -> UserHistories:
    """Users with as many distinct items each, drawn from a long-tailed popularity; items in random order."""
    generator = torch.Generator().manual_seed(seed)
    popularity = torch.arange(1, n_items + 1).double() ** -POPULARITY_EXPONENT
    popularity = popularity[torch.randperm(n_items, generator=generator)]
    histories = [
        torch.multinomial(popularity, interactions_per_user, generator=generator).sort().values for _ in range(n_users)
    ]
    row_pointers = torch.arange(0, n_users * interactions_per_user + 1, interactions_per_user)
    return UserHistories(row_pointers, torch.cat(histories), n_items)


def _measure(cell, options, device, progress):
    progress.set_description(f"{cell}: preparing")
    if device.type == "cuda":
        torch.cuda.empty_cache()
    torch.manual_seed(options.seed)
    histories = generate_histories(cell.users, cell.items, options.interactions_per_user, options.seed).to(device)
    users = torch.arange(cell.users, device=device)
    layer = TopKEmbedding(cell.items, cell.embedding_size).to(device)
    layer.prune(cell.k)
    dense = DenseMaskedStep(layer, histories, users)
    layer.compress()
    steps = (dense, CompactStep(layer, histories, users))
    require_agreement(*steps, cell)
    rows = []
    # Repeat 0 warms up: the optimiser makes its state, and buffers are allocated for the first time.
    for repeat in range(options.repeats + 1):
        for step in steps:
            progress.set_description(f"{cell}: {step.form}, {f'repeat {repeat}' if repeat else 'warm-up'}")
            seconds, peak_bytes = _measure_step(step, device)
            progress.update()
            if repeat == 0:
                continue
            rows.append(
                {
                    **vars(cell),
                    "interactions_per_user": options.interactions_per_user,
                    "form": step.form,
                    "repeat": repeat,
                    "seconds": seconds,
                    "state_bytes": step.state_bytes(),
                    "support_bytes": step.support_bytes(),
                    "peak_bytes": peak_bytes,
                }
            )
    return rows


def require_agreement(dense: DenseMaskedStep, compact: CompactStep, cell: Cell | str) -> None:
    """Stop unless both steps compute the same: loss and gradient on the support, without dropout.

    An interaction that is orthogonal to the rest of its user's history is predicted ``relu(1 - 1)``, and whether it
    gets a gradient is up to rounding. The check leaves such interactions out of the input, not of the target: their
    prediction is then 0 without rounding, and no other changes. Users who still have a prediction that close to 0 get
    no input.

    Raises
    ------
    RuntimeError
        The losses, or the gradients (by the norm of their difference), differ by more than 1e-4 of the dense ones.
    """
    inputs = dense.rows * (compact.before_relu(dense.rows).abs() > _ROUNDING)
    size = compact.before_relu(inputs).abs()
    undecided = (dense.rows > 0) & (size > 0) & (size < _ROUNDING)
    inputs[undecided.any(dim=1)] = 0
    losses, gradients = [], []
    for step in (dense, compact):
        loss = step.loss_of(inputs)
        step.optimizer.zero_grad()
        loss.backward()
        losses.append(loss.detach())
        gradients.append(step.gradient_on_support().clone())
    for name, (expected, computed) in {"loss": losses, "gradient": gradients}.items():
        # With one non-zero a row, whose norm is fixed, the gradient is nothing but rounding: hence a least size.
        difference = torch.linalg.vector_norm(computed - expected) / torch.linalg.vector_norm(expected).clamp(min=1e-2)
        # Written so that NaN stops too.
        if not difference <= _TOLERANCE:
            raise RuntimeError(
                f"{cell}: the {name} of the compact step differs from the dense masked one by {difference:.2g} of it, "
                f"more than {_TOLERANCE:g}, so their times cannot be compared"
            )


def _measure_step(step, device):
    """Seconds of a step and, on CUDA, its peak memory in bytes, without what the other step keeps."""
    if device.type != "cuda":
        start = time.perf_counter()
        step.take()
        return time.perf_counter() - start, None
    kept = step.state_bytes() + step.support_bytes() + step.batch_bytes()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    start = time.perf_counter()
    step.take()
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return seconds, peak_memory(device) - before + kept


def _summarise(rows):
    """One row per cell, with medians and ratios, from the rows of every step."""
    summaries = []
    for cell, rows_of_cell in itertools.groupby(rows, lambda row: tuple(row[name] for name in Cell.__annotations__)):
        rows_of_cell = list(rows_of_cell)
        forms = {
            step.form: [row for row in rows_of_cell if row["form"] == step.form]
            for step in (DenseMaskedStep, CompactStep)
        }
        summary = dict(zip(Cell.__annotations__, cell))
        for form, rows_of_form in forms.items():
            summary[f"{form}_seconds"] = statistics.median(row["seconds"] for row in rows_of_form)
        pairs = zip(*forms.values())
        summary["times_faster"] = statistics.median(dense["seconds"] / ours["seconds"] for dense, ours in pairs)
        for form, rows_of_form in forms.items():
            summary[f"{form}_state_bytes"] = rows_of_form[-1]["state_bytes"]
            summary[f"{form}_support_bytes"] = rows_of_form[-1]["support_bytes"]
        summary["state_times_smaller"] = summary["dense_masked_state_bytes"] / summary["compact_state_bytes"]
        for form, rows_of_form in forms.items():
            peaks = [row["peak_bytes"] for row in rows_of_form]
            summary[f"{form}_peak_bytes"] = None if None in peaks else max(peaks)
        summaries.append(summary)
    return summaries


def _readable(summary):
    """A summary as a row of the table, in seconds and megabytes."""
    with_support = [
        summary[f"{form}_state_bytes"] + summary[f"{form}_support_bytes"] for form in ("dense_masked", "compact")
    ]
    row = {
        "users": f"{summary['users']:,}",
        "items": f"{summary['items']:,}",
        "d": f"{summary['embedding_size']:,}",
        "k": f"{summary['k']:,}",
        "dense masked (s)": f"{summary['dense_masked_seconds']:.4g}",
        "ours (s)": f"{summary['compact_seconds']:.4g}",
        "faster": f"{summary['times_faster']:.1f} x",
        "dense state (MB)": f"{summary['dense_masked_state_bytes'] / 1e6:,.4g}",
        "our state (MB)": f"{summary['compact_state_bytes'] / 1e6:,.4g}",
        "smaller": f"{summary['state_times_smaller']:.1f} x",
        "with support": f"{with_support[0] / with_support[1]:.1f} x",
    }
    if summary["compact_peak_bytes"] is not None:
        row["dense peak (MB)"] = f"{summary['dense_masked_peak_bytes'] / 1e6:,.4g}"
        row["our peak (MB)"] = f"{summary['compact_peak_bytes'] / 1e6:,.4g}"
    return row


def _write(options, rows, summaries, left_out, ran_on):
    table = output.markdown_table([_readable(summary) for summary in summaries])
    explanation = output.paragraph(
        _EXPLANATION,
        input_dropout=_INPUT_DROPOUT,
        tolerance=_TOLERANCE,
        repeats=options.repeats,
        interactions=options.interactions_per_user,
        exponent=POPULARITY_EXPONENT,
        seed=options.seed,
    )
    show([table, explanation])
    write_report(
        options.output,
        "step",
        "One training step",
        [table, *left_out, explanation],
        {
            "step": [{**row, "seed": options.seed} for row in rows],
            "step_summary": [{**summary, "seed": options.seed} for summary in summaries],
        },
        ran_on,
        lambda file, line: _plot(file, summaries, f"{line} Seed {options.seed}."),
    )


def _plot(file, summaries, footer):
    """Plot time against k, log-log, and return the names of the files written."""
    if not output.matplotlib_is_installed():
        return []
    axes = output.new_axes()

    def shape(summary):
        return summary["users"], summary["items"], summary["embedding_size"]

    for index, (sizes, group) in enumerate(itertools.groupby(summaries, shape)):
        group = list(group)
        ks = [summary["k"] for summary in group]
        label = "{:,} users, {:,} items, d {:,}".format(*sizes)
        for form, name, style in (("dense_masked", "dense masked", "o--"), ("compact", "ours", "s-")):
            seconds = [summary[f"{form}_seconds"] for summary in group]
            axes.plot(ks, seconds, style, color=f"C{index % 10}", label=f"{name}: {label}")
    # Every k has its tick: powers of ten say little here.
    ks = sorted({summary["k"] for summary in summaries})
    axes.set(xscale="log", yscale="log", xlabel="k (non-zeros per item embedding)", ylabel="seconds per training step")
    axes.set_xticks(ks, labels=[str(k) for k in ks])
    axes.set_xticks([], minor=True)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small")
    return output.save_figure(axes.figure, file, footer)
