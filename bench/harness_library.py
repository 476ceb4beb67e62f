"""EleutherAI's lm-evaluation-harness as a peer: its tasks by name, its prompts and metrics, on a model that is loaded.

It comes with the extra ``harness``. While it works (``contained``), nothing is fetched unless that is allowed, tasks'
templates run in Jinja's sandbox, and no metric's code is loaded from the Hugging Face hub, allowed or not.
"""

import contextlib
import difflib
import logging
import random
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from jinja2 import TemplateError
from jinja2.sandbox import SandboxedEnvironment
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bench.harness_folder import require_plain
from data.errors import InputError, OutsideError, quoted

VERSION = "0.4.13"
_NAMED = 3
"""Names that are offered in place of one that is unknown."""


@dataclass(frozen=True)
class Request:
    """What is asked, in the harness's terms."""

    tasks: tuple[str, ...]
    """Names of tasks, groups or tags."""
    include_path: Path | None = None
    """A folder with tasks beside the harness's own."""
    limit: int | None = None
    """Questions of each task; None: all."""
    num_fewshot: int | None = None
    """Examples before each question; None: as many as the task says."""
    batch_size: int = 8
    seed: int = 1234
    """Of the examples that are drawn, and of sampled answers; the harness's own default."""
    download: bool = False
    """Whether datasets may be fetched."""


def require_library() -> None:
    """See that the harness is there.

    Raises:
        InputError: it is not installed.
    """
    try:
        import lm_eval  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed; the tasks are those of lm-evaluation-harness {VERSION}. Run "
            "`make harness-setup`, or in the environment of relearn: pip install -c requirements.lock -e '.[harness]'."
        ) from error


@contextlib.contextmanager
def contained(download: bool) -> Iterator[list[str]]:
    """Keep the harness from running foreign code and, unless ``download``, from the network.

    Yields:
        The metrics that were to be loaded from the hub, as they are refused.
    """
    import datasets
    import evaluate
    from huggingface_hub import constants
    from lm_eval import utils

    refused: list[str] = []

    def refuse(path: str, *_: object, **__: object) -> NoReturn:
        refused.append(path)
        raise InputError(f"{path} is code of the Hugging Face hub, which this bench does not run.")

    sandbox = SandboxedEnvironment(undefined=utils.env.undefined, keep_trailing_newline=True)
    sandbox.filters.update(utils.env.filters)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_instead(utils, "env", sandbox))
        stack.enter_context(_instead(evaluate, "load", refuse))
        if not download:
            stack.enter_context(_instead(constants, "HF_HUB_OFFLINE", True))
            stack.enter_context(_instead(datasets.config, "HF_HUB_OFFLINE", True))
            stack.enter_context(_instead(socket, "getaddrinfo", _no_network))
        stack.enter_context(_quiet())
        yield refused


def _no_network(*_: object, **__: object) -> NoReturn:
    raise ConnectionError("nothing is downloaded without --download")


