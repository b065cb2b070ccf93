"""Hints: which typical mistake gives just the results that a student got."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, combinations, permutations
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from zoo.exercises.compare import close
from zoo.exercises.exercise import Mistake, Text
from zoo.exercises.trial import Trial


class Hint(NamedTuple):
    """A recognized mistake: its name, and where to look."""

    key: str
    text: Text


class _General(NamedTuple):
    """A mistake of any exercise: a test of the student's array beside torch's."""

    key: str
    matches: Callable[[Any, Any, SimpleNamespace], bool]
    text: Text


def find(mistakes: Iterable[Mistake], output: str, trials: Sequence[Trial]) -> Hint | None:
    """Return what explains all wrong results: a typical mistake, a general one, or a setting.

    Args:
        mistakes: of the exercise; those of other outputs are passed over.
        output: the name of the result that is wrong.
        trials: all of one function, right and wrong, in float64.
    """
    wrong = [trial for trial in trials if not _right(trial, output)]
    right = [trial for trial in trials if _right(trial, output)]
    return typical(mistakes, output, trials) or _general(output, wrong) or _only_where(wrong, right)


def typical(mistakes: Iterable[Mistake], output: str, trials: Sequence[Trial]) -> Hint | None:
    """Return the typical mistake that explains all wrong results, the best match first.

    Where every wrong case is an error, the mistake must explain the right ones, too.
    """
    best: tuple[int, Hint] | None = None
    wrong = [trial for trial in trials if not _right(trial, output)]
    least = 1 if any(trial.results for trial in wrong) else len(trials)
    for mistake in mistakes if len(wrong) < len(trials) or least == 1 else ():
        if mistake.output == output and all(_explains(mistake, trial) for trial in wrong):
            score = sum(_explains(mistake, trial) for trial in trials)
            if score >= least and (best is None or score > best[0]):
                best = score, Hint(mistake.key, mistake.hint)
    return best[1] if best else None


def for_error(error: str) -> Text | None:
    """Return a hint for the message of an error, or None."""
    return next((text for part, text in _ERRORS.items() if part in error), None)


def _right(trial: Trial, output: str) -> bool:
    if output not in trial.results:
        return False
    return close(trial.results[output], getattr(trial.known, output))


def _explains(mistake: Mistake, trial: Trial) -> bool:
    """Whether the mistake gives the student's result; an error stands for an error."""
    try:
        with np.errstate(all="ignore"):
            wrong = mistake.wrong(trial.known)
    except (ValueError, IndexError):
        return mistake.output not in trial.results
    if mistake.output not in trial.results:
        return False
    return close(trial.results[mistake.output], wrong)


def _general(output: str, wrong: Sequence[Trial]) -> Hint | None:
    compared = [trial for trial in wrong if output in trial.results]
    for general in _GENERAL if compared else ():
        if all(
            general.matches(
                np.asarray(trial.results[output]), getattr(trial.known, output), trial.known
            )
            for trial in compared
        ):
            return Hint(general.key, general.text)
    return None


def _only_where(wrong: Sequence[Trial], right: Sequence[Trial]) -> Hint | None:
    """Return which setting all wrong cases have, and no right one: there the mistake must be."""
    if not wrong or not right:
        return None
    if all(_rows_of(trial) == 1 for trial in right) and all(_rows_of(trial) > 1 for trial in wrong):
        return Hint("one_row", _ONE_ROW)
    for name in vars(right[0].known):
        bad, good = ({_setting(trial, name) for trial in some} for some in (wrong, right))
        if "" in bad | good or bad & good:
            continue
        values = {"name": name, "bad": ", ".join(sorted(bad)), "good": ", ".join(sorted(good))}
        return Hint("only_where", Text(*(text.format(**values) for text in _WHERE)))
    return None


def _rows_of(trial: Trial) -> int:
    """Return how many rows the batch of a case has; 0 where it has none."""
    values = vars(trial.known)
    batch = values.get("x", values.get("outputs"))
    return len(batch) if isinstance(batch, np.ndarray) and batch.ndim else 0


