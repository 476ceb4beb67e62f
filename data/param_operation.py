"""The blocks of ``params.yaml`` that say how the line is run: registry, schedule, versioning, and whom to tell."""

import re
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationInfo, field_validator, model_validator

from data.cron import check_cron
from data.events import EventName
from data.param_stages import TRANSPORT
from data.param_types import DAY, Block, Count, Many, VariableName

MOST_CHECKS = 50
"""Results of checks that a suite ever has, so that the index of a workspace that runs every day stays quick."""
OPERATION: dict[str, bool | set[str]] = {
    "gates": True,  # other gates judge what there is, and make nothing new (flows/policy.py)
    "gc": True,
    "watch": True,
    "versioning": True,
    "notify": True,
    "people": True,
    "endpoint": TRANSPORT,
    "registry": {"retries", "retry_seconds", "bring_back", "on_withdrawal", "on_gates"},
}
"""Blocks, or keys of a block, that say how the line is run and what passes; no candidate follows from them."""

_SERVER = re.compile(r"https?://[^\s/:@]\S*")
_DATABASES = {
    "mlflow_uri": re.compile(r"sqlite:///\S.*|(?:postgresql|mysql|mssql)(?:\+\w+)?://\S+"),
    "ledger_uri": re.compile(r"sqlite:///\S.*|postgresql(?:\+\w+)?://\S+"),
}
"""Those that MLflow takes, and those in which the ledger can refuse what is not the next entry."""


class RegistryParams(Block):
    mlflow_uri: str = Field(description="MLflow tracking and registry store.")
    ledger_uri: str = Field(description="Database of the ledger (SQLAlchemy URL).")
    experiment: str = Field(min_length=1, description="MLflow experiment.")
    model: str = Field(pattern=r"^[^\s/:][^/:]*$", max_length=200, description="Name of the registered model.")
    promote_first: bool = Field(description="Promote the first candidate that passes by the cycle itself.")
    bring_back: bool = Field(
        description="Promote a version that served before, by the cycle itself, when exactly its documents come back."
    )
    on_withdrawal: Literal["confirm", "retrain", "rollback", "hold"] = Field(
        description="What becomes of a champion that rests on a withdrawn document; confirm: rollback if it still "
        "answers from it, otherwise retrain."
    )
    on_gates: Literal["rollback", "hold"] = Field(
        description="What becomes of a champion that other gates would not have let pass."
    )
    retries: int = Field(ge=0, le=20, description="Tries again when the registry does not answer.")
    retry_seconds: float = Field(ge=0, le=DAY, description="Pause before the first of them; it doubles.")

    @field_validator("mlflow_uri", "ledger_uri")
    @classmethod
    def _is_an_address(cls, uri: str, field: ValidationInfo) -> str:
        is_server = field.field_name == "mlflow_uri" and _SERVER.fullmatch(uri) is not None
        if not (is_server or _DATABASES[str(field.field_name)].fullmatch(uri)):
            scheme = uri.partition(":")[0][:20]  # never more of it: an address may hold a password
            kinds = "a database (sqlite:///FILE, postgresql+psycopg://HOST/NAME)"
            kinds += " or a server (https://HOST)" if field.field_name == "mlflow_uri" else ""
            raise ValueError(f"an address that begins with {scheme!r} is not understood; give that of {kinds}")
        return uri

    @model_validator(mode="after")
    def _pauses_end(self) -> Self:
        longest = self.retry_seconds * 2 ** max(0, self.retries - 1)
        if longest > DAY:
            raise ValueError(
                f"the last pause would be {longest:,.0f} seconds, more than {DAY:,}; lower retries or retry_seconds"
            )
        return self


Role = Literal["viewer", "operator", "approver"]
ROLES: tuple[Role, ...] = ("viewer", "operator", "approver")
"""Each may do what the ones before may: look and ask; run cycles, withdraw documents, roll back, reject; promote,
override, reinstate."""


class PeopleParams(Block):
    actor: str = Field(
        max_length=200, description="Who acts here unless RELEARN_ACTOR says; empty: the operating system's user."
    )
    roles: dict[str, Role] = Field(description="viewer, operator or approver, by actor.")
    others: Role = Field(description="Role of an actor whom roles does not name.")
    approvals: int = Field(
        ge=1, le=5, description="Different approvers that a promotion takes; above 1 the line promotes nothing itself."
    )


class GcParams(Block):
    keep_versions: Many = Field(
        description="Newest promoted or promotable versions kept whole by gc, beside champion and challenger."
    )
    keep_checks: Count = Field(le=MOST_CHECKS, description="Results of checks kept per suite by gc.")


class WatchParams(Block):
    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$", description="Name of this line on a Prefect server.")
    cron: str = Field(description="When changed settings and failures are looked at too: five cron fields.")
    timezone: str = Field(description="Time zone of cron, as in the IANA database (Europe/Paris).")
    poll_seconds: float = Field(ge=0.1, le=DAY, description="Pause between two looks at the documents folder.")
    settle_seconds: float = Field(ge=0, le=DAY, description="A change counts once the folder has lain still this long.")
    restless_seconds: float = Field(
        gt=0, le=30 * DAY, description="A folder that never lies still is taken as it is after this."
    )
    retry_seconds: float = Field(
        gt=0, le=30 * DAY, description="Pause after an outside failure before the next try; it doubles."
    )
    max_retry_seconds: float = Field(gt=0, le=30 * DAY, description="The longest such pause.")

    @field_validator("cron")
    @classmethod
    def _fires(cls, cron: str) -> str:
        check_cron(cron)
        return cron

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, timezone: str) -> str:
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{timezone!r} is no time zone; take a name such as UTC or Europe/Paris") from error
        return timezone


class VersioningParams(Block):
    commit: bool = Field(description="Commit dvc.lock and the parameters to git after each cycle.")
    push: bool = Field(description="Push to the DVC remote after each cycle, where one is set.")


class HookParams(Block):
    """Exactly one of ``command``, ``webhook_variable`` and ``prefect_block``."""

    on: list[EventName] = Field(min_length=1, description="Events that call it.")
    command: list[str] = Field(default=[], description="Program and arguments; the event comes as JSON on its input.")
    webhook_variable: VariableName = Field(default="", description="Name of the environment variable with the address.")
    prefect_block: str = Field(default="", description="Prefect notification block, as type/name.")
    timeout_seconds: float = Field(default=10.0, gt=0, le=600, description="A hook that takes longer is left.")

    @model_validator(mode="before")
    @classmethod
    def _on_is_a_word(cls, content: Any) -> Any:
        """YAML 1.1 reads a bare ``on`` as true."""
        return (
            {"on" if key is True else key: value for key, value in content.items()}
            if isinstance(content, dict)
            else content
        )

    @model_validator(mode="after")
    def _is_one_hook(self) -> Self:
        if sum(map(bool, (self.command, self.webhook_variable, self.prefect_block))) != 1:
            raise ValueError("a hook has exactly one of command, webhook_variable and prefect_block")
        if self.command and not self.command[0].strip():
            raise ValueError("command begins with the name of a program")
        if self.prefect_block and not re.fullmatch(r"[^/\s]+/[^/\s]+", self.prefect_block):
            raise ValueError("prefect_block is written type/name")
        return self
