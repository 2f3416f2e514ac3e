"""The errors that this project raises on purpose.

MlopsError
├── ConfigError        a run's configuration: missing file, unknown key, wrong type
├── ContractError      a model's contract contradicts itself
├── DataError          training data violate the model's contract
├── InputError         a request violates the model's contract
│   └── TooManyRowsError  it has more rows than a service accepts at once
├── UnknownModelError  the catalog has no such model
├── MissingExtraError  a model needs a library that is not installed
├── PackageError       a model package is incomplete, or differs from its manifest
├── RegistryError      the registry has no such version or alias
├── TrackingError      the tracking server or database does not work, or refuses a request
├── GateRefusal        validation refuses a candidate
├── UnknownPredictionError  feedback names a prediction that was never made
├── PredictionLogError the prediction log cannot be opened, or is busy or unavailable
├── NotificationError  an alert could not be sent
├── ExportError        an estimator cannot be exported to the form that is served
├── StateError         saved state cannot be loaded without losing what is here
├── BuildError         a Bento, an image or a recorded version could not be built
└── DeploymentError    a release did not become ready, or gave wrong predictions
"""


class MlopsError(Exception):
    """Base class; the message says what is wrong and how to fix it."""


class ConfigError(MlopsError):
    """A run's configuration is missing, malformed or names an unknown key."""


class ContractError(MlopsError):
    """A model's contract contradicts itself, or does not support what it is used for."""


class DataError(MlopsError):
    """Training data cannot be read, or violate the model's contract."""


class InputError(MlopsError):
    """A request violates the model's contract."""


class TooManyRowsError(InputError):
    """A request has more rows than a service accepts at once."""


class UnknownModelError(MlopsError):
    """The catalog has no model of that name."""


class MissingExtraError(MlopsError):
    """A model needs a library that is not installed; the message has the command."""


class PackageError(MlopsError):
    """A model package is incomplete, or a file differs from its manifest."""


class RegistryError(MlopsError):
    """The registry has no such version or alias."""


class TrackingError(MlopsError):
    """The tracking server or database cannot be reached, is damaged, or refuses a request.

    Attributes:
        code: MLflow's code of a refused request, such as ``RESOURCE_DOES_NOT_EXIST``.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class GateRefusal(MlopsError):
    """Validation refuses a candidate; the message has the gates."""


class UnknownPredictionError(MlopsError):
    """Feedback names a prediction that is not in the prediction log."""


class PredictionLogError(MlopsError):
    """The database of the prediction log cannot be opened, is locked or is unavailable."""


class NotificationError(MlopsError):
    """An alert could not be sent."""


class ExportError(MlopsError):
    """An estimator cannot be exported to the form that is served."""


class StateError(MlopsError):
    """Saved state cannot be read, or restoring it would lose state that the clone has."""


class BuildError(MlopsError):
    """A Bento, a container image or a recorded version could not be built."""


class DeploymentError(MlopsError):
    """A release did not become ready or gave wrong predictions; the previous one keeps serving."""


def reason_of(error: BaseException) -> str:
    """The first line of a library's error message, at most 300 characters: some print a model."""
    return str(error).partition("\n")[0][:300]