def _setting(trial: Trial, name: str) -> str:
    """Return a setting as text, and "" for what is an array."""
    value = vars(trial.known).get(name, "")
    if name == "velocity":
        return "None" if value is None else "an array"
    return "" if isinstance(value, np.ndarray | np.generic) else str(value)


def _unsummed(given: Any, expected: Any, _: SimpleNamespace) -> bool:
    """The right numbers once some axes are summed."""
    some = chain.from_iterable(
        combinations(range(given.ndim), n) for n in range(1, given.ndim - expected.ndim + 1)
    )
    return any(close(given.sum(axis=axes), expected) for axes in some)


def _batch_unsummed(given: Any, expected: Any, _: SimpleNamespace) -> bool:
    return given.ndim == expected.ndim + 1 and close(given.sum(axis=0), expected)


def _transposed(given: Any, expected: Any, _: SimpleNamespace) -> bool:
    if given.ndim != expected.ndim or not 2 <= given.ndim <= 4:
        return False
    orders = list(permutations(range(given.ndim)))[1:]
    return any(close(given.transpose(order), expected) for order in orders)


def _kept_dims(given: Any, expected: Any, _: SimpleNamespace) -> bool:
    return given.shape != expected.shape and close(np.squeeze(given), np.squeeze(expected))


def _wrong_shape(given: Any, expected: Any, _: SimpleNamespace) -> bool:
    return given.shape != expected.shape and close(given.ravel(), np.ravel(expected))


def _upstream(known: SimpleNamespace) -> Any:
    return next((value for name, value in vars(known).items() if name in ("dy", "dh_next")), None)


def _only_upstream(given: Any, _: Any, known: SimpleNamespace) -> bool:
    upstream = _upstream(known)
    return upstream is not None and close(given, upstream)


def _no_upstream(given: Any, expected: Any, known: SimpleNamespace) -> bool:
    upstream = _upstream(known)
    if upstream is None or not given.shape == upstream.shape == expected.shape:
        return False
    return close(given * upstream, expected)


def _times(factor: Callable[[Any, SimpleNamespace], float]) -> Callable[..., bool]:
    """A test for results that are a known factor too large in each case."""
    return lambda given, expected, known: close(given, expected * factor(expected, known))


def _rows(known: SimpleNamespace) -> int:
    return len(next(value for value in vars(known).values() if np.ndim(value) > 0))


def _numbers(known: SimpleNamespace) -> int:
    return int(np.size(next(value for value in vars(known).values() if np.ndim(value) > 0)))


