"""The tutorial's name for the service of every model, kept as an alias."""

from application.inference.services.model_service import ModelService as IrisClassifier

__all__ = ["IrisClassifier"]
