"""The pages of Great Expectations' Data Docs, with their templates translated once per process.

Great Expectations makes a view for every section of every build, and each translates thirty templates anew, which takes
longer than the check of ten thousand documents. Views can be named in a site's settings; these are its own, and share
what was translated.
"""

from typing import Any

from great_expectations.render.view.view import DefaultJinjaIndexPageView, DefaultJinjaPageView
from jinja2.bccache import Bucket, BytecodeCache

SECTIONS = ("expectations", "validations", "profiling")


class _Translated(BytecodeCache):
    """Python code of templates, by name and content."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Any] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self.known.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.known[bucket.key, bucket.checksum] = bucket.code


_TRANSLATED = _Translated()


class PageView(DefaultJinjaPageView):
    """Great Expectations' page of a suite or a result."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.env.bytecode_cache = _TRANSLATED


class IndexPageView(DefaultJinjaIndexPageView):
    """Great Expectations' page that lists them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.env.bytecode_cache = _TRANSLATED


def with_views(site: dict[str, Any]) -> dict[str, Any]:
    """A site's settings, with these views."""
    index = {"class_name": "DefaultSiteIndexBuilder"} | (site.get("site_index_builder") or {})
    return site | {
        "site_index_builder": index | {"view": _named(IndexPageView)},
        "site_section_builders": {name: {"view": _named(PageView)} for name in SECTIONS},
    }


def _named(view: type) -> dict[str, str]:
    return {"module_name": view.__module__, "class_name": view.__name__}
