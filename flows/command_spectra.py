"""The command about weights: ``spectra``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.command import JsonOption, app, fail, quiet_output, show


class Precision(StrEnum):
    """Number type of Gram matrices and eigenvalues."""

    float64 = "float64"
    float32 = "float32"


@app.command(epilog="Example: relearn spectra data/adapter --base data/bases/tiny --html spectra.html")
def spectra(
    path: Annotated[Path, typer.Argument(help="Model's or adapter's folder, safetensors file or PyTorch archive.")],
    base: Annotated[Path | None, typer.Option("--base", help="What it adapts, or was trained from.")] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the layers as comma-separated values.")] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page with pictures to FILE, complete in itself."),
    ] = None,
    randomize: Annotated[bool, typer.Option("--randomize", help="Look for correlation traps.")] = False,
    determinant: Annotated[bool, typer.Option("--determinant", help="Look for the determinant condition.")] = False,
    intruders: Annotated[
        bool, typer.Option("--intruders", help="Look for directions that the base does not know (needs --base).")
    ] = False,
    dtype: Annotated[Precision, typer.Option("--dtype", help="What eigenvalues are computed in.")] = Precision.float64,
    device: Annotated[str, typer.Option("--device", help="Where they are computed: cpu, cuda, mps.")] = "cpu",
    threads: Annotated[int, typer.Option("--threads", min=1, max=1024, help="The same number, the same bits.")] = 1,
    workspace: Annotated[
        Path | None,
        typer.Option(
            "--workspace", help="Whose thresholds and accepted adapters judge. Default: this folder, if it is one."
        ),
    ] = None,
) -> None:
    """Eigenvalues of any model, adapter or difference of two, layer by layer; broken adapters are recognised."""
    if as_json and as_csv:
        fail("--json and --csv exclude each other, as both go to standard output. Give one of them.", 2)
    import torch

    from flows import spectra_report
    from flows.progress import Lines
    from flows.spectra_tables import said_tables
    from flows.terminal import put
    from models.spectrum import Analysis
    from tasks.spectra_page import write_spectra

    how = Analysis(randomize, determinant, intruders, getattr(torch, dtype.value), device)
    asked = spectra_report.Question(path, base, how, threads)
    lines = Lines("spectra")
    with quiet_output():
        policy = spectra_report.thresholds(workspace)
        if html is not None:
            spectra_report.refuse_target(html, asked)
        layers = spectra_report.analysed(asked, lines.analysed)
        lines.analysed(len(layers), len(layers), "")
        usual = spectra_report.norm(asked, workspace, layers, policy)
        beside = spectra_report.left_out(asked)
        content = spectra_report.content(layers, policy, usual, beside)
        if html is not None:
            write_spectra(html, spectra_report.page(asked, layers, policy, usual, beside))
            content["html"] = str(html)
    if as_json:
        show(content, True, [])
        return
    if beside and as_csv:
        typer.echo(beside, err=True)
    if as_csv:
        typer.echo(spectra_report.as_csv(content), nl=False)
    elif html is not None:
        show({}, False, [str(html)])
    else:
        for table in said_tables(layers, policy, usual.calibration):
            put(table)
            show({}, False, [""])
        said = [f"Thresholds: {content['calibration']}.", usual.why_not, content["note"]]
        show({}, False, [" ".join(part for part in said if part)])
