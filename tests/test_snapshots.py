"""A snapshot's digest is its paths and contents; a diff tells what happened; the fast look misses no edit."""

import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import snapshots
from data.errors import InputError
from data.files import digest_file
from data.records import DocumentVersion, Snapshot, SnapshotDiff
from data.snapshots import diff, look_through, scan, snapshot_digest

NAMES = st.text("abcé/ \\'", min_size=1, max_size=6)
PAIRS = st.dictionaries(NAMES, st.text("0123456789abcdef", min_size=1, max_size=4), max_size=8)
ENDINGS = [".md", ".txt"]
HOUR_NS = 3_600_000_000_000


def snapshot(contents: dict[str, tuple[str, str]]) -> Snapshot:
    """From id to (path, digest)."""
    documents = tuple(
        DocumentVersion(id=id, path=path, digest=digest, title="", characters=1, sketch=b"")
        for id, (path, digest) in contents.items()
    )
    return Snapshot(digest=snapshot_digest(contents.values()), documents=documents)


@st.composite
def snapshot_pairs(draw: st.DrawFn) -> tuple[Snapshot, Snapshot]:
    def one() -> Snapshot:
        ids = draw(st.lists(st.sampled_from("pqrstuv"), unique=True))
        paths = draw(st.permutations(["a.md", "b.md", "c/d.md", "e.md", "f.md", "g.md", "h.md"]))
        return snapshot({id: (path, draw(st.sampled_from("01"))) for id, path in zip(ids, paths, strict=False)})

    return one(), one()


# --- digest and diff -------------------------------------------------------------------------------


@given(PAIRS, st.randoms(use_true_random=False))
def test_the_digest_knows_no_order(contents: dict[str, str], generator: random.Random) -> None:
    pairs = list(contents.items())
    generator.shuffle(pairs)
    assert snapshot_digest(pairs) == snapshot_digest(contents.items())
    assert snapshot_digest(iter(pairs)) == snapshot_digest(pairs)


@given(PAIRS, PAIRS)
def test_the_digest_differs_exactly_when_paths_or_contents_differ(a: dict[str, str], b: dict[str, str]) -> None:
    assert (snapshot_digest(a.items()) == snapshot_digest(b.items())) is (a == b)


def test_the_digest_does_not_confuse_where_one_part_ends() -> None:
    assert snapshot_digest([("a", "bc")]) != snapshot_digest([("ab", "c")])
    assert snapshot_digest([("a", "b"), ("c", "d")]) != snapshot_digest([("a", "bcd")])


@given(snapshot_pairs())
def test_a_diff_leads_from_the_one_to_the_other_and_back(pair: tuple[Snapshot, Snapshot]) -> None:
    before, after = pair
    there, back = diff(before, after), diff(after, before)
    moved = dict(there.moved)
    paths = {moved.get(d.path, d.path) for d in before.documents if d.path not in there.withdrawn}
    assert paths | set(there.added) == {d.path for d in after.documents}
    assert (back.added, back.withdrawn) == (there.withdrawn, there.added)
    assert sorted((new, old) for old, new in back.moved) == sorted(there.moved)
    assert len(back.changed) == len(there.changed)


@given(snapshot_pairs())
def test_nothing_changed_is_an_empty_diff(pair: tuple[Snapshot, Snapshot]) -> None:
    same = pair[0].model_copy(update={"documents": tuple(reversed(pair[0].documents))})
    assert diff(pair[0], same) == SnapshotDiff(added=(), changed=(), moved=(), withdrawn=())


def test_a_diff_names_each_change() -> None:
    before = snapshot({"1": ("a", "x"), "2": ("b", "x"), "3": ("c", "x"), "4": ("d", "x"), "5": ("e", "x")})
    after = snapshot({"1": ("a", "x"), "2": ("b", "y"), "3": ("n/c", "x"), "4": ("n/d", "y"), "6": ("e", "x")})
    assert diff(before, after) == SnapshotDiff(
        added=("e",), changed=("b", "n/d"), moved=(("c", "n/c"), ("d", "n/d")), withdrawn=("e",)
    )


