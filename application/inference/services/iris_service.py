"""The iris classifier as a BentoML service: the service of every model, by the tutorial's name."""

from application.inference.services.model_service import ModelService as IrisClassifier

__all__ = ["IrisClassifier"]
