"""What every BentoML service of this project has: a stored package, settings, and a wrapper."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import bentoml
from bentoml.exceptions import BentoMLException
from pydantic import create_model
from starlette.middleware.cors import CORSMiddleware

from application.inference.api_keys import ApiKeys, authoriser
from application.inference.protocols import schema
from application.inference.protocols.app import App, Authorise, PredictionApp, Started
from application.inference.protocols.http import Route
from application.inference.protocols.openapi import Schema, with_keys, with_summaries
from domain.errors import MlopsError, PackageError
from infrastructure.monitoring.metrics.metrics_files import prepare_metrics_files
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.packaging.requirements import serving_requirements, system_packages
from infrastructure.serving.allocator import share_one_arena
from infrastructure.serving.outer_middleware import OuterMiddleware, Serves, stop_later
from infrastructure.serving.page import page_paths, page_routes, verdict_of
from infrastructure.serving.uvicorn_protocol import install as adapt_uvicorn
from shared.logs import AccessLog, configure_logs
from shared.settings import InvalidSettingError, ProcessSettings, ServingSettings


@contextmanager
def errors_for_bentoml() -> Iterator[None]:
    """Turn expected errors into BentoML's, which its commands print as one line.

    Raises:
        BentoMLException: the block raised an `MlopsError` or an `InvalidSettingError`.
    """
    try:
        yield
    except (MlopsError, InvalidSettingError) as error:
        raise BentoMLException(str(error)) from error


class BentoService:
    """The model and the settings of one service.

    The endpoints of a service depend on its model, so the package is read before BentoML's class is
    defined: from the store during a build, from the Bento in a server.

    Args:
        default_tag: the stored model to serve unless the argument ``model_tag`` of the build names
            one.
        defaults: values of settings that the environment does not set.

    Attributes:
        started: done when this process is ready.

    Raises:
        PackageError: the store has no such model.
        BuildError: what the model is served with is not installed in the version of its training.
        InvalidSettingError: a setting is wrong.
        DeploymentError: the disk has not enough space for the metrics of this process.
    """

    def __init__(self, default_tag: str, **defaults: float) -> None:
        share_one_arena()  # before threads start
        arguments: Any = bentoml.use_arguments(
            create_model("Arguments", model_tag=(str, default_tag))
        )
        self.reference = bentoml.models.BentoModel(arguments.model_tag)
        stored = self.reference.stored
        if stored is None:
            raise PackageError(
                f"{self.reference.tag} is not in the Bento store: put a model there with "
                "`make validate`, and select it with --arg model_tag=name:version"
            )
        self.package = ModelPackage(Path(stored.path), stored=True)
        self.name, self.version = stored.tag.name, str(stored.tag.version)
        settings = ServingSettings.load()
        missing = {name: defaults[name] for name in defaults.keys() - settings.model_fields_set}
        self.settings = settings.model_copy(update=missing)
        self.started: Future[Started] = Future()
        self._service: Any = None
        self._labels = stored.info.labels
        self._requirements = serving_requirements(
            self.package.read_json("contract.json"), self.package.native_requirements
        )
        self._processes = ProcessSettings.load()
        prepare_metrics_files(self._processes.workers)
        self._authorise = authoriser(
            ApiKeys.parse(self.settings.api_keys), self.settings.open_paths
        )

    def bento_options(self) -> dict[str, Any]:
        """Arguments of `bentoml.service`."""
        python = ".".join(platform.python_version_tuple()[:2])
        image = bentoml.images.Image(
            base_image=f"python:{python}-slim", distro="none", lock_python_packages=False
        )
        if system := system_packages(self._requirements):
            image.run(f"apt-get update -q && apt-get install -qy {system}")
        image.python_packages(*self._requirements)
        return {
            "name": self.name,
            "description": schema.describe(self.package.spec),  # README.md of the Bento
            "image": image,
            "workers": self._processes.workers,
            "http": {"port": self._processes.port},
            "traffic": {"timeout": max(30.0, self.settings.deadline_seconds)},
            "logging": {"access": {"enabled": False}},  # predictions bypass it
        }

    def pages(self) -> dict[str, Route]:
        """The routes of the page and of the model card."""
        card = (self.package.folder / "card.md").read_text(encoding="utf-8")
        return page_routes(self.name, self.version, verdict_of(self._labels), card)

    def document(self, others: Schema) -> Schema:
        """BentoML's OpenAPI document, made for each call since it has the Bento's version.

        Args:
            others: paths that BentoML does not serve.
        """
        document: Schema = self._service.openapi_spec.asdict()
        # of a service that is not in a Bento, BentoML shows its own README with badges
        document["info"]["description"] = schema.describe(self.package.spec)
        document |= {"paths": document["paths"] | others | page_paths()}
        document = with_summaries(document)
        return with_keys(document) if self._authorise else document

    def wrap(self, service: Any) -> None:
        """Put a `PredictionApp` around the application of a service, and prepare this process.

        Args:
            service: what `bentoml.service` returns for a class.
        """
        self._service = service
        settings = self.settings
        configure_logs(settings.log_format)
        adapt_uvicorn(settings, self._processes.workers)
        outer = partial(
            outer_app, started=self.started, settings=settings, authorise=self._authorise
        )
        service.add_asgi_middleware(OuterMiddleware, wrap=outer)


def outer_app(
    app: App,
    serves: Serves,
    started: Future[Started],
    settings: ServingSettings,
    authorise: Authorise | None,
) -> App:
    """A `PredictionApp` around an application, with what the settings configure."""
    outer = PredictionApp(
        app,
        serves,
        started=started,
        max_bytes=settings.max_body_bytes,
        queue=settings.queue,
        deadline=settings.deadline_seconds,
        authorise=authorise,
        ready_paths=filter(None, [os.environ.get("AIP_HEALTH_ROUTE")]),
        access_log=AccessLog().write if settings.access_log else None,
    )
    stop_later(settings.drain_seconds, outer.stop)
    origins = settings.cors_origins.split()
    return (
        CORSMiddleware(outer, origins, allow_methods=["*"], allow_headers=["*"])
        if origins
        else outer
    )
