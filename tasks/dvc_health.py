"""Whether DVC's part of a workspace is whole: lock, cache and remote; what is damaged is dropped and cached anew."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.workspace import Workspace
from tasks.dvc_cache import recorded_outputs
from tasks.dvc_locks import dead_holders, is_torn
from tasks.versioning import cache_of, load, opened, repository_lock

if TYPE_CHECKING:
    from dvc.repo import Repo


@dataclass(frozen=True)
class Health:
    """What a look at DVC's part of a workspace found."""

    torn: bool
    """``dvc.lock`` could not be read."""
    dead_holders: bool
    """A lock of DVC named a process that is gone."""
    objects: int
    """Files of the cache that ``dvc.lock`` needs."""
    damaged: int
    missing: int
    remote: bool | None
    """Whether the remote answers; None: there is none."""


def examine(workspace: Workspace, mend: bool) -> Health:
    """Look at lock, cache and remote; drop what is torn, damaged or held by the dead if ``mend`` says so.

    A damaged or missing object is made again from the output in the workspace where that is still the recorded one.

    Raises:
        InputError: the workspace is no DVC repository.
        OutsideError: DVC failed, or another process holds its lock.
    """
    torn, dead = is_torn(workspace), dead_holders(workspace.root / ".dvc" / "tmp") is not None
    with opened(workspace, mend) as repo:
        cache = cache_of(repo)
        wanted = {
            one for outs in recorded_outputs(workspace.dvc_lock).values() for out in outs for one in cache.below(out)
        }
        damaged = cache.drop_damaged(wanted) if mend else [digest for digest in wanted if cache.is_damaged(digest)]
        lost = len(cache.missing(wanted)) - (len(damaged) if mend else 0)
        if mend and (damaged or lost):
            _cache_again(repo, workspace)
            lost = len(cache.missing(wanted))
        return Health(torn, dead, len(wanted), len(damaged), lost, _remote_answers(repo))


def _cache_again(repo: "Repo", workspace: Workspace) -> None:
    """Put outputs that lie in the workspace as recorded back into the cache."""
    with repository_lock(repo):
        for name in recorded_outputs(workspace.dvc_lock):
            stage = load(repo, workspace, name)
            if all(output.exists and not output.changed_checksum() for output in stage.outs):
                stage.commit()


def _remote_answers(repo: "Repo") -> bool | None:
    if not repo.config["core"].get("remote"):
        return None
    try:
        remote = repo.cloud.get_remote_odb()
        remote.fs.info(remote.path)
    except FileNotFoundError as error:  # nothing was pushed yet; over HTTP a refused connection is its cause
        return not isinstance(error.__cause__, OSError)
    except Exception:  # whatever the client of this kind of store raises
        return False
    return True
