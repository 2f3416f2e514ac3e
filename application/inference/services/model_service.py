"""Any model of the catalog except speech as a BentoML service."""

import bentoml

from infrastructure.serving.model_service import ModelService as _ModelService

_service = _ModelService("iris_classifier_pipeline:latest")
ModelService = bentoml.service(**_service.bento_options())(_service.bento_class())
_service.wrap(ModelService)
