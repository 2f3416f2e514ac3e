"""Boosted trees of LightGBM, XGBoost, CatBoost and scikit-learn (histograms), for skl2onnx.

Their trees are translated to ONNX here, since general converters round thresholds to the nearest
float32, which can be a value of the data, and skl2onnx exports the categories of histogram trees
wrongly.
"""

# pylint: disable=import-outside-toplevel  # skl2onnx is imported at export

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import not_
from pathlib import Path
from typing import Any

import numpy as np

from domain.errors import ExportError
from infrastructure.frameworks.tree_ensemble import (
    Link,
    Node,
    TreeEnsemble,
    add_membership,
    convert,
    leaf,
    round_down,
)

_Links = dict[str, Link]


def register_converters() -> None:
    """Make skl2onnx export the estimators of every library that has been imported."""
    from skl2onnx import update_registered_converter
    from skl2onnx._supported_operators import sklearn_classifier_list
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    for (module, names), read in _READERS.items():
        for name in names if module in sys.modules else ():
            kind = getattr(sys.modules[module], name)
            options: dict[str, list[Any]] = {"zipmap": [True, False], "nocl": [True, False]}
            if hasattr(kind, "decision_function"):  # what CalibratedClassifierCV prefers
                options["raw_scores"] = [True, False]
            classifies = name.endswith("Classifier")
            if classifies and kind not in sklearn_classifier_list:  # CatBoost's has no other sign
                sklearn_classifier_list.append(kind)
            update_registered_converter(
                kind,
                f"Boosting{name}",
                (
                    calculate_linear_classifier_output_shapes
                    if classifies
                    else calculate_linear_regressor_output_shapes
                ),
                partial(_convert, read),
                options=options if classifies else None,
            )


def reason_against(library: str, parameters: Mapping[str, Any]) -> str:
    """Why an estimator of this library with these parameters has no ONNX form; empty if it has."""
    for (owner, name), allowed in _ALLOWED.items():
        value = parameters.get(name)
        if owner == library and value is not None and not allowed(value):
            return f"{name}={value!r}, which ONNX cannot express"
    return ""


def _convert(
    read: Callable[[Any], TreeEnsemble], scope: Any, operator: Any, container: Any
) -> None:
    """A converter of skl2onnx."""
    estimator = operator.raw_operator
    library = type(estimator).__module__.partition(".")[0]
    if reason := reason_against(library, estimator.get_params(deep=False)):
        raise ExportError(f"{type(estimator).__name__} cannot be exported to ONNX: {reason}")
    convert(read(estimator), scope, operator, container)


def _link(links: _Links, objective: str) -> Link:
    """The link of an objective.

    Raises:
        ExportError: predictions of models with this objective are not known.
    """
    if objective not in links:
        raise ExportError(
            f"the objective {objective} cannot be exported to ONNX; these can: {', '.join(links)}"
        )
    return links[objective]


_LIGHTGBM_ZERO = float(np.float32(1e-35))
_LIGHTGBM_LINKS: _Links = {
    **dict.fromkeys(
        ("regression", "regression_l1", "huber", "fair", "quantile", "mape"), "identity"
    ),
    **dict.fromkeys(("poisson", "gamma", "tweedie"), "exp"),
    **{"binary": "sigmoid", "cross_entropy": "sigmoid", "multiclass": "softmax"},
}


