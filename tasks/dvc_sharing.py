"""DVC as other machines see it: a repository to begin with, the documents as they were read, and the remote."""

from pathlib import Path

from data.errors import OutsideError
from data.workspace import Workspace
from tasks.versioning import load, lower_voice, opened, translated


def start(folder: Path, remote: str | None) -> None:
    """Make a DVC repository of a git repository, without usage reports.

    Raises:
        OutsideError: DVC refuses.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    lower_voice()
    try:
        with Repo.init(str(folder)) as repo, repo.config.edit("repo") as config:
            config["core"] |= {"analytics": False, "check_update": False, "autostage": False}
            if remote is not None:
                config["core"]["remote"] = "origin"
                config["remote"]["origin"] = {"url": remote}
    except DvcException as error:
        raise translated(error) from error


def keep_documents(workspace: Workspace) -> None:
    """Keep the documents folder itself as it was read (``dvc add``), so that another machine gets the same files.

    The folder stays as it is; nothing in it becomes a link.

    Raises:
        OutsideError: the documents changed since stage ``ingest`` read them; or DVC failed.
    """
    folder = workspace.documents.relative_to(workspace.root).as_posix()
    with opened(workspace) as repo:
        (kept,) = repo.add(folder, relink=False)
        read = next(dep for dep in load(repo, workspace, "ingest").deps if dep.def_path == folder)
        if kept.outs[0].hash_info != read.hash_info:
            raise OutsideError(
                f"{workspace.documents} changed while its files were kept. Run the same command again; it takes up "
                "the change."
            )


def push(workspace: Workspace) -> int | None:
    """Copy what this revision names to the DVC remote; the number of files copied, None where no remote is set.

    Raises:
        OutsideError: the remote is out of reach, or refuses.
    """
    with opened(workspace) as repo:
        remote = repo.config["core"].get("remote")
        if remote is None:
            return None
        try:
            return int(repo.push())
        except OSError as error:
            raise OutsideError(
                f"The DVC remote {remote} is out of reach ({error}). See that it answers (dvc remote list), then run "
                "the same command again."
            ) from error
