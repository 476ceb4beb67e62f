"""The audit of a real cycle: the same bits whatever else happens, and the base decomposed once."""

from pathlib import Path

import pytest
import torch

from data.evaluation_records import Check, Judgement
from data.files import digest_tree, read_json, read_record, write_bytes, write_json
from data.spectral_records import LayerSpectrum, SpectralReport
from data.workspace import Workspace
from flows.audit import audit
from models.layer_spectra import weight_spectrum
from models.spectral_checks import SHAPE, SOUNDNESS
from tasks import registry
from tasks.tracking import CALIBRATION_ARTIFACT, JUDGEMENT_ARTIFACT, fetched
from tests.fault_miniature import copied


@pytest.fixture
def workspace(finished: Workspace, tmp_path: Path) -> Workspace:
    return copied(finished.root, tmp_path / "workspace")


def decomposed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The base layers that are decomposed from now on."""
    names: list[str] = []

    def counting(name: str, *rest: object) -> LayerSpectrum:
        names.append(name)
        return weight_spectrum(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("flows.base_spectra.weight_spectrum", counting)
    return names


def test_the_spectral_checks_stand_in_the_judgement_and_the_report_in_the_registry(finished: Workspace) -> None:
    run = registry.get_version(finished, 2).run
    with fetched(finished, run, JUDGEMENT_ARTIFACT) as file:
        assert file is not None
        checks = read_record(file, Judgement).checks
    spectral = [check for check in checks if check.check in (*SOUNDNESS, *SHAPE)]
    assert [check.check for check in spectral] == [*SOUNDNESS, *SHAPE]
    assert {check.check for check in spectral if check.decides} == {*SOUNDNESS, "unstructured"}
    assert "of 7 layers pass" in _named(spectral, "integrity").reason
    assert "merge" in _named(spectral, "not_learned").reason
    with fetched(finished, run, "spectral/report.json") as file:
        assert file is not None
        report = read_record(file, SpectralReport)
    assert report == read_record(finished.spectral / "report.json", SpectralReport)
    assert report.adapter == digest_tree(finished.adapter)
    for layer in report.layers:
        assert layer.update is not None
        assert layer.update.intruders is not None
        assert layer.base is not None
        assert layer.base.randomised is not None
        assert layer.base.determinant is not None
    with fetched(finished, run, CALIBRATION_ARTIFACT) as file:
        assert file is None, "nothing was accepted yet"
    assert len(list(finished.base_spectra.iterdir())) == 1


def _named(checks: list[Check], name: str) -> Check:
    (found,) = [check for check in checks if check.check == name]
    return found


def test_the_base_is_decomposed_once_and_no_bit_depends_on_it_or_on_the_threads_around(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, names = digest_tree(workspace.spectral), decomposed(monkeypatch)
    audit(workspace)
    assert (digest_tree(workspace.spectral), names) == (before, [])
    (file,) = workspace.base_spectra.iterdir()
    whole = file.read_bytes()
    for damage in (None, b"", whole[: len(whole) // 2]):
        file.unlink() if damage is None else write_bytes(file, damage)
        threads = torch.get_num_threads()
        torch.set_num_threads(2)
        audit(workspace)
        assert torch.get_num_threads() == 2
        torch.set_num_threads(threads)
        assert digest_tree(workspace.spectral) == before
        assert file.read_bytes() == whole
    assert len(names) == 3 * 7


def test_an_audit_that_was_stopped_goes_on_with_the_layers_that_it_had(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest_tree(workspace.spectral)
    (file,) = workspace.base_spectra.iterdir()
    file.unlink()
    monkeypatch.setattr("flows.base_spectra._SAVE_SECONDS", 0.0)

    def stop(done: int, of: int, name: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(workspace, stop)
    names = decomposed(monkeypatch)
    told: list[tuple[int, int, str]] = []
    audit(workspace, lambda *place: told.append(place))
    assert (len(names), digest_tree(workspace.spectral)) == (4, before)
    assert [(done, of) for done, of, _ in told] == [(done, 7) for done in range(7)]
    assert [name for _, _, name in told[3:]] == names


def test_another_base_or_other_code_is_decomposed_anew(workspace: Workspace) -> None:
    for file in (workspace.code("audit"), workspace.base_digest):
        write_json(file, read_json(file) | {"digest": "another"})
        audit(workspace)
    assert len(list(workspace.base_spectra.iterdir())) == 3


def test_of_large_layers_no_eigenvectors_are_asked_and_more_threads_work(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.audit.SMALL", 8)
    used: list[int] = []

    def watching(*arguments: object) -> LayerSpectrum:
        used.append(torch.get_num_threads())
        return weight_spectrum(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("flows.base_spectra.weight_spectrum", watching)
    params = workspace.params_file.read_text()
    workspace.params_file.write_text(params.replace("threads: 1", "threads: 2"))
    before = torch.get_num_threads()
    report = audit(workspace)
    assert (used, torch.get_num_threads()) == ([2] * 7, before)
    assert {layer.update.intruders for layer in report.layers if layer.update is not None} == {None}
