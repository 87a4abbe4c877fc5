"""Asking the address sources in their order, and what follows from their answers together."""

from collections.abc import Sequence

from msgspec.structs import replace

from rewardpost import metrics
from rewardpost.address_check import MISSING, check, clean
from rewardpost.addresses import AddressProblem, PostalAddress
from worker.address_sources.protocol import AddressSource, Answer, Customer, Found, NotFound, TryLater


async def look_up(
    sources: Sequence[AddressSource], customer: Customer, *, served: frozenset[str] | None
) -> PostalAddress | AddressProblem | TryLater:
    """Return the first address that a parcel can be sent to.

    Later sources are asked only while there is none. If none of them has one, a source that could not be asked
    outweighs the others' answers, since it may be the one that has; otherwise the problem comes back that says the
    most, or "missing" where no source knows an address. While the customer is in a source's line, no later source is
    asked: which one gives the address must not depend on how busy it is.

    A draft without a name is given the one that an earlier source or the webhook knew.

    Args:
        sources: in the order in which they are to be asked.
        customer: whose address is wanted.
        served: alpha-2 codes of the countries that parcels go to; None means everywhere.
    """
    name = customer.name
    problem = MISSING
    postponed: TryLater | None = None
    for source in sources:
        with metrics.ADDRESS_LOOK_UP_SECONDS.labels(source.name).time():
            answer = await source.find(customer)
        metrics.ADDRESS_LOOK_UPS.labels(source.name, _outcome(answer)).inc()
        match answer:
            case Found(draft):
                name = clean(draft.name or "") or name
                result = check(replace(draft, name=name), served=served)
                if isinstance(result, PostalAddress):
                    return result
                problem = result if problem.kind == "missing" else problem
            case TryLater(in_line=True):
                return answer
            case TryLater():
                postponed = _sooner(postponed, answer)
    return postponed or problem


def _outcome(answer: Answer) -> str:
    match answer:
        case Found():
            return "found"
        case NotFound():
            return "not_found"
        case TryLater(in_line=in_line):
            return "in_line" if in_line else "try_later"


def _sooner(known: TryLater | None, found: TryLater) -> TryLater:
    """Prefer the source that can be asked again first; one that names no time can be asked soonest."""
    if known is None or found.retry_after is None:
        return found
    return found if known.retry_after is not None and found.retry_after < known.retry_after else known
