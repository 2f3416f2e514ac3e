"""Any model of the catalog except speech as a BentoML service."""

import bentoml

from infrastructure.serving.bento_service import errors_for_bentoml
from infrastructure.serving.model_service import ModelService as _ModelService

with errors_for_bentoml():
    _service = _ModelService("iris_classifier_pipeline:latest")
ModelService = bentoml.service(**_service.bento_options())(_service.bento_class())
_service.wrap(ModelService)
