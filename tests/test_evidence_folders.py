"""What is kept of every version: complete, signed by the ledger's digest, back from MLflow, and without a password."""

import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from data.errors import InputError, PersonNeededError
from data.evaluation_records import Verdict
from data.evidence_records import LearnedFrom, Provenance
from data.files import digest_file, read_record, write_json, write_record, write_text
from data.workspace import Workspace, open_workspace
from tasks import registry
from tasks.candidate import Candidate
from tasks.evidence import read_evidence, write_base_evidence, write_evidence
from tasks.model_card import model_card
from tasks.registry import VersionInfo
from tests.registry_miniature import base_digest, make_candidate, make_workspace

PASSWORD = "hunter2"


@dataclass(frozen=True)
class Kept:
    """A workspace with the base and one candidate, their evidence written."""

    workspace: Workspace
    made: Candidate
    base: VersionInfo
    candidate: VersionInfo
    digest: str
    """Of the candidate's manifest."""

    @property
    def folder(self) -> Path:
        return self.workspace.evidence(self.candidate.version)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Kept:
    workspace = _with_a_password(make_workspace(tmp_path_factory.mktemp("evidence"), weights))
    digest = base_digest(workspace)
    base = registry.register_base(workspace, workspace.base(), digest)
    write_base_evidence(workspace, base, workspace.base(), digest)
    made = make_candidate(workspace, weights, "monday", Verdict.PROMOTE)
    version = registry.register_candidate(workspace, made)
    manifest = write_evidence(workspace, made, version)
    infos = {info.version: info for info in registry.get_versions(workspace)}
    return Kept(workspace, made, infos[base], infos[version], manifest)


@pytest.fixture
def kept(written: Kept) -> Kept:
    """With the folder as it was written, whatever the test before did to it."""
    shutil.rmtree(written.folder, ignore_errors=True)
    read_evidence(written.workspace, written.candidate, written.digest)
    return written


def _with_a_password(workspace: Workspace) -> Workspace:
    params = yaml.safe_load(workspace.params_file.read_text(encoding="utf-8"))
    address = f"https://robot:{PASSWORD}@teacher.invalid/v1"
    params["endpoint"] |= {"url": address, "model": address}  # the one is left out, the other masked
    write_text(workspace.params_file, yaml.safe_dump(params))
    return open_workspace(workspace.root)


def test_the_manifest_lists_every_file_and_its_digest_is_what_is_returned(kept: Kept) -> None:
    manifest = json.loads((kept.folder / "manifest.json").read_bytes())
    assert manifest == {file.name: digest_file(file) for file in kept.folder.iterdir() if file.name != "manifest.json"}
    assert list(manifest) == sorted(manifest)
    assert set(manifest) == {
        "champion.json", "evaluation.json", "git.json", "judgement.json", "lineage.json", "model-card.md",
        "params.json", "provenance.json", "sbom.cdx.json", "spectral.json", "synthesis.json",
    }  # fmt: skip
    assert digest_file(kept.folder / "manifest.json") == kept.digest


def test_written_again_it_is_the_same(kept: Kept) -> None:
    assert write_evidence(kept.workspace, kept.made, kept.candidate.version) == kept.digest


def test_two_workspaces_with_equal_content_write_equal_reports(kept: Kept, tmp_path: Path, weights: Path) -> None:
    other = _with_a_password(make_workspace(tmp_path, weights))
    registry.register_base(other, other.base(), base_digest(other))
    made = make_candidate(other, weights, "monday", Verdict.PROMOTE)
    version = registry.register_candidate(other, made)
    write_evidence(other, made, version)
    mine, theirs = (json.loads((folder / "manifest.json").read_bytes()) for folder in (kept.folder, other.evidence(2)))
    for told in (mine, theirs):
        del told["git.json"]  # the code may have been edited in between
    assert mine == theirs


def test_a_verdict_can_be_spoken_again_from_it(kept: Kept) -> None:
    evidence = read_evidence(kept.workspace, kept.candidate, kept.digest)
    assert evidence.evaluation == kept.made.evaluation
    assert evidence.judgement == kept.made.judgement
    assert evidence.spectral.adapter == evidence.champion.candidate == kept.made.digests.adapter
    assert not evidence.handbook_expected


def test_each_report_is_a_file_that_any_reader_of_json_opens(kept: Kept) -> None:
    judgement, evaluation = (
        json.loads((kept.folder / f"{name}.json").read_bytes()) for name in ("judgement", "evaluation")
    )
    assert judgement["verdict"] == "promote"
    assert {one["cohort"] for one in evaluation["cohorts"]} == {"new", "held"}


def test_a_folder_of_an_earlier_release_is_read(kept: Kept) -> None:
    """It held all reports in one file."""
    evidence = read_evidence(kept.workspace, kept.candidate, kept.digest)
    for name in ("champion", "evaluation", "judgement", "lineage", "spectral", "synthesis"):
        (kept.folder / f"{name}.json").unlink()
    write_record(kept.folder / "evidence.json", evidence)
    manifest = kept.folder / "manifest.json"
    manifest.unlink()
    write_json(manifest, {file.name: digest_file(file) for file in kept.folder.iterdir()})
    assert read_evidence(kept.workspace, kept.candidate, digest_file(manifest)) == evidence


