"""Where a layer stands in its model: in which block, as which kind of module; what pictures and tables are ordered by.

A block is the first number in a module's name, with what stands before it; a kind is what stands behind it. Layers
without a number (embedding, output) stand beside the blocks.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from data.files import printable
from data.spectral_records import LayerSpectrum

_NUMBERED = re.compile(r"(?:(?P<stack>.*?)\.)?(?P<number>\d+)\.(?P<kind>.+)", re.DOTALL)
_ENDINGS = re.compile(r"(_proj|\.dense|\.weight|\.default)$")
"""Ends of names that say nothing: every kind has them."""
_USUAL = (
    *("q", "query", "attention.query", "k", "key", "v", "value", "qkv", "c_attn", "o", "out", "attention.output"),
    *("gate", "up", "intermediate", "fc1", "c_fc", "down", "output", "fc2", "c_proj"),
)
"""The order in which a block computes; kinds that are not named here follow in their own."""
LONGEST = 22
"""Characters of a name in a picture."""
CHARACTER = 7.0
"""Pixels that one takes there, in bold."""


@dataclass(frozen=True)
class Layout:
    """Layers by block and kind."""

    blocks: tuple[str, ...]
    """In the order of the layers; the stack's name before the number only where there are several stacks."""
    kinds: tuple[str, ...]
    """As short as they can be and still differ."""
    cells: dict[tuple[str, str], LayerSpectrum]
    """By block and kind."""
    others: tuple[tuple[str, LayerSpectrum], ...]
    """Layers in no block, by short name."""

    def of_kind(self, kind: str) -> list[tuple[int, LayerSpectrum]]:
        """The layers of one kind with the place of their block."""
        cells = [(place, self.cells.get((block, kind))) for place, block in enumerate(self.blocks)]
        return [(place, layer) for place, layer in cells if layer is not None]


def laid_out(layers: Sequence[LayerSpectrum]) -> Layout:
    """The layers by block and kind, both in their order."""
    found = [(_NUMBERED.fullmatch(layer.name), layer) for layer in layers]
    numbered = [(match, layer) for match, layer in found if match]
    stacks = _stacks(list(dict.fromkeys(match["stack"] or "" for match, _ in numbered)))
    kinds = short_names(list(dict.fromkeys(match["kind"] for match, _ in numbered)))
    cells, others = {}, [layer for match, layer in found if not match]
    for match, layer in numbered:
        block = f"{stacks[match['stack'] or '']} {end_of(match['number'])}".strip()
        key = (block, kinds[match["kind"]])
        if key in cells:
            others.append(layer)
        else:
            cells[key] = layer
    names = short_names([layer.name for layer in others])
    return Layout(
        blocks=tuple(dict.fromkeys(block for block, _ in cells)),
        kinds=tuple(sorted(dict.fromkeys(kind for _, kind in cells), key=_computed)),
        cells=cells,
        others=tuple((names[layer.name], layer) for layer in others),
    )


def _stacks(names: Sequence[str]) -> dict[str, str]:
    """What tells stacks apart: the first part of their names that is not the same in all; nothing of a single one."""
    parts = [printable(name).split(".") for name in names]
    same = next((place for place, ones in enumerate(zip(*parts, strict=False)) if len(set(ones)) > 1), None)
    if len(names) < 2 or same is None or len({one[same] for one in parts}) < len(names):
        return dict.fromkeys(names, "") if len(names) < 2 else short_names(names)
    return {name: end_of(one[same]) for name, one in zip(names, parts, strict=True)}


def _computed(kind: str) -> int:
    return _USUAL.index(kind) if kind in _USUAL else len(_USUAL)


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Each name by the fewest of its last parts that no other name ends in, and no longer than a picture has room."""
    plain = {name: _ENDINGS.sub("", printable(name)) for name in names}
    ends = {name: _ends(text) for name, text in plain.items()}
    shortened = {}
    for name, own in ends.items():
        foreign = {end for other, others in ends.items() if other != name for end in others}
        shortened[name] = end_of(next((end for end in own if end not in foreign), own[-1]))
    return shortened


def end_of(name: str, pixels: float = LONGEST * CHARACTER) -> str:
    """As much of a name's end as there is room for."""
    longest = max(2, int(pixels / CHARACTER))
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


def _ends(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]


def spread(blocks: Sequence[str], count: int, first: Sequence[str] = ()) -> tuple[str, ...]:
    """At most ``count`` blocks in their order: those of ``first``, then others at equal distances."""
    chosen = [block for block in blocks if block in first][:count]
    rest = [block for block in blocks if block not in chosen]
    room = min(count - len(chosen), len(rest))
    steps = [round(place * (len(rest) - 1) / max(1, room - 1)) for place in range(room)]
    chosen += [rest[step] for step in dict.fromkeys(steps)]
    return tuple(block for block in blocks if block in chosen)
