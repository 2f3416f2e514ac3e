"""Build the Bento of the champion: `python -m infrastructure.packaging.build_bento --help`."""

# pylint: disable=import-outside-toplevel

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from domain.errors import MlopsError
from shared.arguments import valid_model_name
from shared.commands import entry_point
from shared.console import show_step
from shared.settings import Settings


@entry_point(MlopsError)
def main(arguments: list[str] | None = None) -> int:
    """Build and export; 0 when both are done."""
    parser = argparse.ArgumentParser(description="Build the champion's Bento and export it.")
    parser.add_argument(
        "--model", type=valid_model_name, default="iris", help="name in domain/models (%(default)s)"
    )
    parser.add_argument("--receipt", type=Path, help="write a receipt to this file")
    options = parser.parse_args(arguments)
    settings = Settings()
    os.environ["BENTOML_HOME"] = str(settings.bento_home)
    _build(options.model, settings, options.receipt)
    return 0


def _build(model: str, settings: Settings, receipt: Path | None) -> None:
    from application.training.config import registered_name
    from infrastructure.compute.receipts import write_receipt
    from infrastructure.packaging.bento_store import add_accepted, build_bento, export_bento
    from infrastructure.registry.mlflow_registry import CHAMPION, MlflowRegistry

    name = registered_name(model)
    registry = MlflowRegistry(settings.tracking_uri, settings.packages_dir)
    version = registry.find(name, CHAMPION)
    version.check_accepted()
    champion = registry.open_package(version)
    tag = add_accepted(champion, name)  # where the store has lost it, or has a part of it
    bento = build_bento(tag)
    show_step("bento", str(bento.tag))
    exported = settings.receipts_dir / model / "bento"
    export_bento(bento, exported)
    show_step("exported", str(exported))
    if receipt:
        write_receipt(
            receipt,
            model_name=name,
            version=champion.version,
            model_tag=tag,
            bento_tag=str(bento.tag),
        )


if __name__ == "__main__":
    sys.exit(main())