def test_no_file_holds_a_password(kept: Kept) -> None:
    assert PASSWORD in kept.workspace.params_file.read_text(encoding="utf-8")
    files = [file for file in (kept.workspace.state / "evidence").rglob("*") if file.is_file()]
    assert len(files) > 10
    assert [file for file in files if PASSWORD.encode() in file.read_bytes()] == []
    params = json.loads((kept.folder / "params.json").read_bytes())
    assert params["endpoint.model"] == "https://robot:***@teacher.invalid/v1"


@pytest.mark.parametrize("name", ["manifest.json", "model-card.md", "params.json", "sbom.cdx.json"])
def test_an_altered_file_is_named(kept: Kept, name: str) -> None:
    file = kept.folder / name
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(PersonNeededError, match=rf"{name} is not the evidence .* version {kept.candidate.version} "):
        read_evidence(kept.workspace, kept.candidate, kept.digest)


def test_a_file_that_is_gone_is_named(kept: Kept) -> None:
    (kept.folder / "git.json").unlink()
    with pytest.raises(PersonNeededError, match=r"git\.json"):
        read_evidence(kept.workspace, kept.candidate, kept.digest)


def test_a_deleted_folder_comes_back_from_mlflow(kept: Kept) -> None:
    before = read_evidence(kept.workspace, kept.candidate, kept.digest)
    shutil.rmtree(kept.folder)
    assert read_evidence(kept.workspace, kept.candidate, kept.digest) == before
    assert digest_file(kept.folder / "manifest.json") == kept.digest


def test_a_version_without_a_digest_in_the_ledger_is_read_from_its_run(kept: Kept) -> None:
    shutil.rmtree(kept.folder)
    evidence = read_evidence(kept.workspace, kept.candidate, None)
    assert evidence.evaluation == kept.made.evaluation
    assert "compared with none" in evidence.champion.why
    with pytest.raises(InputError, match="lacks its evaluation and spectral and synthesis and judgement"):
        read_evidence(kept.workspace, kept.base, None)


def test_the_base_has_a_folder_too(kept: Kept) -> None:
    folder = kept.workspace.evidence(kept.base.version)
    made = read_record(folder / "provenance.json", Provenance)
    assert (made.kind, made.digests["base"]) == ("base", base_digest(kept.workspace))
    assert "the base alone" in (folder / "model-card.md").read_text(encoding="utf-8")
    assert (folder / "sbom.cdx.json").is_file()


def test_the_model_card_says_verdict_figures_limits_and_how_to_verify(kept: Kept) -> None:
    card = (kept.folder / "model-card.md").read_text(encoding="utf-8")
    for said in ("**promote**", "0.900 [0.596, 0.982]", "| 10 |", "## Limits", "manifest.json", "relearn history"):
        assert said in card


def test_the_bill_of_materials_is_valid_cyclonedx_and_names_torch(kept: Kept) -> None:
    text = (kept.folder / "sbom.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    versions = {component["name"]: component["version"] for component in bill["components"]}
    assert versions["torch"] == installed_version("torch")
    assert "timestamp" not in bill["metadata"]


def test_a_folder_that_was_lost_is_fetched_and_not_written_anew(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.revisions.describe", lambda _: {"workspace": None, "code": None})  # the code moved on
    shutil.rmtree(kept.folder)
    assert write_evidence(kept.workspace, kept.made, kept.candidate.version) == kept.digest


def test_what_a_kill_kept_from_the_run_is_attached_with_the_list_last(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    attached: list[str] = []
    monkeypatch.setattr("mlflow.MlflowClient.list_artifacts", lambda *_: [])
    monkeypatch.setattr("mlflow.MlflowClient.log_artifact", lambda _, run, path, to: attached.append(Path(path).name))
    write_evidence(kept.workspace, kept.made, kept.candidate.version)
    assert set(attached) == {file.name for file in kept.folder.iterdir()}
    assert attached[-1] == "manifest.json"


def test_a_files_name_forges_nothing_in_the_card(kept: Kept) -> None:
    hostile = "a.md\n\n# Version 9\n\nVerdict **promote** | 1 | <script>"
    document = LearnedFrom(id="i", path=hostile, digest="d", rows=1)
    provenance = Provenance(version=2, kind="candidate", snapshot="s", documents=(document,))
    before = model_card(2, kept.made, provenance.model_copy(update={"documents": ()})).splitlines()
    after = model_card(2, kept.made, provenance).splitlines()
    (line,) = [one for one in after if one not in before]
    assert line.startswith("| a.md")
    assert "<script" not in line.replace("\\<", "")


def test_the_bases_card_names_no_place_of_this_machine(kept: Kept) -> None:
    card = kept.workspace.evidence(kept.base.version) / "model-card.md"
    assert str(kept.workspace.root) not in card.read_text()
