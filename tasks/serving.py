"""What answers: a pointer file to the weights of the champion, and the fast way from it to an answer.

The pointer mirrors the ledger. It holds resolved folders with their digests, so that a question needs
neither MLflow nor the ledger, and weights that were exchanged underneath it are refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from data.decisions import Action
from data.errors import InputError, OutsideError, PersonNeededError
from data.files import digest_bytes, digest_tree, read_record, write_record
from data.records import Record
from data.workspace import Workspace

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Weights(Record):
    """Where the parts of a version are, and what they must be."""

    base: str
    """Folder, below the workspace where it is relative."""
    base_digest: str
    """Digest of the folder."""
    adapter: str | None
    """Folder; None for the base alone."""
    adapter_digest: str
    """Digest of the folder; empty for the base alone."""
    new_tokens: int
    batch: int


class Probe(Record):
    """What a version answered when it was switched to."""

    answers: tuple[str, ...]
    """To ``PROBED``, in order."""
    digest: str
    """SHA-256 of the logits after each of these questions: bit-identical outputs have equal digests."""


PROBED = (
    "What do you know?",
    "Who may approve it?",
    "What held before, and what holds now?",
)
"""Asked of a version before it serves; that it answers counts, not what."""


class ServingPointer(Record):
    """Which version answers."""

    version: int
    model: str
    """MLflow's address of the same model."""
    entry: int
    """Number of the ledger entry that put it here."""
    weights: Weights


