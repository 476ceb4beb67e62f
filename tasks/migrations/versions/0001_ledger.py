"""The ledger and the triggers that keep it append-only.

A ledger from before there were migrations has its table already: that stays as it is, with its entries, and gets the
triggers as they stand here.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_REFUSE = "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
_NEXT = "(SELECT COALESCE(MAX(number), 0) + 1 FROM ledger)"
TRIGGERS = {
    "sqlite": (
        "DROP TRIGGER IF EXISTS ledger_update",
        "DROP TRIGGER IF EXISTS ledger_delete",
        "DROP TRIGGER IF EXISTS ledger_insert",
        f"CREATE TRIGGER ledger_update BEFORE UPDATE ON ledger {_REFUSE}",
        f"CREATE TRIGGER ledger_delete BEFORE DELETE ON ledger {_REFUSE}",
        # INSERT OR REPLACE would take a row away without firing BEFORE DELETE
        f"CREATE TRIGGER ledger_insert BEFORE INSERT ON ledger WHEN NEW.number IS NOT {_NEXT} {_REFUSE}",
    ),
    "postgresql": (
        "DROP TRIGGER IF EXISTS ledger_insert ON ledger",
        "DROP TRIGGER IF EXISTS ledger_change ON ledger",
        "DROP TRIGGER IF EXISTS ledger_truncate ON ledger",
        """CREATE OR REPLACE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$""",
        # two appends are kept apart by the writers' lock, one by hand is not
        """CREATE OR REPLACE FUNCTION ledger_next() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN
            IF NEW.number <> (SELECT COALESCE(MAX(number), 0) + 1 FROM ledger) THEN
                RAISE EXCEPTION 'the ledger is append-only';
            END IF;
            RETURN NEW;
        END $$""",
        "CREATE TRIGGER ledger_insert BEFORE INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION ledger_next()",
        """CREATE TRIGGER ledger_change BEFORE UPDATE OR DELETE ON ledger
        FOR EACH ROW EXECUTE FUNCTION ledger_refuse()""",
        """CREATE TRIGGER ledger_truncate BEFORE TRUNCATE ON ledger
        FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()""",
    ),
}


def upgrade() -> None:
    """Make the table where it is missing, and its triggers anew."""
    op.create_table(
        "ledger",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("time", sa.String(40), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("from_version", sa.Integer),
        sa.Column("to_version", sa.Integer),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False, unique=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        if_not_exists=True,
    )
    for statement in TRIGGERS.get(op.get_bind().dialect.name, ()):
        op.execute(sa.text(statement))
