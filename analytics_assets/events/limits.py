"""The collector's limits: sizes of the protocol, and how long a request may wait for its commit.

Times are chosen by the clients' own code, so that each of them survives a database that is away for a minute:
@segment/analytics-node gives up waiting for an answer after 10 s, segment-analytics-python and rudder-sdk-python after 15 s;
@rudderstack/rudder-sdk-node makes 4 tries in all and waits between them as long as Retry-After says. 3 x (8 + 15) + 8 s
reach over 77 s, and 3 x 25 s over 75 s where a request is turned away at once.
"""

from __future__ import annotations

#: Bytes of a request, inflated. Segment's "500 kB"; its Python client fills batches up to 508,300 bytes.
BATCH_BYTES = 500 * 1024
#: Bytes of an event as compact JSON.
EVENT_BYTES = 32 * 1024
#: Events of a batch: reading more at once would keep the others waiting.
BATCH_EVENTS = 5000
#: Characters of an id (userId, anonymousId, previousId, messageId, context.sessionId), and of an event's name.
ID_LENGTH = 255
NAME_LENGTH = 100
#: An event is nested at most so deep; a request that is nested deeper than 1,024 is no JSON to the parser.
DEPTH = 254

#: Seconds that a request is held in the hope of a commit, and seconds after which a client may come again.
HOLD_SECONDS = 8.0
RETRY_AFTER = 15
RETRY_AFTER_AT_ONCE = 25
#: Seconds in which the whole of a body must have come.
BODY_SECONDS = 30.0

#: Bytes of requests that wait for their commit, and requests that wait for room among them.
QUEUE_BYTES = 64 * 1024 * 1024
WAITING_REQUESTS = 2000
#: Events of one commit: many share one, and none waits long for it.
COMMIT_EVENTS = 1500
#: Lanes of a worker, each with a commit of its own at any time: one of them goes on while another waits for its organisations.
LANES = 2

#: What a revoked key may still do, in seconds.
KEY_SECONDS = 2.0

#: Rejected events that are kept for an operator, of one organisation: so many, and so many bytes of them.
QUARANTINE_EVENTS = 10_000
QUARANTINE_BYTES = 64 * 1024 * 1024
