"""A systemd user unit that supervises an environment, also after a reboot."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from domain.errors import DeploymentError
from shared.files import write_atomically
from shared.paths import ROOT

_UNIT = """\
[Unit]
Description=Model service of {environment} in {clone}

[Service]
Type=exec
WorkingDirectory={clone}
ExecStart="{python}" -m {supervisor} --environment "{folder}"
Restart=on-failure
RestartSec=5
# The service outlives its supervisor, and make stop ends both.
KillMode=process

[Install]
WantedBy=default.target
"""


@dataclass(frozen=True)
class Unit:
    """The unit of an environment.

    Attributes:
        folder: of the environment; it may contain no `%`, `"` or line break.
    """

    folder: Path

    @property
    def name(self) -> str:
        """Its name, which differs between clones."""
        digest = hashlib.sha256(str(self.folder.absolute()).encode()).hexdigest()
        return f"mlops-{self.folder.name}-{digest[:8]}.service"

    @property
    def path(self) -> Path:
        """Its file among the units of this user."""
        configuration = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
        return Path(configuration) / "systemd/user" / self.name

    def install(self, supervisor: str) -> None:
        """Write and enable it, and let this user's units run from boot on.

        Args:
            supervisor: name of the module to run.

        Raises:
            DeploymentError: there is no systemd for users here, or it refused.
        """
        if not shutil.which("systemctl") or _run("systemctl", "--user", "show-environment")[0]:
            raise DeploymentError(
                "systemd does not manage this user's services here: let cron or another service "
                f"manager run at boot: make -C {ROOT} start ENV={self.folder.name}"
            )
        unit = _UNIT.format(
            environment=self.folder.name,
            clone=ROOT,
            python=sys.executable,
            supervisor=supervisor,
            folder=self.folder.absolute(),
        )
        write_atomically(self.path, unit)
        _require(("systemctl", "--user", "daemon-reload"))
        _require(("systemctl", "--user", "enable", self.name))
        _require(("loginctl", "enable-linger"))

    def restart(self) -> None:
        """Start it, or start it again.

        Raises:
            DeploymentError: systemd refused.
        """
        _require(("systemctl", "--user", "restart", self.name))


def _require(command: Sequence[str]) -> None:
    code, output = _run(*command)
    if code:
        raise DeploymentError(f"{' '.join(command)}: {output or f'exit code {code}'}")


def _run(*command: str) -> tuple[int, str]:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout.strip()
