"""Who acts, and whether that person may: block ``people`` of ``params.yaml``.

Roles keep honest people from mistakes. Whoever may write the workspace's files or the ledger's database can do
anything; that is for the operating system's and the database's permissions to keep (docs/security.md).
"""

from data.actor import current_actor
from data.errors import PersonNeededError
from data.param_operation import ROLES, PeopleParams, Role
from data.params import load_params
from data.workspace import Workspace


def acting(workspace: Workspace, needed: Role, what: str, actor: str | None = None) -> str:
    """Who acts, if that person may.

    Args:
        workspace: whose roles hold.
        needed: the least role that may do it.
        what: is done, as the subject of a sentence.
        actor: None: who acts on this machine.

    Raises:
        PersonNeededError: the actor's role does not suffice; it names those whose role does.
    """
    people = load_params(workspace.params_file).people
    who = actor or current_actor(people.actor)
    role = people.roles.get(who, people.others)
    if ROLES.index(role) < ROLES.index(needed):
        raise PersonNeededError(
            f"{what} takes the role {needed}, and {who} is {_with_article(role)} here. {_who_may(people, needed)}"
        )
    return who


def _who_may(people: PeopleParams, needed: Role) -> str:
    named = sorted(name for name, role in people.roles.items() if ROLES.index(role) >= ROLES.index(needed))
    if not named:
        return "Nobody has it: name somebody under people.roles in params.yaml."
    return f"Ask one who has it: {', '.join(named)}."


def _with_article(role: Role) -> str:
    return f"{'a' if role == 'viewer' else 'an'} {role}"
