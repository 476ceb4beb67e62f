"""DVC as other machines see it: a repository to begin with, the documents as they were read, and the remote."""

from pathlib import Path

from data.errors import InputError, OutsideError
from data.workspace import Workspace
from tasks.versioning import load, lower_voice, no_client, opened, translated


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


def require_client(remote: str) -> None:
    """Refuse a remote that DVC could not push to from here.

    Raises:
        InputError: no such kind of remote is known, or the package that speaks to it is not installed.
    """
    from dvc.exceptions import DvcException
    from dvc.fs import get_cloud_fs

    try:
        client, _, _ = get_cloud_fs({}, url=remote)
    except ImportError as error:
        raise no_client(error) from error
    except DvcException as error:
        raise InputError(f"DVC knows no such remote ({error}). Name a folder, or an address of DVC's.") from error
    missing = client.get_missing_deps()
    if missing:
        raise no_client(ImportError(f"{', '.join(missing)} not installed"))


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
    from dvc.exceptions import FileTransferError

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
        except FileTransferError as error:  # DVC tells of a refusal by the number of files
            raise OutsideError(
                f"The DVC remote {remote} refused what was copied to it ({error}). See that it has room and may be "
                "written (dvc remote list), then run the same command again."
            ) from error
