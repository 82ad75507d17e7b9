"""Values of polars, SciPy, xarray, scikit-learn, torch and frozendict come back with all that can be seen of them."""

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.optimize
import scipy.sparse
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from beautyspot.errors import DeserializationError, SerializationError
from beautyspot.serialization import MsgpackSerializer
from tests.support.round_trip import both_ways, check

FRAMES: dict[str, Any] = {
    "sorted": pl.DataFrame({"a": pl.Series([1, 2]).set_sorted(), "b": pl.Series([2, 1]).set_sorted(descending=True)}),
    "sorted series": pl.Series("s", [1, 2]).set_sorted(), "nothing": pl.DataFrame(), "rows only": pl.DataFrame(height=3),
    "objects": pl.DataFrame({"o": pl.Series([{"a"}, None], dtype=pl.Object), "i": [1, 2]}),
    "series of objects": pl.Series("q", [(1,), None], dtype=pl.Object), "large": pl.DataFrame({"a": range(50_000)}),
    "types": pl.DataFrame({"d": pl.Series([1], dtype=pl.Duration("ns")), "t": [dt.time(1)], "n": [None],
                           "e": pl.Series(["a"], dtype=pl.Enum(["a", "b"])), "l": [[1]], "s": [{"a": 1}],
                           "x": pl.Series([[1, 2]], dtype=pl.Array(pl.Int8, 2))}),
}  # fmt: skip


def seen_frame(frame: Any) -> Any:
    if isinstance(frame, pl.Series):
        order = frame.flags["SORTED_ASC"], frame.flags["SORTED_DESC"]
        return frame.name, frame.dtype, order, frame.to_list(), str(frame)
    return frame.schema, frame.shape, [seen_frame(column) for column in frame.get_columns()]


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_of_polars_comes_back(name: str) -> None:
    check(FRAMES[name], seen_frame)


MATRIX = np.array([[0, 1.5, 0], [2, 0, 0], [0, 0, 0]])
FORMATS = [
    f"{kind}_{suffix}" for kind in ("bsr", "coo", "csc", "csr", "dia", "dok", "lil") for suffix in ("array", "matrix")
]


def seen_matrix(matrix: Any) -> Any:
    parts = [getattr(matrix, name, None) for name in ("data", "indices", "indptr", "coords", "offsets", "rows")]
    parts = [] if matrix.format == "dok" else [(getattr(part, "dtype", None), part) for part in parts]
    return matrix.dtype, matrix.shape, matrix.toarray(), parts


@pytest.mark.parametrize("name", FORMATS)
def test_a_sparse_matrix_comes_back(name: str) -> None:
    check(getattr(scipy.sparse, name)(MATRIX), seen_matrix)
    check(getattr(scipy.sparse, name)((2, 3)), seen_matrix)


@pytest.mark.parametrize("kind", ["coo_array", "csr_array", "dok_array"])
def test_a_sparse_array_of_one_dimension_comes_back(kind: str) -> None:
    check(getattr(scipy.sparse, kind)(np.array([0, 1, 0])), seen_matrix)


@pytest.mark.parametrize("kind", ["csr_array", "csc_array", "coo_array", "lil_array", "dok_array", "bsr_array"])
def test_positions_outside_of_a_matrix_are_an_error(kind: str) -> None:
    made = getattr(scipy.sparse, kind)(MATRIX)
    if made.format == "coo":
        made.coords = (np.array([0, 99]), made.coords[1])
    elif made.format == "lil":
        made.rows[0] = [99]
    elif made.format == "dok":
        made._dict = {(0, 99): 1.0}
    else:
        made.indices = made.indices + 99
    with pytest.raises(DeserializationError):
        MsgpackSerializer().loads(MsgpackSerializer().dumps(made))


@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS", "Nelder-Mead"])
def test_what_an_optimizer_returns_comes_back(method: str) -> None:
    found = scipy.optimize.minimize(lambda x: (x**2).sum(), np.ones(2), method=method)
    dense = lambda v: v.todense() if hasattr(v, "todense") else v  # noqa: E731
    check(found, lambda result: {name: (type(value), dense(value)) for name, value in result.items()})


def test_the_result_of_another_routine_of_scipy_comes_back() -> None:
    check(scipy.optimize.root_scalar(lambda x: x - 1, bracket=(0, 3)), dict)
    check(scipy.optimize.linprog([1, 1], [[1, 2]], [3]), dict)