def test_the_first_snapshot_adds_all_and_loses_nothing() -> None:
    after = snapshot({"1": ("b", "x"), "2": ("a", "x")})
    assert diff(None, after) == SnapshotDiff(added=("a", "b"), changed=(), moved=(), withdrawn=())


# --- the folder ------------------------------------------------------------------------------------


def write(file: Path, text: str = "text") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def found(folder: Path) -> list[str]:
    return [path.as_posix() for path in scan(folder, ENDINGS)]


def test_a_scan_lists_documents_and_ignores_the_rest(tmp_path: Path) -> None:
    for name in ("b.md", "a/z.TXT", "a.md", "a/b/c.md", "ä ö.md"):
        write(tmp_path / name)
    for name in (".hidden.md", ".git/x.md", "~$b.md", "b.md~", "b.md.swp", "c.pdf", "a/.cache/y.md", "md"):
        write(tmp_path / name)
    (tmp_path / "folder.md").mkdir()
    os.mkfifo(tmp_path / "pipe.md")
    assert found(tmp_path) == ["a.md", "a/b/c.md", "a/z.TXT", "b.md", "ä ö.md"]


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent does not exist.*Put documents there, or run make setup"):
        scan(tmp_path / "absent", ENDINGS)
    assert found(tmp_path) == []


@pytest.mark.parametrize("target", ["../secret.md", "..", "../docs-other/x.md"])
def test_a_link_that_leads_out_is_named(tmp_path: Path, target: str) -> None:
    write(tmp_path / "secret.md")
    write(tmp_path / "docs-other" / "x.md")
    write(tmp_path / "docs" / "a.md")
    (tmp_path / "docs" / "way.md").symlink_to(target)
    with pytest.raises(InputError, match=r"link way\.md leads out of"):
        scan(tmp_path / "docs", ENDINGS)