@contextlib.contextmanager
def _instead(owner: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The harness tells of every default that it takes; none of it is a result."""
    logger = logging.getLogger("lm_eval")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def load_tasks(request: Request, refused: Sequence[str]) -> dict[str, Any]:
    """What the harness calls a TaskDict: the tasks with their datasets, and their groups.

    Args:
        request: what is asked.
        refused: what ``contained`` yields.

    Raises:
        InputError: a name is unknown, a task runs code, or its data is not on this machine and may not be fetched.
        OutsideError: its data could not be fetched.
    """
    manager = _manager(request)
    for name in request.tasks:
        _require_known(manager, name)
    try:
        found: dict[str, Any] = manager.load(list(request.tasks))
    except Exception as error:  # whatever a task's own code raises
        _refuse_code(request.tasks, refused)
        raise _not_loaded(request, error) from error
    _refuse_code(request.tasks, refused)  # some tasks take the lack of a metric in silence
    unsafe = [name for name, task in found["tasks"].items() if getattr(task, "UNSAFE_CODE", False)]
    _refuse_code(unsafe, unsafe)
    for task in found["tasks"].values():
        own = task.get_config("num_fewshot")  # a task that says 0 is not to be asked otherwise
        if own is None or (own and request.num_fewshot is not None):
            task.set_config("num_fewshot", request.num_fewshot or 0)
    return found


def _manager(request: Request) -> Any:
    """The folder's own tasks alone where they are all that is asked: to index the others takes ten seconds."""
    from lm_eval.tasks import TaskManager

    if request.include_path is None:
        return TaskManager()
    require_plain(request.include_path)
    own = TaskManager(include_path=str(request.include_path), include_defaults=False)
    if all(name in own.all_subtasks for name in request.tasks):
        return own
    return TaskManager(include_path=str(request.include_path))


def _require_known(manager: Any, name: str) -> None:
    entry = manager.task_index.get(name)
    if entry is None:
        near = ", ".join(difflib.get_close_matches(name, manager.all_tasks, _NAMED)) or "none like it"
        raise InputError(
            f"{name} is no task, group or tag of lm-evaluation-harness {VERSION}, which has {near}. "
            "`lm_eval ls tasks` lists them all."
        )
    if (entry.cfg or {}).get("unsafe_code"):
        _refuse_code([name], [name])


def _refuse_code(tasks: Sequence[str], code: Sequence[str]) -> None:
    """Raise if there is any ``code``: metrics of the hub, or tasks that execute what a model wrote."""
    if code:
        raise InputError(
            f"{', '.join(tasks)}: this would run code that a model or somebody else wrote "
            f"({', '.join(dict.fromkeys(code))}), and this bench runs none. Name other tasks."
        )


def _not_loaded(request: Request, error: Exception) -> InputError | OutsideError:
    """What kept tasks from being loaded, in one sentence."""
    names = ", ".join(request.tasks)
    if isinstance(error, ModuleNotFoundError):
        return InputError(f"{names}: the package {error.name} is missing. Install it, or name other tasks.")
    if not isinstance(error, ConnectionError):
        return InputError(f"{names}: the harness could not load this ({quoted(error)}). Mend the task or its data.")
    if request.download:
        return OutsideError(f"{names}: the data could not be fetched ({quoted(error)}). Run the same command again.")
    return InputError(
        f"{names}: the data is not on this machine ({quoted(error)}), and nothing is fetched unasked. To allow it, "
        "run the same with --download."
    )


def language_model(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, batch_size: int) -> Any:
    """The harness's own model class around one that is loaded, with or without an adapter."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)


def require_room(found: dict[str, Any], lm: Any, request: Request) -> None:
    """See that the model reads every prompt whole; the harness would cut it at the front and say nothing.

    Raises:
        InputError: a prompt cannot be made, or is longer than the model's context.
    """
    _draw_anew(found, request.seed)
    for name, task in found["tasks"].items():
        try:
            task.build_all_requests(limit=request.limit)
        except (
            ValueError,
            KeyError,
            TypeError,
            AssertionError,
            TemplateError,
        ) as error:  # as fewer examples than asked
            raise InputError(
                f"{name}: the harness could not make its prompts ({quoted(error)}). Mend the task, or take fewer "
                "examples (--num-fewshot)."
            ) from error
        lengths = [_length(lm, one) for one in task.instances]
        longer = sum(length > lm.max_length for length in lengths)
        if longer:
            raise InputError(
                f"{longer} of the {len(lengths)} prompts of {name} are longer than the {lm.max_length:,} tokens that "
                f"this base reads; the longest has {max(lengths):,} with its answer. Take fewer examples "
                "(--num-fewshot), another task, or a base with a longer context."
            )


def _length(lm: Any, request: Any) -> int:
    """Tokens of a prompt with its answer; texts whose likelihood is summed up are read in windows and always fit."""
    from lm_eval.models.utils import normalize_gen_kwargs

    match request.request_type:
        case "generate_until":
            prompt, options = request.args
            return len(lm.tok_encode(prompt)) + int(normalize_gen_kwargs(options, lm.max_gen_toks)["max_gen_toks"])
        case "loglikelihood":
            return len(lm.tok_encode("".join(request.args)))
    return 0


def evaluate(found: dict[str, Any], lm: Any, request: Request) -> dict[str, Any]:
    """What the harness found, with every question (``samples``).

    Raises:
        InputError: a task cannot be asked of a language model, or its template is refused.
    """
    from lm_eval.evaluator import evaluate as run

    _draw_anew(found, request.seed)
    random.seed(request.seed)
    torch.manual_seed(request.seed)
    try:
        outcome: dict[str, Any] = run(lm=lm, task_dict=found, limit=request.limit)
    except (ValueError, KeyError, TypeError, AssertionError, TemplateError) as error:
        raise InputError(
            f"{', '.join(request.tasks)}: the harness could not ask this ({quoted(error)}). Name other tasks."
        ) from error
    return outcome


def _draw_anew(found: dict[str, Any], seed: int) -> None:
    """Every model gets the same examples before the same questions."""
    for task in found["tasks"].values():
        task.set_fewshot_seed(seed=seed)
