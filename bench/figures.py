"""The figures of the workspace's last evaluation as a Markdown table, for README and results.

python -m bench.figures
"""

import argparse
from pathlib import Path

from data.evaluation_records import Estimate, EvaluationReport
from data.files import read_record
from data.records import Grade
from data.report_records import SynthesisReport
from data.workspace import open_workspace


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path())
    workspace = open_workspace(parser.parse_args().workspace)
    evaluation = read_record(workspace.evaluation / "report.json", EvaluationReport)
    synthesis = read_record(workspace.synthetic / "report.json", SynthesisReport)
    facts = ", ".join(f"{count:,} {standing.value}" for standing, count in synthesis.facts.items())
    print(f"Facts: {facts}. Statements: {synthesis.new_statements} new, {synthesis.gone_statements} gone.")
    changed = sum(document.changed_statements for document in synthesis.coverage)
    covered = sum(document.changed_with_fact for document in synthesis.coverage)
    print(f"Coverage: {covered} of {changed} changed statements gave a fact.\n")
    print("| questions | n | base right | candidate right | candidate stale | wrong | refused |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for cohort in evaluation.cohorts:
        right = [_shown(shares[Grade.RIGHT]) for shares in (cohort.base, cohort.candidate)]
        rest = [f"{cohort.candidate[grade].value:.3f}" for grade in (Grade.STALE, Grade.WRONG, Grade.REFUSED)]
        print(f"| {cohort.cohort.value} | {cohort.n} | {' | '.join([*right, *rest])} |")


def _shown(share: Estimate) -> str:
    return f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}]"


if __name__ == "__main__":
    main()
