"""Puts a picture together: what the digest found, and when it sounded."""

from __future__ import annotations

from antiphon.actors.audio import Int16Array
from antiphon.recording import Recording, Stretch, Timeline
from antiphon.report.digest import Digest
from antiphon.report.drafts import ResponseDraft, SpokenDraft, WordsDraft
from antiphon.report.picture import Picture, Response, Spoken, Words
from antiphon.report.prices import Prices, tokens_of, total
from antiphon.report.sound import first_audible, waves

# What was not played of an item counts as cut, or left unsaid, from here on: players keep a few frames back.
UNHEARD_SECONDS = 0.1


def draw(recording: Recording, timeline: Timeline, mix: Int16Array, prices: Prices | None) -> Picture:
    """Make the picture of a call.

    Args:
        recording: The call.
        timeline: Its `lay_out`.
        mix: The timeline's mix.
        prices: What tokens cost, if that is wanted.
    """
    digest = Digest(recording, timeline)
    began = timeline.began
    ended = max(began + len(mix) / timeline.rate, max((line.t for line in recording.lines), default=0.0))
    spoken = _spoken(digest, timeline, recording.rate("out"))
    speech = sorted((draft.finish() for draft in digest.speech.values()), key=lambda span: span.start)
    speech_ends = [span.end for span in speech if span.end is not None]
    sounds = _sounds(spoken, timeline, mix)
    responses = [_response(draft, sounds, speech_ends, ended, prices) for draft in digest.responses.values()]
    header = recording.header
    user, assistant = waves(mix, timeline.rate)
    return Picture(
        file=recording.path.name,
        session=header.session,
        model=header.model,
        provider=header.provider,
        wall=header.wall,
        began=began,
        ended=ended,
        complete=recording.complete,
        user=user,
        assistant=assistant,
        speech=speech,
        spoken=sorted(spoken.values(), key=lambda item: item.heard[0][0] if item.heard else 0.0),
        responses=responses,
        tools=[draft.finish() for draft in digest.tools.values()],
        links=[draft.finish(ended) for draft in digest.links],
        marks=digest.marks,
        words=_words(digest, spoken),
        tokens=total([response.tokens for response in responses if response.tokens is not None]),
        transcription_tokens=digest.transcription_tokens,
    )


def _spoken(digest: Digest, timeline: Timeline, rate: int) -> dict[str, Spoken]:
    stretches: dict[str, list[Stretch]] = {}
    for stretch in timeline.model:
        stretches.setdefault(stretch.item_id, []).append(stretch)
    return {item: _spoken_item(draft, stretches.get(item, []), rate) for item, draft in digest.spoken.items()}


def _spoken_item(draft: SpokenDraft, stretches: list[Stretch], rate: int) -> Spoken:
    estimated = any(stretch.estimated for stretch in stretches)
    sounded = sum(stretch.samples for stretch in stretches) / rate
    return Spoken(
        item=draft.item,
        response=draft.response,
        heard=[(stretch.t, stretch.t + stretch.samples / rate) for stretch in stretches],
        arrived_s=draft.arrived_s,
        heard_s=min(sounded if estimated else draft.told_s, draft.arrived_s),
        cut_at=draft.cut_at,
        estimated=estimated,
    )


def _sounds(spoken: dict[str, Spoken], timeline: Timeline, mix: Int16Array) -> list[tuple[float, str]]:
    """Where the stretches of the model's voice can be heard first, and whose they are, by time."""
    began, rate = timeline.began, timeline.rate
    sounds: list[tuple[float, str]] = []
    for item in spoken.values():
        for start, end in item.heard:
            at = first_audible(mix[round((start - began) * rate) : round((end - began) * rate), 1])
            if at is not None:
                sounds.append((start + at / rate, item.response))
    return sorted(sounds)


def _response(
    draft: ResponseDraft,
    sounds: list[tuple[float, str]],
    speech_ends: list[float],
    ended: float,
    prices: Prices | None,
) -> Response:
    first_heard = next((t for t, response in sounds if response == draft.id), None)
    return Response(
        id=draft.id,
        created=draft.created,
        done=ended if draft.done is None else draft.done,
        status=draft.status,
        reason=draft.reason,
        first_audio=draft.first_audio,
        first_heard=first_heard,
        waited=None if first_heard is None else _waited(first_heard, speech_ends, sounds),
        tokens=None if draft.usage is None else tokens_of(draft.usage, prices),
    )


def _waited(first_heard: float, speech_ends: list[float], sounds: list[tuple[float, str]]) -> float | None:
    """How long the user waited for this sound; None if the model spoke meanwhile, or the user hadn't."""
    asked = max((end for end in speech_ends if end <= first_heard), default=None)
    if asked is None or any(asked < t < first_heard for t, _ in sounds):
        return None
    return first_heard - asked


def _words(digest: Digest, spoken: dict[str, Spoken]) -> list[Words]:
    words = [_placed(draft, digest, spoken.get(draft.item)) for draft in digest.words.values()]
    return sorted((said for said in words if said.text), key=lambda said: said.t)


def _placed(draft: WordsDraft, digest: Digest, spoken: Spoken | None) -> Words:
    """Words at the time at which they sounded, instead of when they were transcribed."""
    span = digest.speech.get(draft.item)
    if span is not None:
        return draft.finish(span.start, draft.t if span.end is None else span.end, None)
    if spoken is None or not spoken.heard:
        return draft.finish(draft.t, draft.t, None)
    unheard = spoken.arrived_s - spoken.heard_s
    heard = spoken.heard_s / spoken.arrived_s if unheard > UNHEARD_SECONDS else None
    return draft.finish(spoken.heard[0][0], spoken.heard[-1][1], heard)
