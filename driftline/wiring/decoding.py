"""The decoder of a configuration, for workers and for whoever wants to know what they would make of an event."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from detectors.reference.profile import Profile
from driftline.settings import Settings
from driftline.wiring.references import types_in
from streams.decode.decoder import Decoder
from streams.decode.shapes import event_shape, topic_routes


def decoder_of(
    settings: Settings, profiles: Mapping[str, Mapping[str, Profile]], secret: bytes, topics: Collection[str]
) -> Decoder:
    """Make the decoder of a configuration.

    Parameters
    ----------
    profiles
        Those of the models' reference files, by model and version.
    secret
        With which prediction ids are digested.
    topics
        Those that are there to be read.
    """
    shapes = {name: event_shape(name, model, types_in(profiles[name])) for name, model in settings.models.items()}
    routes = {topic: route for topic, route in topic_routes(settings).items() if topic in topics}
    return Decoder(shapes, routes, settings.limits, secret, settings.privacy.dead_letter_payloads)