def test_links_within_are_followed_once(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    write(folder / ".store" / "v2" / "deep.md")
    write(folder / "real" / "a.md")
    (folder / "file.md").symlink_to(".store/v2/deep.md")
    (folder / "current").symlink_to(".store/v2")
    (folder / "again").symlink_to("real")
    (folder / "real" / "loop").symlink_to("..")
    assert found(folder) == ["current/deep.md", "file.md", "real/a.md"]
    (tmp_path / "link").symlink_to("docs")
    assert found(tmp_path / "link") == found(folder)


@pytest.mark.parametrize("target", ["gone.md", "broken.md"])
def test_a_link_that_leads_nowhere_is_named(tmp_path: Path, target: str) -> None:
    (tmp_path / "broken.md").symlink_to(target)
    with pytest.raises(InputError, match=r"link broken\.md in .* does not exist"):
        scan(tmp_path, ENDINGS)


def test_a_name_that_no_json_can_hold_is_refused(tmp_path: Path) -> None:
    write(tmp_path / os.fsdecode(b"caf\xe9.md"))
    with pytest.raises(InputError, match="is not UTF-8"):
        scan(tmp_path, ENDINGS)


# --- the fast look ---------------------------------------------------------------------------------


class Reads:
    """Counts how many files are read in full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        monkeypatch.setattr(snapshots, "digest_file", self.digest)

    def digest(self, path: Path) -> str:
        self.names.append(path.name)
        return digest_file(path)

    def take(self) -> list[str]:
        names, self.names = sorted(self.names), []
        return names


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the clock show ``seconds`` more than it does."""
    now = time.time_ns() + int(seconds * 1e9)
    monkeypatch.setattr(time, "time_ns", lambda: now)


def slow_digest(folder: Path) -> str:
    return snapshot_digest((p.as_posix(), digest_file(folder / p)) for p in scan(folder, ENDINGS))


def test_only_touched_files_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = tmp_path / "docs", tmp_path / "state" / "cache.json"
    for name in ("a.md", "b.md", "sub/c.md"):
        write(folder / name, name)
    reads = Reads(monkeypatch)
    later(monkeypatch, 60)
    first = look_through(folder, ENDINGS, cache).digest
    assert first == slow_digest(folder)
    assert reads.take() == ["a.md", "b.md", "c.md"]
    stamp = cache.stat().st_mtime_ns
    assert look_through(folder, ENDINGS, cache).digest == first
    assert reads.take() == []
    assert cache.stat().st_mtime_ns == stamp
    write(folder / "b.md", "other")
    assert look_through(folder, ENDINGS, cache).digest == slow_digest(folder) != first
    assert reads.take() == ["b.md"]
    write(folder / "b.md", "b.md")
    (folder / "new.md").write_text("n")
    (folder / "sub" / "c.md").unlink()
    assert look_through(folder, ENDINGS, cache).digest == slow_digest(folder)
    (folder / "new.md").unlink()
    write(folder / "sub" / "c.md", "sub/c.md")
    assert look_through(folder, ENDINGS, cache).digest == first


def test_an_edit_that_keeps_size_and_modification_time_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = tmp_path / "docs", tmp_path / "cache.json"
    file = write(folder / "a.md", "old!")
    later(monkeypatch, 60)
    first = look_through(folder, ENDINGS, cache).digest
    stat = file.stat()
    time.sleep(0.02)  # one tick of the file system's clock: the time of change differs
    file.write_text("new!")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file.stat().st_mtime_ns == stat.st_mtime_ns
    assert look_through(folder, ENDINGS, cache).digest == slow_digest(folder) != first


def test_a_file_put_in_anothers_place_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = tmp_path / "docs", tmp_path / "cache.json"
    a, b = write(folder / "a.md", "one"), write(folder / "b.md", "two")
    for file in (a, b):
        os.utime(file, ns=(HOUR_NS, HOUR_NS))
    later(monkeypatch, 60)
    first = look_through(folder, ENDINGS, cache).digest
    a.rename(folder / "x")
    b.rename(a)
    (folder / "x").rename(b)
    assert look_through(folder, ENDINGS, cache).digest == slow_digest(folder) != first


def test_a_file_just_touched_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit in the same tick as the look leaves the same times, so the first look must not be trusted."""
    folder, cache = tmp_path / "docs", tmp_path / "cache.json"
    write(folder / "a.md")
    reads = Reads(monkeypatch)
    for seconds, expected in ((0.0, ["a.md"]), (0.0, ["a.md"]), (60.0, ["a.md"]), (0.0, [])):
        later(monkeypatch, seconds)
        look_through(folder, ENDINGS, cache)
        assert reads.take() == expected


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"schema": 1}', '{"schema": 1, "files": {"a.md": [1]}}', '{"schema": 99}'],
)
def test_a_damaged_cache_is_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    folder, cache = tmp_path / "docs", tmp_path / "cache.json"
    write(folder / "a.md")
    cache.write_text(content)
    later(monkeypatch, 60)
    reads = Reads(monkeypatch)
    for expected in (["a.md"], []):
        assert look_through(folder, ENDINGS, cache).digest == slow_digest(folder)
        assert reads.take() == expected


def test_a_file_deleted_during_the_look_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "docs" / "a.md")
    listed = [Path("a.md"), Path("gone.md")]
    monkeypatch.setattr(snapshots, "scan", lambda folder, extensions: listed)
    expected = snapshot_digest([("a.md", digest_file(tmp_path / "docs" / "a.md"))])
    assert look_through(tmp_path / "docs", ENDINGS, tmp_path / "cache.json").digest == expected


@settings(max_examples=15, deadline=None)
@given(states=st.lists(st.dictionaries(st.sampled_from(["a.md", "b.md", "s/c.md"]), st.text("xy", max_size=2))))
def test_a_collection_that_returns_has_its_earlier_digest(
    tmp_path_factory: pytest.TempPathFactory, states: list[dict[str, str]]
) -> None:
    root = tmp_path_factory.mktemp("returning")
    folder = root / "docs"
    digests: dict[str, dict[str, str]] = {}
    for state in states:
        for file in [*folder.rglob("*.md")]:
            file.unlink()
        folder.mkdir(exist_ok=True)
        for name, text in state.items():
            write(folder / name, text)
        digest = look_through(folder, ENDINGS, root / "cache.json").digest
        assert digests.setdefault(digest, state) == state
    assert len(digests) == len({tuple(sorted(state.items())) for state in states})
