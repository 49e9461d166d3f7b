"""How many tags may lose the right to charge in one go."""

from collections.abc import Sequence
from dataclasses import dataclass

from polaris_common.charging.tag_consents import Consents
from polaris_common.domain.tag_limit import may_block_without_consent
from sync_worker.tags.outcome import TagWarning
from sync_worker.tags.plan import Planned


@dataclass(frozen=True)
class Verdict:
    """Which blocks may happen now, which wait, and what an operator is to be asked."""

    allowed: Sequence[Planned]
    held: Sequence[Planned]
    ask: Sequence[str] = ()
    """IdTags; empty: nothing to ask."""
    warning: TagWarning | None = None


def judge_run(blocks: Sequence[Planned], *, tags: int, consents: Consents, max_ratio: float) -> Verdict:
    """What a run may block: few tags, or exactly those that an operator has approved. Never some of too many."""
    if consents.approved:
        allowed = [each for each in blocks if _name(each) in consents.approved]
        rest = [each for each in blocks if _name(each) not in consents.approved]
        few = may_block_without_consent(len(rest), tags, max_ratio=max_ratio)
        return Verdict(allowed, rest, () if few else _id_tags(rest), None if few else TagWarning.CONSENT_NEEDED)
    refused = [each for each in blocks if _name(each) in consents.refused and not each.decision.by_person]
    others = [each for each in blocks if each not in refused]
    if may_block_without_consent(len(others), tags, max_ratio=max_ratio):
        return Verdict(others, refused, warning=TagWarning.BLOCKS_REFUSED if refused else None)
    return Verdict((), blocks, _id_tags(blocks), TagWarning.CONSENT_NEEDED)


def judge_sweep(blocks: Sequence[Planned], *, tags: int, consents: Consents, max_ratio: float) -> Verdict:
    """What may be blocked between runs: what a person has switched off, and few others. The next run asks for more."""
    by_person = [each for each in blocks if each.decision.by_person]
    others = [each for each in blocks if not each.decision.by_person and _name(each) not in consents.refused]
    if may_block_without_consent(len(others), tags, max_ratio=max_ratio):
        allowed = [*by_person, *others]
        return Verdict(allowed, [each for each in blocks if each not in allowed])
    return Verdict(by_person, [each for each in blocks if each not in by_person], warning=TagWarning.CONSENT_NEEDED)


def _id_tags(planned: Sequence[Planned]) -> list[str]:
    return [each.tag.id_tag for each in planned]


def _name(planned: Planned) -> str:
    return planned.tag.id_tag.lower()