_WHERE = Text(
    "只在 {name} 为 {bad} 时不对，为 {good} 时正确：看看 {name} 用在哪里",
    "wrong only where {name} is {bad}, and right where it is {good}: look where {name} is used",
)
_ONE_ROW = Text(
    "批里只有一个样本时正确，多个样本时不对：是不是只算了其中一个样本，或没有对批求和？",
    "right where the batch has one row, wrong where it has several: is only one row counted, or is "
    "the sum over the batch missing?",
)
_MEAN = Text(
    "你的结果是正确值的 1/N：这里取了批上的平均，而应当求和。平均只在损失函数里出现一次，dy "
    "里已经包含它",
    "your result is the right one divided by N: it is a mean over the batch where a sum is due. "
    "The mean is taken once, in the loss, and dy contains it already",
)
_SUM = Text(
    "你的结果是正确值的 N 倍：忘了除以 N（reduction='mean' 是平均，不是求和）",
    "your result is N times the right one: forgot 1/N (reduction='mean' is a mean, not a sum)",
)
_GENERAL = (
    _General(
        "zeros",
        lambda given, expected, _: bool(given.size and not given.any()),
        Text(
            "结果全是 0：数组建好之后没有写入，或写入的是副本",
            "the result is all zeros: the array was made and never filled, or a copy was filled",
        ),
    ),
    _General("sign", _times(lambda *_: -1.0), Text("符号反了", "the sign is reversed")),
    _General(
        "keepdims",
        _kept_dims,
        Text(
            "数字是对的，形状多了或少了长度为 1 的轴（keepdims=True，或 reshape）",
            "the numbers are right; the shape has axes of length 1 too many or too few "
            "(keepdims=True, or reshape)",
        ),
    ),
    _General(
        "batch_not_summed",
        _batch_unsummed,
        Text(
            "没有对批求和：批里每个样本都用同一个参数，它的梯度是各样本之和（对第 0 轴 sum）",
            "not summed over the batch: every row uses the same parameter, so its gradient is the "
            "sum over the rows (axis 0)",
        ),
    ),
    _General(
        "not_summed",
        _unsummed,
        Text(
            "少求了和：参数在哪些轴上被重复使用，梯度就要在哪些轴上求和",
            "a sum is missing: sum over every axis along which the parameter is used again",
        ),
    ),
    _General(
        "transpose",
        _transposed,
        Text(
            "数字是对的，但轴的次序不对：少了或多了一个转置",
            "the numbers are right, in another order of the axes: a transpose is missing, or one "
            "too many",
        ),
    ),
    _General(
        "shape",
        _wrong_shape,
        Text(
            "数字是对的，形状不对：reshape 成应有的形状",
            "the numbers are right, the shape is not: reshape to the expected one",
        ),
    ),
    _General(
        "upstream_only",
        _only_upstream,
        Text(
            "结果就是传进来的梯度：还要乘以这一层自己的导数（链式法则）",
            "the result is the given gradient itself: multiply it by the layer's own derivative "
            "(chain rule)",
        ),
    ),
    _General(
        "upstream_forgotten",
        _no_upstream,
        Text(
            "忘了乘传进来的梯度 dy：链式法则 dx = dy · dy/dx",
            "forgot to multiply by the given gradient dy: the chain rule is dx = dy · (dy/dx)",
        ),
    ),
    _General("mean_instead_of_sum", _times(lambda _, known: 1 / _rows(known)), _MEAN),
    _General("sum_instead_of_mean", _times(lambda _, known: _rows(known)), _SUM),
    _General("mean_instead_of_sum", _times(lambda _, known: 1 / _numbers(known)), _MEAN),
    _General(
        "sum_instead_of_mean",
        _times(lambda _, known: _numbers(known)),
        Text(
            "忘了除以元素个数：reduction='mean' 对所有元素取平均",
            "forgot to divide by the number of elements: reduction='mean' is the mean over all",
        ),
    ),
    _General(
        "half",
        _times(lambda *_: 0.5),
        Text("是正确值的一半：漏了因子 2", "half of the right result: a factor 2 is missing"),
    ),
    _General(
        "twice", _times(lambda *_: 2.0), Text("是正确值的两倍", "twice as large as the right one")
    ),
)
_ERRORS = {
    "matmul": Text(
        "矩阵乘法的形状对不上：检查哪个矩阵要转置（.T），先在纸上写出两边的形状",
        "the shapes of the matrix product do not fit: see which matrix needs a transpose (.T), and "
        "write both shapes on paper first",
    ),
    "shape-mismatch": Text(
        "乘积两边的形状对不上：检查转置、轴的次序，以及窗口是否取全",
        "the shapes of a product do not fit: look at transposes, at the order of the axes, and "
        "whether the window is whole",
    ),
    "not aligned": Text(
        "矩阵乘法的形状对不上：检查哪个矩阵要转置（.T）",
        "the shapes of the matrix product do not fit: see which matrix needs a transpose (.T)",
    ),
    "broadcast": Text(
        "两个数组的形状对不上：每个通道一个数的参数 [C] 要先变成 [1, C, 1, 1]；"
        "窗口的位置要乘步长，输入要先填充",
        "the shapes of two arrays do not fit: a parameter [C], one number a channel, must become "
        "[1, C, 1, 1]; windows start at multiples of the stride, in the padded input",
    ),
    "NoneType": Text(
        "有一个值是 None：第一步的 velocity 就是 None，先判断它",
        "a value is None: velocity is None in the first step, so ask for that first",
    ),
    "positional argument": Text(
        "函数的参数和模板不同：保留模板里的 def 一行",
        "the arguments are not those of the stub: keep its line with def as it is",
    ),
    "IndexError": Text(
        "下标越界：检查循环的上限，和输出的大小",
        "an index is out of range: check the ends of the loops, and the size of the output",
    ),
}
