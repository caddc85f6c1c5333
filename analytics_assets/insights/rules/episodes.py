"""From what a rule finds day by day to insights: said once, kept up to date, closed when it is not seen any more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from analytics_assets.insights.rules.evidence import Evidence
from analytics_assets.insights.rules.testing import FALSE_DISCOVERIES, Hit, Rule, Tests, Told, hits, instant

#: New insights by rules that an organisation is told a day.
DAILY_BUDGET = 5
#: Not seen for so long, an insight is closed.
UNSEEN_DAYS = 7
#: Seen again within so long, it is the same one.
SAME_DAYS = 14
#: What lasts longer has become the usual: it is said once and not again.
LONGEST_DAYS = 56
_EXPIRES_DAYS = 14
_HIGH_SIZE = 3.0
_HIGH_Q = 0.01
_MOST_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Episode:
    """Of a key: first and last discovery that are told, and after which day it was over (None: it goes on)."""

    first: Hit
    last: Hit
    over: int | None


def episodes(found: Sequence[Hit], newest: dict[int, int]) -> list[Episode]:
    """Discoveries of one rule, joined by key. newest: by organisation, the last day on which the rule tested anything."""
    by_key: dict[tuple[int, str], list[Hit]] = defaultdict(list)
    for hit in found:
        by_key[hit.organization, hit.key].append(hit)
    out: list[Episode] = []
    for mine in by_key.values():
        chains: list[list[Hit]] = []
        for hit in mine:
            if chains and hit.day - chains[-1][-1].day <= SAME_DAYS:
                chains[-1].append(hit)
            else:
                chains.append([hit])
        for chain in chains:
            first = chain[0]
            told = [hit for hit in chain if hit.day - first.day <= LONGEST_DAYS]
            end, last = chain[-1].day, told[-1]
            over = None
            if end - first.day > LONGEST_DAYS:
                over = first.day + LONGEST_DAYS
            elif newest[first.organization] - end >= UNSEEN_DAYS:
                over = end + UNSEEN_DAYS
            out.append(Episode(first, last, over))
    return out


def severity(hit: Hit) -> str:
    """high: thrice the minimum effect, and a false discovery once in a hundred."""
    return "high" if hit.size >= _HIGH_SIZE and hit.q <= _HIGH_Q else "medium"


def _row(rule: Rule, evidence: Evidence, episode: Episode, told: Told) -> dict[str, Any]:
    first, last, organization = episode.first, episode.last, episode.first.organization
    owner = evidence.organizations[organization]
    sentences = list(told.sentences)
    if episode.over is not None:
        lasting = episode.over == first.day + LONGEST_DAYS
        sentences.append(
            f"It has lasted for {LONGEST_DAYS // 7} weeks and counts as the new usual."
            if lasting
            else "It is over: it was not seen again."
        )
    bucket = datetime.combine(evidence.start + timedelta(days=first.day), time(), UTC)
    return {
        "organization_id": str(owner.id),
        "insight_type": rule.kind(last.up),
        "insight_key": first.key,
        "bucket": bucket.isoformat(),
        "starts_at": instant(evidence, organization, first.day + 1).isoformat(),
        "period_start": instant(evidence, organization, told.first).isoformat(),
        "period_end": instant(evidence, organization, told.last + 1).isoformat(),
        "title": told.title[:255],
        "description": " ".join(sentences),
        "severity": severity(last),
        # Of what is told at an adjusted p-value of q, a share of q is false at most.
        "confidence_score": round(min(1 - last.q, _MOST_CONFIDENCE), 2),
        "data_points": {
            "rule": rule.name,
            "direction": "up" if last.up else "down",
            "q": round(last.q, 6),
            "false_discovery_rate": FALSE_DISCOVERIES,
            "at_stake": None if told.stake is None else round(told.stake, 2),
            "currency": owner.currency,
            "first_seen": str(evidence.start + timedelta(days=first.day)),
            "last_seen": str(evidence.start + timedelta(days=last.day)),
            **told.figures,
            "counts": told.counts,
        },
        "recommendations": told.advice,
        "closed_at": None if episode.over is None else instant(evidence, organization, episode.over + 1).isoformat(),
        "expires_at": instant(evidence, organization, last.day + 1 + _EXPIRES_DAYS).isoformat(),
    }


def insights_of(evidence: Evidence, found: Sequence[tuple[Rule, Tests]]) -> list[tuple[int, dict[str, Any]]]:
    """(day of the first discovery, row) of all insights of all rules.

    Of a day those with more at stake are told, as it was at their first discovery: what comes later unsays nothing.
    """
    begun: dict[tuple[int, int], list[tuple[float, float, Rule, Tests, Episode]]] = defaultdict(list)
    for rule, tests in found:
        newest: dict[int, int] = {}
        for organization, day in zip(tests.organization.tolist(), tests.day.tolist(), strict=True):
            newest[organization] = max(newest.get(organization, day), day)
        for episode in episodes(hits(rule, evidence, tests), newest):
            stake = rule.tell(evidence, tests, episode.first).stake or 0.0
            first = episode.first
            begun[first.organization, first.day].append((-stake, -first.size, rule, tests, episode))
    out = []
    for (_, day), weighed in sorted(begun.items()):
        weighed.sort(key=lambda one: (one[0], one[1], one[4].first.key))
        for _, _, rule, tests, episode in weighed[:DAILY_BUDGET]:
            out.append((day, _row(rule, evidence, episode, rule.tell(evidence, tests, episode.last))))
    return out