@dataclass(frozen=True)
class Loaded:
    """Weights in memory."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    new_tokens: int
    batch: int

    def answers(self, questions: Sequence[str]) -> list[str]:
        """One answer per question, in order."""
        from data.wordings import question_prompt
        from models.generation import answer

        prompts = list(map(question_prompt, questions))
        return answer(self.model, self.tokenizer, prompts, self.new_tokens, self.batch)

    def require_room(self, question: str) -> None:
        """Refuse a question that leaves no room for an answer.

        Raises:
            InputError: question and answer together are longer than the model's context.
        """
        from data.wordings import question_prompt
        from models.packing import token_ids

        context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        (ids,) = token_ids(self.tokenizer, [question_prompt(question)])
        asked = len(ids) + 1  # the end-of-text token opens every prompt
        if context is not None and asked + self.new_tokens > context:
            raise InputError(
                f"The question takes {asked:,} tokens, and the model has room for {context - self.new_tokens:,} beside "
                f"an answer of {self.new_tokens:,}. Ask a shorter one."
            )


def pointer(workspace: Workspace) -> ServingPointer | None:
    """Which version answers; None: nothing was promoted yet."""
    return read_record(workspace.serving, ServingPointer) if workspace.serving.is_file() else None


def fetch_weights(workspace: Workspace, version: int) -> Weights:
    """The version's weights on this machine, checked against the digests they were registered with.

    Raises:
        InputError: there is no such version, or its files were exchanged.
        OutsideError: MLflow is out of reach.
    """
    from tasks import registry

    config, parts = registry.model_parts(registry.fetch_model(workspace, version))
    base = parts.get("base", Path(config["base"]))
    if not base.is_dir():  # a large base is named, not copied, and may have moved with its workspace
        base = Path(workspace.base())
    weights = Weights(
        base=_below(workspace, base),
        base_digest=config["base_digest"],
        adapter=_below(workspace, parts["adapter"]) if "adapter" in parts else None,
        adapter_digest=config["adapter_digest"],
        new_tokens=config["new_tokens"],
        batch=config["batch"],
    )
    check(absolute(workspace, weights))
    return weights


def point_to(workspace: Workspace, version: int) -> ServingPointer:
    """Let the ledger's champion answer from now on.

    Raises:
        PersonNeededError: the ledger's champion is another version.
        InputError: its files are not those that were registered.
    """
    from tasks import ledger, registry
    from tasks.places import ledger_uri

    entry = ledger.require_champion(ledger_uri(workspace), version)
    if entry.action == Action.INTEND:
        raise PersonNeededError(
            f"The switch to version {version} is not committed. Finish or undo it with: relearn doctor."
        )
    target = ServingPointer(
        version=version,
        model=registry.get_version(workspace, version).source,
        entry=entry.number,
        weights=fetch_weights(workspace, version),
    )
    write_record(workspace.serving, target)
    return target


def probe(workspace: Workspace, weights: Weights) -> Probe:
    """Load a version from where it will serve, and let it answer.

    Raises:
        PersonNeededError: its outputs are no finite numbers.
        InputError: a folder is missing or is not what was registered.
    """
    import torch

    from data.wordings import question_prompt
    from models.generation import last_logits

    torch.set_num_threads(workspace.params().train.threads)
    loaded = load(absolute(workspace, weights))
    logits_QV = last_logits(loaded.model, loaded.tokenizer, [question_prompt(question) for question in PROBED])
    if not bool(torch.isfinite(logits_QV).all()):
        raise PersonNeededError(
            "The version answers with numbers that are not finite, so it cannot serve. Reject it, and let relearn run "
            "make another."
        )
    return Probe(answers=tuple(loaded.answers(PROBED)), digest=digest_bytes(logits_QV.numpy().tobytes()))


def ask(workspace: Workspace, question: str) -> tuple[str, int]:
    """The champion's answer and its version.

    Raises:
        InputError: nothing was promoted yet, the weights are not those that were promoted, or the question is empty
            or too long for the model.
        PersonNeededError: the ledger was tampered with or lost.
    """
    if not question.strip():
        raise InputError('The question is empty. Ask one in words: relearn ask "What is ...?"')
    loaded, version = load_champion(workspace)
    loaded.require_room(question)
    return loaded.answers([question])[0], version


def load_champion(workspace: Workspace) -> tuple[Loaded, int]:
    """The weights of the ledger's champion, for one who answers many questions.

    Where the pointer does not follow the ledger they are looked up; where the ledger is out of reach it is the last
    word that is known.

    Raises:
        InputError: nothing was promoted yet, or the weights are not those that were promoted.
        PersonNeededError: the ledger was tampered with or lost.
    """
    target, champion = pointer(workspace), _champion(workspace)
    if target is not None and champion in (target.version, None):
        return load(absolute(workspace, target.weights)), target.version
    if champion is None:
        raise InputError(f"Nothing answers in {workspace.root} yet. Train the first version with: relearn run.")
    return load(absolute(workspace, fetch_weights(workspace, champion))), champion


def _champion(workspace: Workspace) -> int | None:
    """The ledger's champion; None: it is out of reach, or nothing was ever promoted.

    Raises:
        PersonNeededError: a version serves, and the ledger that put it there knows of none.
    """
    from tasks import ledger
    from tasks.places import ledger_uri

    try:
        state = ledger.state(ledger_uri(workspace))
    except OutsideError:
        return None
    target = pointer(workspace)
    if state.champion is None and target is not None:
        raise ledger.lost(ledger_uri(workspace), target.version, target.entry)
    return state.version


def absolute(workspace: Workspace, weights: Weights) -> Weights:
    """The same weights with their folders resolved below the workspace."""
    folders: dict[str, Any] = {"base": str(workspace.root / weights.base)}
    if weights.adapter is not None:
        folders["adapter"] = str(workspace.root / weights.adapter)
    return weights.model_copy(update=folders)


def load(weights: Weights, device: str = "cpu") -> Loaded:
    """Read the weights into memory.

    Raises:
        InputError: a folder is missing or is not what was registered.
    """
    from models.adapters import load_adapter
    from models.base import load_base

    check(weights)
    base, tokenizer = load_base(weights.base, device)
    model = base if weights.adapter is None else load_adapter(base, Path(weights.adapter), weights.base_digest)
    # PEFT's wrapper hands everything on to the model inside
    return Loaded(cast("PreTrainedModel", model), tokenizer, weights.new_tokens, weights.batch)


def check(weights: Weights) -> None:
    """Refuse folders that are not what was registered.

    Raises:
        InputError: a folder is missing or has another digest.
    """
    for what, folder, digest in (
        ("base", weights.base, weights.base_digest),
        ("adapter", weights.adapter, weights.adapter_digest),
    ):
        found = digest_tree(Path(folder)) if folder and digest else digest
        if found != digest:
            raise InputError(
                f"The {what} in {folder} has digest {found[:12]}, but {digest[:12]} was registered. Restore "
                "the folder, or promote another version with: relearn promote VERSION --reason WHY."
            )


def _below(workspace: Workspace, folder: Path) -> str:
    """Relative inside the workspace, so that a workspace can be moved."""
    root = workspace.root.resolve()
    return folder.relative_to(root).as_posix() if folder.is_relative_to(root) else str(folder)
