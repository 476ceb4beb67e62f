"""Formats that are text themselves: comma-separated tables and e-mail messages, to Markdown."""

import csv
import re
from collections import Counter
from email import message_from_bytes, policy
from email.errors import MessageError
from email.message import EmailMessage
from io import StringIO

from data.errors import UnreadableError
from data.markup import html_to_markdown, table

SEPARATORS = ",;\t|"
_SAMPLE_ROWS = 20
_QUOTED_REPLY = re.compile(r"^>.*\n?", re.MULTILINE)


def csv_to_markdown(text: str) -> str:
    """A table whose first row is its head; the separator is the one that gives most rows the same columns.

    Raises:
        UnreadableError: a field is too long, or a quotation mark is never closed.
    """
    try:
        return table(list(csv.reader(StringIO(text, newline=""), delimiter=_separator(text), strict=True)))
    except csv.Error as error:
        raise UnreadableError(f"It is not a table of separated values ({error}). Save it anew as CSV.") from error


def _separator(text: str) -> str:
    def agreement(separator: str) -> tuple[int, int]:
        """(rows with the commonest number of columns, that number); one column is no agreement."""
        rows = csv.reader(StringIO(text, newline=""), delimiter=separator)
        widths = Counter(len(row) for row, _ in zip(rows, range(_SAMPLE_ROWS), strict=False) if row)
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        return (count, width) if width > 1 else (0, 0)

    return max(SEPARATORS, key=agreement)


def mail_to_markdown(content: bytes) -> str:
    """A message: subject, sender, date, and its text; attachments are named and not read.

    Raises:
        UnreadableError: nested too deep, or its parts cannot be decoded.
    """
    try:
        message = message_from_bytes(content, policy=policy.default)
        if not message.keys():
            raise UnreadableError("It is not an e-mail message: it has no header. Export it anew.")
        attached = [part.get_filename() or part.get_content_type() for part in message.iter_attachments()]
        lines = [f"{name}: {_line(message[name])}" for name in ("From", "Date") if message[name]]
        lines += [f"Attachments (not read): {', '.join(map(_line, attached))}"] if attached else []
        return "\n\n".join((f"# {_line(message['Subject']) or 'No subject'}", "  \n".join(lines), _body(message)))
    except RecursionError as error:
        raise UnreadableError("Its parts are nested too deep. Export the message without them.") from error
    except UnreadableError:
        raise
    except (MessageError, LookupError, ValueError, AttributeError, TypeError, AssertionError) as error:
        # what the standard library's parser raises on headers and parts that are none
        raise UnreadableError("It is not an e-mail message that a parser takes. Export it anew.") from error


def _body(message: EmailMessage) -> str:
    part = message.get_body(preferencelist=("plain", "html"))
    if part is None:
        return ""
    text = str(part.get_content())
    if part.get_content_subtype() == "html":
        return html_to_markdown(text, first_row_is_head=True)[1]
    return _QUOTED_REPLY.sub("", text)


def _line(text: object) -> str:
    return " ".join(str(text or "").split())
