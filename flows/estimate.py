"""What ``relearn synthesize`` would do to the documents as they lie there now: nothing is sent, nothing written."""

from data.collection import sources_as_they_lie
from data.param_stages import EndpointParams
from data.records import Record
from data.teaching import RECIPE, teaching_rows
from data.workspace import Workspace
from flows.inputs import last_snapshot
from flows.prose import prose_calls
from flows.synthesize import compare, known_handbook
from tasks.purse import NOTHING, Tokens
from tasks.replies import known_reply, usual_case, worst_case


class DryRun(Record):
    """What a run of the stage would come to."""

    statements: int
    """Changed sentences."""
    passages: int
    calls: int
    """To the endpoint, cached ones included."""
    cached: int
    """Answered by an earlier run; they cost nothing."""
    rows: dict[str, int]
    """Rows per recipe, before the filters; of the endpoint's recipes the most that it is asked for."""
    tokens_in: int
    """Estimated, of the calls that are not cached, like all that follows."""
    tokens_out: int
    cost: float
    """In the currency of the prices."""
    cost_at_most: float
    """If every answer were as long as it may be; what the budget reckons with."""
    budget: float
    fits: bool
    """Whether even the most stays within the budget, in money and in tokens."""
    seconds: float


def estimate(workspace: Workspace) -> DryRun:
    """Reckon what the stage would send, cost and write.

    Raises:
        InputError: the documents folder is missing, or those that the base knows are gone.
    """
    params = workspace.params()
    last = last_snapshot(workspace)
    snapshot, sources = sources_as_they_lie(  # stage ingest may still set some of them aside
        workspace.documents, params.ingest, last.documents if last else (), workspace.conversions
    )
    found = compare(workspace, params, snapshot, sources, keep=False)
    calls = prose_calls(found.fresh, params)
    waiting = [call for call in calls if known_reply(call, params.endpoint, workspace.endpoint_cache) is None]
    prose = {recipe: sum(c.rows for c in calls if c.recipe == recipe) for recipe in params.synthesize.prose_recipes}
    book = known_handbook(workspace)
    facts = teaching_rows(found.changes, found.fresh, book, params.synthesize, params.seed, sum(prose.values()))
    usual = sum((usual_case(call, params.endpoint) for call in waiting), NOTHING)
    worst = sum((worst_case(call, params.endpoint) for call in waiting), NOTHING)
    return DryRun(
        statements=len(found.fresh),
        passages=len({call.passage for call in calls}),
        calls=len(calls),
        cached=len(calls) - len(waiting),
        rows={RECIPE: len(facts), **prose},
        tokens_in=usual.sent,
        tokens_out=usual.received,
        cost=usual.cost(params.endpoint),
        cost_at_most=worst.cost(params.endpoint),
        budget=params.endpoint.budget,
        fits=_fits(worst, params.endpoint),
        seconds=usual.received / params.endpoint.tokens_per_second,
    )


def _fits(worst: Tokens, endpoint: EndpointParams) -> bool:
    return worst.cost(endpoint) <= endpoint.budget and worst.total <= endpoint.budget_tokens
