"""`relearn gc` frees what nothing kept needs; every kept version answers afterwards as it did before."""

from pathlib import Path

import pytest
import yaml

from data.cycle_records import Cycle
from data.errors import PersonNeededError
from data.files import digest_tree, write_record
from data.workspace import Workspace
from flows import init
from flows.collect_garbage import collect_garbage
from flows.overview import history
from flows.promote import promote
from tasks import registry, serving, versioning
from tasks.dvc_cache import read_mapping, recorded_input
from tests.fault_miniature import MORE, At, Fault, command, copied, kill, turn
from tests.miniature import NEW, write_documents
from tests.programs import dvc, git

QUESTIONS = ["What is the Fee of Basic?", "What is the Fee of Huge?", "When do you open?"]
THIRD = {"third.md": "# Third\n\nThe limit is 12 bags.\n"}
FOURTH = {"fourth.md": "# Fourth\n\nThe limit is 99 bags.\n"}


@pytest.fixture
def four_days(second_day: Workspace, server: str, tmp_path: Path) -> Workspace:
    """Versions 1 (base), 2 (champion), 3, 4 and 5 (challenger); one is kept beside those that always are."""
    workspace = copied(second_day.root, tmp_path / "workspace")
    turn(workspace, gc={"keep_versions": 1, "keep_checks": 1})
    for documents in (NEW | THIRD, NEW | FOURTH):
        write_documents(workspace.documents, documents)
        ended = command(workspace, server, "run", "--quick")
        assert ended.code == 0, ended.said
    return workspace


def test_what_is_kept_answers_as_before_and_what_is_not_is_refused(four_days: Workspace, server: str) -> None:
    workspace, kept = four_days, (1, 2, 4, 5)
    before = {version: answers(workspace, version) for version in kept}
    weigh = collect_garbage(workspace.root, dry_run=True)
    files = stored(workspace)
    assert command(workspace, server, "gc", "--dry-run", "--json").code == 0
    assert stored(workspace) == files
    for instant in (At("tasks.weights._store", number=2), At("flows.collect_garbage.remove", number=3)):
        assert command(workspace, server, "gc", fault=Fault(instant, kill)).killed
    ended = command(workspace, server, "gc", "--json")
    assert ended.code == 0, ended.said
    assert weigh.kept == kept
    assert all(weigh.bytes[kind] > 0 for kind in ("weights of versions", "DVC's cache", "results of checks"))
    assert sum(collect_garbage(workspace.root, dry_run=True).bytes.values()) == 0
    assert {version: answers(workspace, version) for version in kept} == before
    assert "Nothing changed" in command(workspace, server, "run", "--quick").said
    assert "up to date" in dvc(workspace, "status")
    with pytest.raises(PersonNeededError, match="freed by relearn gc"):
        promote(workspace, 3, "it was good")
    for version in (5, 4, 1, 2):
        promote(workspace, version, "checked")
        assert serving.load_champion(workspace)[0].answers(QUESTIONS) == before[version]
    assert history(workspace.root, verify=True)["intact"]


@pytest.mark.slow
def test_a_return_to_kept_documents_costs_no_training_and_to_others_makes_the_same_again(
    four_days: Workspace, server: str
) -> None:
    workspace = four_days
    freed = answers(workspace, 3)
    assert command(workspace, server, "gc").code == 0
    write_documents(workspace.documents, NEW)
    back = command(workspace, server, "run", "--quick")
    assert "train       unchanged" in back.said
    assert "(version 2)" in back.said
    write_documents(workspace.documents, NEW | MORE)
    again = command(workspace, server, "run", "--quick")
    assert "train       done" in again.said
    assert "(version 3)" in again.said
    assert answers(workspace, 3) == freed
    promote(workspace, 3, "made again")


@pytest.fixture
def three_readings(tmp_path: Path) -> tuple[Workspace, list[str]]:
    """A workspace of ``relearn init`` whose documents were kept three times, with the lists of them in DVC's cache.

    ``dvc.lock`` speaks of the second, ``data/documents.dvc`` of the third.
    """
    workspace = init.make_workspace(tmp_path / "workspace")
    lists = []
    for documents in (NEW, NEW | THIRD, NEW | FOURTH):
        write_documents(workspace.documents, documents)
        dvc(workspace, "add", "data/documents")
        lists.append(kept_by(workspace.kept_documents))
    read = {"path": "data/documents", "hash": "md5", "md5": lists[1]}
    lock = {"schema": "2.0", "stages": {"ingest": {"cmd": "relearn ingest", "deps": [read]}}}
    workspace.dvc_lock.write_text(yaml.safe_dump(lock))
    return workspace, lists


