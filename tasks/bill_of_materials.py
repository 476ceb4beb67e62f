"""What was installed when a version was made: a software bill of materials in CycloneDX 1.6.

The same environment gives the same text: no time stands in it, and its serial number follows from the packages.
"""

import functools
import json
import re
from importlib.metadata import Distribution, distributions
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

PROJECT = "relearn"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
"""What a requirement begins with."""


@functools.cache
def bill_of_materials() -> str:
    """The installed Python packages with versions, licences and what each needs, as JSON."""
    from cyclonedx.model.bom import Bom
    from cyclonedx.output.json import JsonV1Dot6

    found = _installed()
    components = {name: _component(name, one) for name, one in found.items()}
    listed = "\n".join(f"{name}=={one.version}" for name, one in found.items())
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, listed))
    bom.metadata.component = components.get(PROJECT)
    for name, component in components.items():
        if name != PROJECT:
            bom.components.add(component)
        needed = [components[other] for other in _required(found[name]) if other in components]
        bom.register_dependency(component, needed)
    content = json.loads(JsonV1Dot6(bom).output_as_string())
    del content["metadata"]["timestamp"]
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _installed() -> dict[str, Distribution]:
    """By normalised name, sorted; of two with one name the one that Python imports."""
    found: dict[str, Distribution] = {}
    for one in distributions():
        if one.metadata["Name"]:
            found.setdefault(_normalised(one.metadata["Name"]), one)
    return dict(sorted(found.items()))


def _component(name: str, distribution: Distribution) -> "Component":
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    licence = _licence(distribution)
    return Component(
        name=distribution.metadata["Name"],
        version=distribution.version,
        type=ComponentType.APPLICATION if name == PROJECT else ComponentType.LIBRARY,
        bom_ref=name,
        purl=PackageURL("pypi", None, name, distribution.version),
        licenses=[LicenseFactory().make_from_string(licence)] if licence else None,
    )


def _licence(distribution: Distribution) -> str:
    """In one line; some packages put a whole licence there."""
    fields = [name for name in ("License-Expression", "License") if name in distribution.metadata]
    said = distribution.metadata[fields[0]] if fields else ""
    return said if "\n" not in said and len(said) <= 100 else ""


def _required(distribution: Distribution) -> set[str]:
    """Names of what it needs, without what only its extras need."""
    needed = (text.partition(";") for text in distribution.requires or ())
    names = (_NAME.match(name.strip()) for name, _, marker in needed if "extra" not in marker)
    return {_normalised(found[0]) for found in names if found} - {_normalised(distribution.metadata["Name"])}


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
