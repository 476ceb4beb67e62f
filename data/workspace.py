"""Where everything rests in a workspace: the one place that knows a path."""

from dataclasses import dataclass, replace
from pathlib import Path

from data.errors import InputError
from data.files import read_value, write_json
from data.params import Params, load_params

STAGES = ("ingest", "synthesize", "train", "audit", "assess")
MODEL_FILES = ("config.json", "*.safetensors", "tokenizer*")
"""What the folder of any base holds."""
PROJECT_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Workspace:
    """The folder one deployment works in."""

    root: Path
    settings: Params | None = None
    """Those that a cycle began with, whatever is edited meanwhile; None: what ``params.yaml`` says now."""

    # what people write
    @property
    def params_file(self) -> Path:
        return self.root / "params.yaml"

    @property
    def documents(self) -> Path:
        """The input folder that people and exports write to."""
        return self.root / "data" / "documents"

    @property
    def probes(self) -> Path:
        """Hand-checked questions, ``*.jsonl``; never trained on."""
        return self.root / "data" / "probes"

    # what stages write (DVC outputs)
    @property
    def collection(self) -> Path:
        """``snapshot.json`` and ``texts.jsonl``, the normalised texts."""
        return self.root / "data" / "collection"

    @property
    def synthetic(self) -> Path:
        """``rows.jsonl``, ``changes.jsonl``, ``questions.jsonl`` and ``report.json``."""
        return self.root / "data" / "synthetic"

    @property
    def adapter(self) -> Path:
        """PEFT adapter (safetensors) and ``training.json``."""
        return self.root / "data" / "adapter"

    @property
    def spectral(self) -> Path:
        """``report.json``: the spectral report."""
        return self.root / "data" / "spectral"

    @property
    def evaluation(self) -> Path:
        """``report.json`` and ``answers.jsonl``."""
        return self.root / "data" / "evaluation"

    def metrics(self, stage: str) -> Path:
        """Figures of a stage for ``dvc metrics``."""
        return self.root / "data" / "metrics" / f"{stage}.json"

    # what DVC writes
    @property
    def dvc_lock(self) -> Path:
        """What DVC recorded of each stage."""
        return self.root / "dvc.lock"

    @property
    def kept_documents(self) -> Path:
        """What DVC keeps of the documents folder, in a workspace whose cycles are commits."""
        return self.documents.with_suffix(".dvc")

    # what a cycle fixes before its first stage (DVC dependencies)
    @property
    def inputs(self) -> Path:
        """Small files that fix a cycle's inputs: accepted snapshot, mode, digests of base and code."""
        return self.root / "data" / "inputs"

    @property
    def accepted(self) -> Path:
        """The last accepted snapshot, with the loss a person has accepted, if any."""
        return self.inputs / "accepted.json"

    @property
    def fixed_for(self) -> Path:
        """``{"key": digest}``: of the cycle that the inputs were written down for."""
        return self.inputs / "key.json"

    @property
    def mode(self) -> Path:
        """``{"quick": bool}``, and under ``--quick`` the block's values, so that editing it touches no other cycle."""
        return self.inputs / "mode.json"

    @property
    def unreadable(self) -> Path:
        """``{"documents": [path]}``: files of the documents folder that nobody could read when the cycle began."""
        return self.inputs / "unreadable.json"

    @property
    def withheld(self) -> Path:
        """Documents that no stage may draw on, though they may lie in the folder (data/withheld.py)."""
        return self.inputs / "withheld.json"

    def code(self, stage: str) -> Path:
        """Digest of the code that a stage imports."""
        return self.inputs / "code" / f"{stage}.json"

    @property
    def base_digest(self) -> Path:
        """Digest of the base's files."""
        return self.inputs / "base.json"

    # state, in no version control
    @property
    def state(self) -> Path:
        """Ledger, MLflow and Prefect databases, caches, checkpoints, reports, the lock."""
        return self.root / ".relearn"

    @property
    def cycle(self) -> Path:
        """Inputs and outcome of the last cycle; tells at once whether anything changed."""
        return self.state / "cycle.json"

    @property
    def switch(self) -> Path:
        """``{"version": int}``: a person's promotion that may not have been told to the hooks yet."""
        return self.state / "switch.json"

    @property
    def judged(self) -> Path:
        """A candidate with its verdict, from before its registration to the end of its cycle."""
        return self.state / "judged.json"

    @property
    def attempt(self) -> Path:
        """The last cycle that a trigger began, and how it ended."""
        return self.state / "attempt.json"

    def snapshot_file(self, digest: str) -> Path:
        """A snapshot that a cycle worked on, kept so that later ones can be compared with it."""
        return self.state / "snapshots" / f"{digest}.json"

    def texts_file(self, digest: str) -> Path:
        """The normalised texts of a snapshot that a cycle worked on, kept so that a report can show what changed."""
        return self.state / "texts" / f"{digest}.jsonl"

    @property
    def serving(self) -> Path:
        """The serving pointer: which version answers."""
        return self.state / "serving.json"

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def watch_lock(self) -> Path:
        """Held by the one process that watches."""
        return self.state / "watch"

    @property
    def reports(self) -> Path:
        """HTML reports, one per version."""
        return self.state / "reports"

    @property
    def checkpoints(self) -> Path:
        """Training checkpoints, one folder per set of training inputs."""
        return self.state / "checkpoints"

    @property
    def teacher_cache(self) -> Path:
        """What a teacher wrote, by document digest, recipe and teacher."""
        return self.state / "cache" / "teacher"

    @property
    def endpoint_cache(self) -> Path:
        """Answers of a teacher behind an endpoint, one file per call; they cost money, so nothing deletes them."""
        return self.teacher_cache / "endpoint"

    @property
    def looked(self) -> Path:
        """What the last look at the documents folder read, by path and times."""
        return self.state / "cache" / "documents.json"

    @property
    def conversions(self) -> Path:
        """The texts of office files, by the digest of file and reader."""
        return self.state / "cache" / "conversions"

    @property
    def base_spectra(self) -> Path:
        """The spectra of bases' layers, one file per base and way of computing them."""
        return self.state / "cache" / "spectra"

    @property
    def champion_answers(self) -> Path:
        """What the champion answered to the last candidate's questions."""
        return self.state / "cache" / "champion.json"

    def spectra_file(self, version: int) -> Path:
        """The spectral report of a registered version, as it was fetched: what accepted adapters look like."""
        return self.state / "spectra" / f"{version}.json"

    def evidence(self, version: int) -> Path:
        """What a version's verdict rests on, as it is attached to its run."""
        return self.state / "evidence" / f"v{version}"

    @property
    def data_docs(self) -> Path:
        """Great Expectations project; its Data Docs open at ``gx/uncommitted/data_docs/local_site``."""
        return self.state / "gx"

    def params(self) -> Params:
        """Parameters in force: ``params.yaml``, with the block ``quick`` laid over under ``--quick``."""
        params = self.written_params()
        return with_quick(params) if self.is_quick() else params

    def written_params(self) -> Params:
        """``params.yaml`` as it is written, or as it was when the cycle began."""
        return self.settings or load_params(self.params_file)

    def pinned(self) -> "Workspace":
        """The same workspace with the settings as they are now, for one who works for hours."""
        return replace(self, settings=load_params(self.params_file))

    def is_quick(self) -> bool:
        """Whether the current cycle is a quick one.

        Raises:
            InputError: ``mode.json`` is torn or says something else.
        """
        return self.mode.exists() and read_value(self.mode, "quick", bool)

    def set_quick(self, quick: bool) -> None:
        """Fix the mode of the next cycle."""
        values = self.written_params().quick.model_dump(mode="json") if quick else {}
        write_json(self.mode, {"quick": quick} | values)

    def base(self) -> str:
        """Folder of the base: in the workspace or the project, or where a Hugging Face id is fetched to.

        Raises:
            InputError: ``base`` in ``params.yaml`` is neither a folder nor an id.
        """
        name = self.written_params().base
        for root in (self.root, PROJECT_ROOT):
            if (root / name).is_dir():
                return str(root / name)
        if name.count("/") == 1 and not name.startswith((".", "/")):
            return str(self.state / "bases" / name.replace("/", "--"))
        raise InputError(
            f"The base {name!r} is neither a folder below {self.root} nor a Hugging Face id (owner/name). "
            "Set base in params.yaml."
        )


def open_workspace(root: Path) -> Workspace:
    """The workspace at ``root``.

    Raises:
        InputError: it has no ``params.yaml``.
    """
    workspace = Workspace(root.resolve())
    if not workspace.params_file.is_file():
        raise InputError(f"{root} has no params.yaml. Name a workspace with --workspace.")
    return workspace


def require_model(folder: Path) -> None:
    """Refuse a folder that holds no model at all, before anything is made from it.

    Raises:
        InputError: configuration, weights or tokenizer are missing.
    """
    lacking = [name for name in MODEL_FILES if not any(folder.glob(name))]
    if lacking:
        raise InputError(
            f"The base in {folder} lacks {', '.join(lacking)}; a causal language model in Hugging Face's layout is "
            "wanted. Set base in params.yaml."
        )


def with_quick(params: Params) -> Params:
    """``params`` with the block ``quick`` laid over the stages it speaks of."""
    quick = params.quick
    assess = {name: getattr(quick, name) for name in ("held_questions", "handbook_questions", "recall_statements")}
    return params.model_copy(
        update={
            "train": params.train.model_copy(update={"steps": quick.steps, "min_passes": 0.0}),
            "assess": params.assess.model_copy(update=assess),
        }
    )
