"""The table ``[ledger]``: where the queue is kept."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from taggerd.settings.section import Section


class LedgerSettings(Section):
    """The queue and the answers."""

    url: SecretStr | None = Field(
        None,
        description="Address of a PostgreSQL database that several machines share, "
        "postgresql://USER@HOST/DATABASE?sslmode=verify-full; needs taggerd[postgres]. It may hold "
        "a password: a systemd credential is safer. Default: a file in the state directory.",
    )

    @field_validator("url")
    @classmethod
    def _is_postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        schemes = "postgresql://", "postgres://"
        if url is not None and not url.get_secret_value().startswith(schemes):
            message = "must begin with postgresql://"
            raise ValueError(message)
        return url
