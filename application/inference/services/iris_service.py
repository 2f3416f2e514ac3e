"""The iris classifier as a BentoML service: that of any model, with the one that it is built with."""

from application.inference.services.model_service import ModelService as IrisClassifier

__all__ = ["IrisClassifier"]