def datasets() -> dict[str, Any]:
    xr = pytest.importorskip("xarray")
    times = pd.date_range("2020", periods=2)
    coords = {"x": [10, 20], "t": ("x", times), "s": 5, "y": ["a", "b", "c"]}
    array = xr.DataArray(np.arange(6.0).reshape(2, 3), coords, ("x", "y"), "name", {"unit": "m"})
    array.encoding = {"dtype": np.dtype("f4")}
    dataset = xr.Dataset({"a": array, "b": ("x", [1, 2])}, attrs={"k": [1]})
    levels = pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["p", "q"])
    stacked = xr.Dataset({"v": ("z", [1, 2])}, xr.Coordinates.from_pandas_multiindex(levels, "z"))
    daily = xr.DataArray([1, 2], {"time": pd.date_range("2020", periods=2, freq="D")}, ("time",))
    return {
        "array": array, "dataset": dataset, "levels": stacked, "an array with levels": stacked["v"], "times": daily,
        "variable": xr.Variable(("x",), [1, 2], {"a": 1}), "index variable": xr.IndexVariable(("x",), [1, 2]),
        "without an index": dataset.drop_indexes("x"), "tree": xr.DataTree.from_dict({"/": dataset, "/c": stacked}),
        "another index": array.set_xindex("t"), "nothing": xr.Dataset(), "a number": xr.DataArray(3.0),
        "objects": xr.DataArray(np.array(["a", None], object), dims="x"), "one row": dataset.isel(x=0),
    }  # fmt: skip


DATASETS = ["array", "dataset", "levels", "an array with levels", "times", "variable", "index variable", "without an index",
            "tree", "another index", "nothing", "a number", "objects", "one row"]  # fmt: skip


def seen_dataset(value: Any) -> Any:
    kind = type(value).__name__
    if kind == "DataTree":
        return value.name, {node.path: seen_dataset(node.to_dataset(inherit=False)) for node in value.subtree}
    if kind in ("Variable", "IndexVariable"):
        return kind, value.dims, value.dtype, value.values, value.attrs, value.encoding
    coords = {name: seen_dataset(coordinate.variable) for name, coordinate in value.coords.items()}
    indexes = {name: (type(index), value.indexes[name]) for name, index in value.xindexes.items()}
    if kind == "DataArray":
        return value.name, seen_dataset(value.variable), coords, indexes
    variables = {name: seen_dataset(variable.variable) for name, variable in value.data_vars.items()}
    return variables, coords, indexes, value.attrs, value.encoding


@pytest.mark.parametrize("name", DATASETS)
def test_an_object_of_xarray_comes_back(name: str) -> None:
    check(datasets()[name], seen_dataset)


ROWS = np.random.default_rng(1).random((30, 3))
LABELS = (ROWS[:, 0] > 0.5).astype(int)
ESTIMATORS = [
    StandardScaler(), LinearRegression(), RandomForestClassifier(3, random_state=1), KNeighborsClassifier(),
    make_pipeline(StandardScaler(), RandomForestClassifier(2, random_state=1)),
    GridSearchCV(LinearRegression(), {"fit_intercept": [True, False]}),
]  # fmt: skip


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_an_estimator_comes_back_through_skops(estimator: Any) -> None:
    pytest.importorskip("skops")
    estimator.fit(ROWS, LABELS)
    check(estimator, repr)
    for back in both_ways(estimator):
        assert set(vars(back)) == set(vars(estimator))
        if hasattr(estimator, "predict"):
            np.testing.assert_array_equal(back.predict(ROWS), estimator.predict(ROWS))


def test_an_estimator_with_a_function_of_ones_own_is_refused() -> None:
    pytest.importorskip("skops")
    with pytest.raises(SerializationError, match="seen_frame in it cannot be kept"):
        MsgpackSerializer().dumps(FunctionTransformer(seen_frame))


def test_tensors_come_back() -> None:
    torch = pytest.importorskip("torch")
    graded = torch.ones(2, requires_grad=True)
    (graded * 2).sum().backward()
    tensors = [
        torch.arange(6).reshape(2, 3), torch.rand(2, 3).t(), torch.tensor([True]), torch.tensor(5), torch.empty(0, 3),
        torch.ones(3, dtype=torch.bfloat16), torch.tensor([1 + 2j]).conj(), torch.tensor([1 + 2j]).conj().imag, graded,
        torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(1), requires_grad=False), torch.arange(50_000),
        torch.tensor([[0, 1.0], [2, 0]]).to_sparse(),
    ]  # fmt: skip
    for tensor in tensors:
        check(tensor, lambda t: (t.dtype, t.shape, t.device, t.layout, t.requires_grad, t.to_dense().tolist(), t.grad))
    state = torch.nn.Linear(2, 2).state_dict()
    check(state, lambda s: (s, s._metadata))


def test_a_frozendict_comes_back() -> None:
    frozendict = pytest.importorskip("frozendict").frozendict
    check(frozendict({"a": (1,), 2: frozendict()}), lambda v: (v, hash(v)))
