"""The configuration of a training run, read from JSON and checked before anything else happens."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from domain import catalog
from domain.catalog import CatalogModel
from domain.contract import ModelSpec
from domain.data.addresses import check_address
from domain.data.dataset import Dataset
from domain.data.splitting import with_keys
from domain.data.tables import read_table
from domain.errors import ConfigError, UnknownModelError
from domain.evaluation.measures import Measure, default_measure

CONFIGS = Path(__file__).parent / "configs"
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Gate = Literal[
    "quality",
    "beats_baseline",
    "calibration",
    "interval_coverage",
    "worst_slice",
    "robustness",
    "no_target_leakage",
    "not_worse_than_champion",
    "contract_is_versioned",
    "latency",
    "size",
]
_RENAMED_GATES = {  # names that recorded configurations may have
    "better_than_trivial": "beats_baseline",
    "no_input_is_the_target": "no_target_leakage",
}
Share = Annotated[float, Field(ge=0, le=1)]
Margin = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Ratio = Annotated[float, Field(ge=1, allow_inf_nan=False)]
_NAME = r"^[a-z][a-z0-9_]{0,62}$"  # valid in MLflow, in the Bento store and as a folder


def _current_gate(name: object) -> object:
    return _RENAMED_GATES.get(name, name) if isinstance(name, str) else name


def _with_name(measure: object) -> object:
    return {"name": measure} if isinstance(measure, str) else measure


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class SplitConfig(_Strict):
    """Columns that a split follows, in place of one at random. They need not be inputs.

    Attributes:
        time: dates or numbers: the last rows are held out.
        group: what must not be on both sides, such as a customer. With `time`: the later rows of
            groups that are not learned from.
        gap: rows so shortly before the hold-out are on neither side; in days for dates, else in the
            unit of `time`.
        start: date or number from which rows are held out, in place of a share of ``test_size``.
    """

    time: str | None = None
    group: str | None = None
    gap: float = Field(0.0, ge=0, allow_inf_nan=False)
    start: str | float | None = None

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        if self.time is None and self.group is None:
            raise ValueError("name a column: time, group, or both; leave split out for random rows")
        if self.time is None and (self.gap or self.start is not None):
            raise ValueError("gap and start need the column time")
        return self


class SourceConfig(_Strict):
    """Data that are not one local table; `load` gets the path of a snapshot as ``path``.

    Attributes:
        address: such as ``postgresql://${PGUSER}:${PGPASSWORD}@host/shop``, ``s3://bucket/orders/``
            or ``book.xlsx``; ${NAME} is a variable of the environment or .env.
        query: path of a file with the SQL to run; for databases.
    """

    address: str = Field(min_length=1)
    query: str | None = None


class DataConfig(_Strict):
    """How the data are split; further keys are parameters of the model's `load`.

    Only a model that is not trained, such as a transcriber, may leave out the split.

    Attributes:
        test_size: share of the rows, or of the groups, that is held out.
        random_state: seed of the split.
        split: columns that the split follows; None for a split at random.
        source: where the data are, unless `load` reads local files by itself.
        labelled: a table of further labelled rows, with the columns of the contract, as `make
            retrain` writes it from the prediction log.
        reference_rows: how many of its last rows drift is measured against, as far as they are
            training rows; 200 to 1,000 are, 1,000 by default.
    """

    model_config = ConfigDict(extra="allow")

    test_size: float | None = Field(None, gt=0, lt=1)
    random_state: Seed | None = None
    split: SplitConfig | None = None
    source: SourceConfig | None = None
    labelled: str | None = None
    reference_rows: int | None = Field(None, ge=0)

    @property
    def share_and_seed(self) -> tuple[float, int]:
        """Share of the rows that is held out, and the seed of the split.

        Raises:
            ConfigError: one of them is missing.
        """
        if self.test_size is None or self.random_state is None:
            raise ConfigError(
                "the configuration needs both data.test_size and data.random_state, to split the "
                "data"
            )
        return self.test_size, self.random_state


class MeasureConfig(_Strict):
    """A measure of quality with its options: `domain.evaluation.measures.Measure` explains them."""

    name: str
    precision: float = Field(0.9, gt=0, le=1)
    top: int = Field(100, ge=1)
    quantile: float = Field(0.5, gt=0, lt=1)
    costs: dict[str, dict[str, Margin]] = {}


class ValidationConfig(_Strict):
    """Limits of the gates.

    Attributes:
        measure: how quality is measured, by the name of scikit-learn's scorer, such as
            ``average_precision``, or with options, such as ``{"name": "recall_at_precision",
            "precision": 0.8}``; by default accuracy, or R² of a regression. Higher is better.
            Every gate on quality uses it: docs/measures.md.
        threshold: minimum score on the hold-out. The default suits the accuracy of about 30 rows:
            docs/decisions/0004 has the arithmetic. For a transcriber it is the minimum of 1 − word
            error rate; only there it may be null, which accepts weights that were not measured.
        skip: gates whose refusal is accepted; their verdicts are still reported.
        folds: folds of the cross-validation that is reported with the verdicts; 0 for none, null
            for 10, or 3 above 20,000 rows. Training makes that of a regression, for its intervals.
        seconds: budget of the cross-validation; folds that would exceed it are left out.
        repeat_search: whether each fold searches for the best parameters again, if the estimator
            does so; otherwise it uses those that the training found.
        approval: whether an accepted version becomes champion at once, or by `make promote`.
        margin: by how much the score may be below the champion's, at most half of what the champion
            gains over a constant prediction; null for a quarter of it; docs/decisions/0011.
        fewest_rows: minimum number of rows to compare on that neither champion nor challenger was
            trained on.
        calibration_error: maximum expected calibration error of a classifier.
        coverage_error: maximum difference between the share of true values in a regression's
            intervals and the target share.
        slices: slices to judge separately, by name: conditions on inputs, all of which must hold;
            ``[low, high]`` for a number, null for no limit, or a list of words.
        slice_margin: by how much the score of a slice may be below that of all rows; null for half
            of what the model gains over a constant prediction.
        slice_rows: minimum number of rows of a slice.
        noise: standard deviation of the noise added to numbers, as a fraction of each input's own.
        sensitivity: maximum share of predictions that noise may change; for a regression the
            maximum mean change in standard deviations of the predictions.
        parity_tolerance: maximum difference between the native and the served model.
        latency_ratio: maximum latency as a multiple of the champion's.
        size_ratio: maximum size of the served file as a multiple of the champion's.
    """

    measure: Annotated[MeasureConfig | None, BeforeValidator(_with_name)] = None
    threshold: float | None = Field(0.85, le=1, allow_inf_nan=False)
    skip: list[Annotated[Gate, BeforeValidator(_current_gate)]] = []
    folds: Literal[0] | Annotated[int, Field(ge=2, le=100)] | None = None
    seconds: float = Field(120.0, gt=0, allow_inf_nan=False)
    repeat_search: bool = False
    approval: Literal["automatic", "manual"] = "automatic"
    margin: Margin | None = None
    fewest_rows: int = Field(20, ge=1)
    calibration_error: Share = 0.1
    coverage_error: Share = 0.05
    slices: dict[str, dict[str, list[float | str | None]]] = {}
    slice_margin: Margin | None = None
    slice_rows: int = Field(20, ge=1)
    noise: Share = 0.01
    sensitivity: Share = 0.1
    parity_tolerance: float = Field(1e-5, gt=0, allow_inf_nan=False)
    latency_ratio: Ratio = 3.0
    size_ratio: Ratio = 3.0

    def measure_of(self, spec: ModelSpec) -> Measure:
        """The measure for a contract.

        Raises:
            ConfigError: it does not fit the contract, or cannot reach the threshold.
        """
        if self.measure is None:
            return default_measure(spec)
        measure = Measure(spec, **self.measure.model_dump())
        if measure.best == 0 and self.threshold is not None and self.threshold >= 0:
            raise ConfigError(
                f"validation.threshold is {self.threshold:g}, but {measure.name} is negative for "
                "every model that is not perfect: set a negative threshold"
            )
        return measure


class DecisionConfig(_Strict):
    """How a classifier of two classes decides; at most one key, by default the most probable class.

    A threshold is chosen on cross-validated predictions of the training rows, and only if it is
    certainly better than the most probable class.

    Attributes:
        by: the measure of the contract's positive class that the threshold is to make largest.
        costs: of an actual and a predicted class, ``{"yes": {"no": 5.0}, "no": {"yes": 1.0}}``; of
            pairs that are left out 0. The threshold is to make their mean smallest.
        threshold: probability from which the positive class is predicted.
    """

    by: Literal["accuracy", "balanced_accuracy", "f1", "matthews_corrcoef"] | None = None
    costs: dict[str, dict[str, Annotated[float, Field(allow_inf_nan=False)]]] = {}
    threshold: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        if (self.by is not None) + bool(self.costs) + (self.threshold is not None) > 1:
            raise PydanticCustomError("keys", "set only one of by, costs and threshold")
        return self


class ServingConfig(_Strict):
    """The format to serve: ONNX, or native if the model cannot be exported."""

    format: Literal["onnx", "native"] = "onnx"


class WatchConfig(_Strict):
    """What `make watch` reports, and when it retrains.

    Attributes:
        drift_alarms, drift_checks: in how many of the latest checks there must be a drift alarm.
        quality_days: the predictions of so many days are scored, and their quality is estimated.
        fewest_labels: number of labels from which on a score counts.
        new_labels: retrain after so many labels since the champion was trained; null for never.
        age_days: retrain when the champion was trained so many days ago; null for never.
        retrain: what to do if retraining is due: ``report`` it; retrain and ``validate``, which
            promotes what every gate accepts; or ``deploy`` that, too.
        hours_between: at least so many hours between two retrainings.
    """

    drift_alarms: int = Field(3, ge=1)
    drift_checks: int = Field(4, ge=1, le=1000)
    quality_days: float = Field(7.0, gt=0, le=3650)
    fewest_labels: int = Field(100, ge=1)
    new_labels: int | None = Field(None, ge=1)
    age_days: float | None = Field(None, gt=0)
    retrain: Literal["report", "validate", "deploy"] = "report"
    hours_between: float = Field(24.0, ge=0)

    @model_validator(mode="after")
    def _check_alarms(self) -> Self:
        if self.drift_alarms > self.drift_checks:
            raise ValueError("drift_alarms is larger than drift_checks: no drift would be reported")
        return self


class MonitoringConfig(_Strict):
    """How a service of the model monitors it.

    Attributes:
        retention_days: how long predictions and their labels are kept; `SERVING_RETENTION_DAYS`
            overrides it.
    """

    retention_days: float = Field(90.0, gt=0, allow_inf_nan=False)


class TrainingConfig(_Strict):
    """The configuration of one training run, such as `configs/iris_config.json`."""

    model: dict[str, Any]
    data: DataConfig
    experiment_name: str = Field(min_length=1)
    model_name: str = Field(pattern=_NAME)
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    decision: DecisionConfig = DecisionConfig()
    validation: ValidationConfig = ValidationConfig()
    serving: ServingConfig = ServingConfig()
    watch: WatchConfig = WatchConfig()
    monitoring: MonitoringConfig = MonitoringConfig()

    @classmethod
    def read(cls, path: Path) -> TrainingConfig:
        """Read a JSON file.

        Raises:
            ConfigError: the file is missing, is not JSON, lacks a key, has an unknown key or a
                value of the wrong type; the message names the file and each key. Or the address of
                the data contains a secret, which the message does not show.
        """
        try:
            text = path.read_text(encoding="utf-8-sig")  # some editors on Windows write a BOM
        except OSError as error:
            raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not UTF-8: {error}") from error
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:  # also nested too deeply, too many digits
            raise ConfigError(f"{path} is not JSON: {error}") from error
        try:
            config = cls.model_validate(document, strict=True)
        except ValidationError as error:
            raise ConfigError(f"{path}: {_describe(error, document)}") from error
        if config.data.source:
            try:
                check_address(config.data.source.address)
            except ConfigError as error:
                raise ConfigError(f"{path}: {error}") from None
        return config

    @classmethod
    def recorded(cls, provenance: Mapping[str, Any]) -> TrainingConfig:
        """The configuration that a package was trained with, from its ``provenance.json``."""
        return cls.model_validate(provenance["config"])

    def build_arguments(self, model: CatalogModel) -> dict[str, Any]:
        """The block ``model`` as arguments of the model's `build`.

        Raises:
            ConfigError: a key is missing, unknown or of the wrong type.
        """
        return _arguments(model.build, self.model, "model")

    def load_arguments(self, model: CatalogModel, file: Path | None = None) -> dict[str, Any]:
        """The remaining keys of the block ``data`` as arguments of the model's `load`.

        Args:
            file: the snapshot of ``data.source``, which becomes ``path``.

        Raises:
            ConfigError: a key is missing, unknown or of the wrong type.
        """
        values = dict(self.data.model_extra or {})
        if self.data.source and "path" in values:
            raise ConfigError("the configuration has data.path and data.source: remove one of them")
        if file:
            values["path"] = str(file)
        return _arguments(model.load, values, "data")

    def load_data(
        self, model: CatalogModel, file: Path | None = None, labelled: Path | None = None
    ) -> Dataset:
        """The model's data and ``data.labelled``, with the keys that the split follows.

        Args:
            file: the snapshot of ``data.source``, if the configuration has one.
            labelled: the snapshot of ``data.labelled``, to be read in its place.

        Raises:
            ConfigError: a key of the block ``data`` is missing, unknown or of the wrong type.
            DataError: the data cannot be read, or lack what the split follows.
        """
        dataset = model.load(**self.load_arguments(model, file))
        if more := labelled or self.data.labelled:
            dataset = dataset.with_log_rows(read_table(str(more), model.SPEC), model.SPEC)
        split = self.data.split
        return with_keys(dataset, **split.model_dump()) if split else dataset

    def parameters(self) -> dict[str, Any]:
        """Every value by its dotted name, such as ``model.max_depth``, for tracking."""
        groups = self.model_dump(include={"model", "data", "decision", "validation", "serving"})
        return {
            f"{group}.{key}": value
            for group, values in groups.items()
            for key, value in values.items()
        }


def config_path(model: str) -> Path:
    """The configuration file of a model in this repository.

    Raises:
        UnknownModelError: it does not exist; the message lists the known models.
    """
    path = CONFIGS / f"{model}_config.json"
    if not path.exists():
        raise UnknownModelError(
            f"unknown model {model}: {path} does not exist. "
            f"Known models: {catalog.list_names()}"
        )
    return path


def registered_name(model: str) -> str:
    """The name in the registry and in the Bento store of a model in this repository."""
    return TrainingConfig.read(config_path(model)).model_name


def _arguments(
    function: Callable[..., Any], values: Mapping[str, Any], block: str
) -> dict[str, Any]:
    """Check values against a function's parameters; their types and defaults are the schema."""
    parameters = inspect.signature(function).parameters
    hints = get_type_hints(function, include_extras=True)
    function_name = f"{function.__module__}.{function.__qualname__}"
    untyped = [name for name in parameters if name not in hints]
    if untyped:
        raise ConfigError(
            f"{function_name} needs type annotations for {', '.join(untyped)}: they are the schema "
            "of the configuration"
        )
    if "model_config" in parameters:
        raise ConfigError(
            f"{function_name} cannot have a parameter called model_config, which pydantic "
            "reserves: rename it"
        )
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in parameters.items()
    }
    schema = create_model("Arguments", __base__=_Strict, **fields)
    try:
        checked = schema.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise ConfigError(f"the configuration: {_describe(error, values, block)}") from error
    return {name: getattr(checked, name) for name in fields}


def _describe(error: ValidationError, document: object, *prefix: str) -> str:
    """Every fault by its place in a document; of a value that may have several types, once."""
    faults: dict[str, list[str]] = {}
    found: dict[str, str] = {}
    for item in error.errors():
        place = ".".join((*prefix, *_place(item, document))) or "the whole file"
        message = item["msg"][0].lower() + item["msg"][1:]
        if item["type"] == "extra_forbidden":
            found[place] = f"unknown key {place!r}"
            continue
        faults.setdefault(place, []).append(message)
        others = [each.removeprefix("input should be ") for each in faults[place][1:]]
        messages = ", or ".join([faults[place][0], *others])
        found[place] = f"{place}: {messages} (got {item['input']!r})"
    return "; ".join(found.values())


def _place(item: ErrorDetails, document: object) -> list[str]:
    """Where a document has a fault, or lacks a key: pydantic's place has types of unions, too."""
    place: list[str] = []
    for part in item["loc"]:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part in range(len(document)):
            document = document[int(part)]
        else:
            continue
        place.append(str(part))
    return [*place, str(item["loc"][-1])] if item["type"] == "missing" else place
