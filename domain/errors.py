"""Every error that this project raises on purpose.

MlopsError
├── ConfigError        a run's configuration: missing file, unknown key, wrong type
├── ContractError      a model's contract contradicts itself
├── DataError          the data do not keep the model's contract
├── InputError         a request does not keep the model's contract
│   └── TooManyRowsError  it has more rows than a service takes at once
├── UnknownModelError  the catalog has no such model
├── MissingExtraError  a model needs a library that is not installed
├── PackageError       a model package is incomplete, or differs from its manifest
├── RegistryError      the registry has no such version or alias
├── TrackingError      the tracking server or database does not work, or refuses a request
├── GateRefusal        validation refuses a candidate
├── UnknownPredictionError  feedback names a prediction that was never made
├── ExportError        an estimator cannot be exported to the form that is served
├── StateError         saved state cannot be loaded without losing what is here
├── BuildError         a Bento, an image or a recorded version could not be built
└── DeploymentError    a release did not become ready, or answered wrongly
"""


class MlopsError(Exception):
    """Base of all errors raised on purpose; its message says what is wrong and how to mend it."""


class ConfigError(MlopsError):
    """A run's configuration is missing, malformed or names an unknown key."""


class ContractError(MlopsError):
    """A model's contract contradicts itself, or is asked for what it cannot do."""


class DataError(MlopsError):
    """Training data do not keep the model's contract."""


class InputError(MlopsError):
    """A request does not keep the model's contract."""


class TooManyRowsError(InputError):
    """A request has more rows than a service takes at once."""


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
    """Validation refuses a candidate; the message names the gates and their reasons."""


class UnknownPredictionError(MlopsError):
    """Feedback names a prediction that is not in the prediction log."""


class ExportError(MlopsError):
    """An estimator cannot be exported to the form that is served."""


class StateError(MlopsError):
    """Saved state cannot be read, or lacks what the clone has that it would replace."""


class BuildError(MlopsError):
    """A Bento, a container image or a recorded version could not be built."""


class DeploymentError(MlopsError):
    """A release did not become ready or answered wrongly; the former one goes on serving."""


def reason_of(error: BaseException) -> str:
    """What a library's error says, in a line: some print a whole model."""
    return str(error).partition("\n")[0][:300]
