"""One office file or e-mail to Markdown, in a process of its own: bytes in on standard input, Markdown out.

    python -m data.converter .docx 60 1024 2000000 < handbook.docx

Readers of such files are large and their input comes from anywhere. So they run apart, with limits on time (seconds)
and memory (megabytes) that the kernel keeps, on the length of the text, and without the right to write a file; a file
that breaks them costs one document.
Leaves with 0 and the text, or with ``REFUSED`` and a sentence on standard error.
"""

import resource
import sys
import zipfile
from contextlib import suppress
from io import BytesIO

from data.errors import UnreadableError

REFUSED = 2
"""The file cannot be read; it never will be."""
NO_MEMORY = 3

_MEGABYTE = 2**20
_COMPOUND = bytes.fromhex("D0CF11E0A1B11AE1")
"""How Office files before 2007 begin, and encrypted ones to this day ([MS-CFB], section 2.2)."""
_ENCRYPTED = "EncryptedPackage".encode("utf-16le")
"""The stream that holds the file ([MS-OFFCRYPTO], section 2.3.4.4)."""
_GRACE = 5
"""Seconds between the signal that says that time is up and the one that cannot say why it came."""
_MAX_MEMBERS = 10_000
_UNPACKED_SHARE = 4
"""A container may unpack to this part of the memory."""
_MEDIA = ("word/media/", "ppt/media/", "xl/media/")
_XML_SHARE = 16
"""And the XML in it, which a reader spreads out to many times its size, to this."""


def main() -> None:
    """Read the command line and standard input, and leave with the outcome as exit code."""
    ending, (seconds, megabytes, characters) = sys.argv[1], map(int, sys.argv[2:5])
    _limit(seconds, megabytes)
    try:
        text = convert(sys.stdin.buffer.read(), ending, megabytes)
        check_length(text, characters)
    except MemoryError:
        sys.exit(NO_MEMORY)
    except UnreadableError as error:
        sys.stderr.write(str(error))
        sys.exit(REFUSED)
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))


def _limit(seconds: int, megabytes: int) -> None:
    memory = megabytes * _MEGABYTE
    limits = {
        resource.RLIMIT_AS: (memory, memory),
        resource.RLIMIT_CPU: (seconds, seconds + _GRACE),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_CORE: (0, 0),
    }
    for limit, soft_and_hard in limits.items():
        with suppress(ValueError, OSError):  # a stricter one is in force already, or the system knows none (macOS)
            resource.setrlimit(limit, soft_and_hard)


def check_length(text: str, characters: int) -> None:
    """Refuse a text that is longer than a document may be, before anybody holds it twice.

    Raises:
        UnreadableError: it is.
    """
    if len(text) > characters:
        raise UnreadableError(
            f"Its text has {len(text):,} characters, more than the {characters:,} of ingest.max_bytes. Split it."
        )


def convert(content: bytes, ending: str, megabytes: int) -> str:
    """The Markdown of one file.

    Args:
        ending: which reader, such as ``.docx``; one of ``documents.CONVERTED``.
        megabytes: of memory at hand.

    Raises:
        UnreadableError: encrypted, damaged, a container that unpacks to too much, or nothing to read in it.
    """
    try:
        if ending == ".pdf":
            from data.pdf import pdf_to_markdown

            return pdf_to_markdown(content)
        if ending == ".eml":
            from data.plain_formats import mail_to_markdown

            return mail_to_markdown(content)
        _check_container(content, ending, megabytes * _MEGABYTE)
        return _read_container(content, ending)
    except (UnreadableError, MemoryError):
        raise
    except RecursionError as error:
        raise UnreadableError("Its parts are nested too deep. Save it anew.") from error
    except Exception as error:  # three libraries and a hundred ways to fail: all of them mean the same to a person
        raise UnreadableError(
            f"It is not a {ending} file that a reader takes ({type(error).__name__}). Open it and save it anew."
        ) from error


def _read_container(content: bytes, ending: str) -> str:
    from data.office import slides_to_markdown, word_to_markdown, workbook_to_markdown

    readers = {".docx": word_to_markdown, ".pptx": slides_to_markdown, ".xlsx": workbook_to_markdown}
    return readers[ending](BytesIO(content))


def _check_container(content: bytes, ending: str, memory: int) -> None:
    """Refuse what is no Office Open XML container, or one that would fill the memory when unpacked."""
    if content.startswith(_COMPOUND):
        if _ENCRYPTED in content:
            raise UnreadableError("It is encrypted. Save it without a password.")
        raise UnreadableError(f"It is in the format of Office 97 to 2003. Save it as a real {ending} file.")
    try:
        members = zipfile.ZipFile(BytesIO(content)).infolist()
    except zipfile.BadZipFile as error:
        raise UnreadableError(f"It is no {ending} file, or a damaged one. Open it and save it anew.") from error
    unpacked = sum(member.file_size for member in members)
    xml = sum(member.file_size for member in members if not member.filename.startswith(_MEDIA))
    if unpacked > memory // _UNPACKED_SHARE or xml > memory // _XML_SHARE or len(members) > _MAX_MEMBERS:
        raise UnreadableError(
            f"It unpacks to {unpacked:,} bytes in {len(members):,} parts, more than a document may hold. Save it "
            "without pictures, or split it."
        )


if __name__ == "__main__":
    main()