def _read_lightgbm(estimator: Any) -> TreeEnsemble:
    model = estimator.booster_.dump_model()  # up to the best iteration
    objective, *options = model.get("objective", "of your own").split()
    link = _link(_LIGHTGBM_LINKS, objective)
    targets, trees = model["num_tree_per_iteration"], model["tree_info"]
    scale = next((float(o.removeprefix("sigmoid:")) for o in options if "sigmoid:" in o), 1.0)
    if model["average_output"]:  # boosting_type="rf"
        scale /= max(len(trees) // targets, 1)
    return TreeEnsemble(
        [
            _lightgbm_tree(each["tree_structure"], position % targets, scale)
            for position, each in enumerate(trees)
        ],
        [0.0] * targets,
        link,
    )


def _lightgbm_tree(root: Mapping[str, Any], target: int, scale: float) -> list[Node]:
    tree = [Node()]
    waiting = [(0, root)]
    while waiting:
        at, node = waiting.pop()
        if "leaf_value" in node:
            tree[at] = leaf(target, node["leaf_value"] * scale)
            continue
        left, right = len(tree), len(tree) + 1
        tree += [Node(), Node()]
        waiting += [(left, node["left_child"]), (right, node["right_child"])]
        feature, threshold, missing = (
            node[name] for name in ("split_feature", "threshold", "missing_type")
        )
        if node["decision_type"] == "==":
            add_membership(tree, at, feature, map(int, threshold.split("||")), left, right)
            continue
        # of a column without missing values in training, a missing value is 0
        goes_left = node["default_left"] if missing == "NaN" else threshold >= 0
        if threshold == -_LIGHTGBM_ZERO:  # as small a value is 0, and above this threshold
            threshold = math.nextafter(threshold, -math.inf)
        tree[at] = Node("BRANCH_LEQ", feature, round_down(threshold), left, right, goes_left)
    return tree


_XGBOOST_LINKS: _Links = {
    **dict.fromkeys(
        (
            *("reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror"),
            *("reg:absoluteerror", "reg:quantileerror"),
        ),
        "identity",
    ),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie"), "exp"),
    **dict.fromkeys(("binary:logistic", "reg:logistic"), "sigmoid"),
    "multi:softprob": "softmax",
}


def _read_xgboost(estimator: Any) -> TreeEnsemble:
    learner = json.loads(estimator.get_booster().save_raw("json"))["learner"]
    link = _link(_XGBOOST_LINKS, learner["objective"]["name"])
    booster, parameters = learner["gradient_booster"], learner["learner_model_param"]
    if int(parameters["num_target"]) > 1:
        raise ExportError("XGBoost's trees with several targets cannot be exported to ONNX")
    weights = booster.get("weight_drop")  # of boosting with dropout
    model = booster.get("gbtree", booster)["model"]
    best = getattr(estimator, "best_iteration", None) if _stops_early(estimator) else None
    count = len(model["trees"]) if best is None else model["iteration_indptr"][best + 1]
    targets = max(int(parameters["num_class"]), 1)
    start = np.ravel(json.loads(parameters["base_score"])).astype(float)
    inverse: dict[Link, Callable[[Any], Any]] = {
        "exp": np.log,
        "sigmoid": lambda share: np.log(share / (1 - share)),
    }
    base = np.broadcast_to(inverse.get(link, np.asarray)(start), targets)
    return TreeEnsemble(
        [
            _xgboost_tree(tree, target, weights[position] if weights else 1.0)
            for position, (tree, target) in enumerate(
                zip(model["trees"][:count], model["tree_info"][:count], strict=True)
            )
        ],
        base.tolist(),
        link,
    )


def _stops_early(estimator: Any) -> bool:
    return estimator.get_params().get("early_stopping_rounds") is not None


def _xgboost_tree(fields: Mapping[str, Any], target: int, weight: float) -> list[Node]:
    lefts, rights, values = (
        fields[name] for name in ("left_children", "right_children", "split_conditions")
    )
    starts = dict(
        zip(
            fields["categories_nodes"],
            zip(fields["categories_segments"], fields["categories_sizes"], strict=True),
            strict=True,
        )
    )
    tree = [
        (
            leaf(target, value * weight)
            if left < 0
            else Node("BRANCH_LT", feature, value, left, right, bool(missing))
        )
        for left, right, value, feature, missing in zip(
            *(lefts, rights, values, fields["split_indices"], fields["default_left"]), strict=True
        )
    ]
    for at, (start, size) in starts.items():  # its categories go right
        members = fields["categories"][start : start + size]
        node = tree[at]
        add_membership(tree, at, node.feature, members, node.false, node.true)
        if not node.missing:  # missing values go right
            tree[at] = tree[at]._replace(missing=True)
    return tree


_CATBOOST_LINKS: _Links = {
    **dict.fromkeys(
        ("RMSE", "MAE", "Quantile", "MAPE", "Huber", "LogCosh", "Lq", "Expectile"), "identity"
    ),
    **dict.fromkeys(("Poisson", "Tweedie"), "exp"),
    **{"Logloss": "sigmoid", "CrossEntropy": "sigmoid", "MultiClass": "softmax"},
}


def _read_catboost(estimator: Any) -> TreeEnsemble:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        estimator.save_model(str(path), format="json")
        model = json.loads(path.read_text(encoding="utf-8"))
    link = _link(_CATBOOST_LINKS, model["model_info"]["params"]["loss_function"]["type"])
    scale, base = model["scale_and_bias"]
    as_true = {
        feature["flat_feature_index"]
        for feature in model["features_info"].get("float_features", ())
        if feature["nan_value_treatment"] == "AsTrue"
    }
    trees = [
        *(
            _oblivious_tree(tree, len(base), scale, as_true)
            for tree in _part(model, "oblivious_trees")
        ),
        *(_catboost_tree(tree, scale, as_true) for tree in _part(model, "trees")),
    ]
    return TreeEnsemble(trees, base, link)


def _part(model: Mapping[str, Any], name: str) -> Sequence[Any]:
    return model.get(name) or ()


def _catboost_split(split: Mapping[str, Any], true: int, false: int, as_true: set[int]) -> Node:
    if split["split_type"] != "FloatFeature":
        raise ExportError(
            "CatBoost's cat_features and text_features cannot be exported to ONNX: leave them out, "
            "categories are numbered already"
        )
    feature = split["float_feature_index"]
    return Node("BRANCH_GT", feature, split["border"], true, false, feature in as_true)


def _oblivious_tree(
    fields: Mapping[str, Any], targets: int, scale: float, as_true: set[int]
) -> list[Node]:
    """A tree with the same split everywhere on a level, the last one at the root."""
    splits = (fields.get("splits") or [])[::-1]
    values = np.reshape(fields["leaf_values"], (2 ** len(splits), targets)) * scale
    tree = [
        _catboost_split(split, 2 * at + 2, 2 * at + 1, as_true)
        for level, split in enumerate(splits)
        for at in range(2**level - 1, 2 ** (level + 1) - 1)
    ]
    return [*tree, *(Node(scores=tuple(enumerate(each))) for each in values.tolist())]


def _catboost_tree(root: Mapping[str, Any], scale: float, as_true: set[int]) -> list[Node]:
    tree = [Node()]
    waiting = [(0, root)]
    while waiting:
        at, node = waiting.pop()
        if "split" not in node:
            values = np.ravel(node["value"]) * scale
            tree[at] = Node(scores=tuple(enumerate(values.tolist())))
            continue
        false, true = len(tree), len(tree) + 1
        tree += [Node(), Node()]
        waiting += [(false, node["left"]), (true, node["right"])]
        tree[at] = _catboost_split(node["split"], true, false, as_true)
    return tree


def _read_histogram(estimator: Any) -> TreeEnsemble:
    """scikit-learn's histogram trees: categorical columns come first, with numbered words."""
    # pylint: disable=protected-access  # there is no public access to the trees
    columns = np.arange(estimator.n_features_in_)
    words: dict[int, np.ndarray] = {}
    if estimator._preprocessor is not None:
        categorical = estimator.is_categorical_
        columns = np.concatenate([columns[categorical], columns[~categorical]])
        encoder = estimator._preprocessor.named_transformers_["encoder"]
        words = {
            at: each[~np.isnan(each.astype(float))] for at, each in enumerate(encoder.categories_)
        }
    kind = type(estimator._loss.link).__name__
    links: _Links = {
        **{"IdentityLink": "identity", "LogLink": "exp", "LogitLink": "sigmoid"},
        "MultinomialLogit": "softmax",
    }
    return TreeEnsemble(
        [
            _histogram_tree(tree, target, columns, words)
            for trees in estimator._predictors
            for target, tree in enumerate(trees)
        ],
        np.ravel(estimator._baseline_prediction).tolist(),
        _link(links, kind),
    )


def _histogram_tree(
    predictor: Any, target: int, columns: np.ndarray, words: Mapping[int, np.ndarray]
) -> list[Node]:
    tree: list[Node] = []
    splits: list[tuple[int, Any]] = []
    for at, node in enumerate(predictor.nodes):
        if node["is_leaf"]:
            tree.append(leaf(target, float(node["value"])))
            continue
        left, right, missing = (
            node[name].item() for name in ("left", "right", "missing_go_to_left")
        )
        feature = int(columns[node["feature_idx"]])
        threshold = round_down(node["num_threshold"].item())
        tree.append(Node("BRANCH_LEQ", feature, threshold, left, right, bool(missing)))
        if node["is_categorical"]:
            splits.append((at, node))
    for at, node in splits:
        known = words[node["feature_idx"].item()]
        bits = predictor.raw_left_cat_bitsets[node["bitset_idx"]].view(np.uint8)
        inside = np.unpackbits(bits, bitorder="little")[: len(known)].astype(bool)
        here = tree[at]
        # unknown and missing words go to the same side, outside of the members of the other
        members, sides = known[inside], (here.true, here.false)
        if here.missing:
            members, sides = known[~inside], (here.false, here.true)
        add_membership(tree, at, here.feature, members.tolist(), *sides)
    return tree


_ALLOWED: dict[tuple[str, str], Callable[[Any], bool]] = {
    **{("lightgbm", name): not_ for name in ("zero_as_missing", "linear_tree", "reg_sqrt")},
    **{
        (library, "objective"): lambda it: isinstance(it, str)
        for library in ("lightgbm", "xgboost")
    },
    ("xgboost", "missing"): math.isnan,
    ("xgboost", "booster"): lambda booster: booster != "gblinear",
    **{
        ("catboost", name): not_ for name in ("cat_features", "text_features", "embedding_features")
    },
}
_READERS: dict[tuple[str, tuple[str, ...]], Callable[[Any], TreeEnsemble]] = {
    ("lightgbm", ("LGBMClassifier", "LGBMRegressor")): _read_lightgbm,
    (
        "xgboost",
        ("XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor"),
    ): _read_xgboost,
    ("catboost", ("CatBoostClassifier", "CatBoostRegressor")): _read_catboost,
    (
        "sklearn.ensemble",
        ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"),
    ): _read_histogram,
}