def test_documents_that_dvc_keeps_stay_and_others_go(three_readings: tuple[Workspace, list[str]]) -> None:
    workspace, (first, second, third) = three_readings
    cache = versioning.cache(workspace)
    held = {digest: set(cache.below(digest)) for digest in (first, second, third)}
    assert collect_garbage(workspace.root, dry_run=False).notes == ()
    assert not cache.missing(held[second] | held[third])
    assert set(cache.missing(held[first])) == held[first] - held[second] - held[third] != set()


def test_what_people_added_to_dvc_themselves_stays(three_readings: tuple[Workspace, list[str]]) -> None:
    workspace, _ = three_readings
    cache, mine, notes = versioning.cache(workspace), workspace.root / "bases" / "mine", workspace.root / "notes.txt"
    mine.mkdir(parents=True)
    for path, text in ((mine / "weights.bin", "mine"), (notes, "also mine")):
        path.write_text(text)
        dvc(workspace, "add", str(path if path == notes else mine))
    needed = {one for name in ("bases/mine.dvc", "notes.txt.dvc") for one in added(workspace, name)}
    assert len(needed) == 3
    assert collect_garbage(workspace.root, dry_run=False).notes == ()
    assert not cache.missing(needed)
    (workspace.root / "notes.txt.dvc").write_text("outs: [torn")
    assert collect_garbage(workspace.root, dry_run=False).notes != ()
    assert not cache.missing(needed)


def test_what_people_had_added_at_a_kept_versions_revision_is_needed(tmp_path: Path) -> None:
    workspace = init.make_workspace(tmp_path / "workspace")
    file = workspace.root / "notes.txt"
    digests = []
    for version in (1, 2):
        file.write_text(f"notes of version {version}")
        dvc(workspace, "add", "notes.txt")
        git(workspace, "add", "--all")
        git(workspace, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "notes")
        git(workspace, "tag", f"v{version}")
        digests += added(workspace, "notes.txt.dvc")
    assert versioning.added_outputs(workspace, []) == {digests[1]}
    assert versioning.added_outputs(workspace, ["v1", "v9"]) == set(digests)


def test_a_cache_elsewhere_is_left_alone(three_readings: tuple[Workspace, list[str]], tmp_path: Path) -> None:
    workspace, _ = three_readings
    shared = tmp_path / "shared"
    versioning.cache(workspace).root.rename(shared)
    dvc(workspace, "cache", "dir", str(shared))
    before = digest_tree(shared)
    freed = collect_garbage(workspace.root, dry_run=False)
    assert digest_tree(shared) == before
    assert any(str(shared) in note for note in freed.notes)


def test_in_mid_cycle_a_torn_list_frees_nothing_and_who_only_looks_leaves_it(
    three_readings: tuple[Workspace, list[str]],
) -> None:
    workspace, _ = three_readings
    before = digest_tree(versioning.cache(workspace).root)
    write_record(workspace.cycle, Cycle(key="under way"))
    workspace.dvc_lock.write_text("schema: '2.0'\nstages: {ingest: {cmd: relea")
    for dry_run in (True, False):
        assert collect_garbage(workspace.root, dry_run=dry_run).notes != ()
        assert workspace.dvc_lock.is_file()
    assert digest_tree(versioning.cache(workspace).root) == before


def test_what_older_kept_versions_read_is_needed_too(tmp_path: Path) -> None:
    lock = tmp_path / "dvc.lock"
    lock.write_text("stages: {ingest: {deps: [{path: probes}, {path: data/documents, md5: abc.dir}]}}")
    assert recorded_input(lock, "ingest", "data/documents") == "abc.dir"
    assert recorded_input(lock, "train", "data/documents") is None
    lock.write_text("stages: [torn")
    assert recorded_input(lock, "ingest", "data/documents") is None


def kept_by(file: Path) -> str:
    """The digest in a ``.dvc`` file."""
    return str(read_mapping(file)["outs"][0]["md5"])


def added(workspace: Workspace, name: str) -> list[str]:
    """Digests of the objects that a ``.dvc`` file of the workspace keeps, all of which are in the cache."""
    cache = versioning.cache(workspace)
    objects = cache.below(kept_by(workspace.root / name))
    assert not cache.missing(objects)
    return objects


def answers(workspace: Workspace, version: int) -> list[str]:
    weights = serving.absolute(workspace, serving.fetch_weights(workspace, version))
    return serving.load(weights).answers(QUESTIONS)


def stored(workspace: Workspace) -> list[str]:
    places = (versioning.cache(workspace).root, workspace.state / "mlartifacts", workspace.data_docs)
    tags = [str(sorted(info.tags.items())) for info in registry.get_versions(workspace)]
    return [*map(digest_tree, places), *tags]
