"""The time of a purchase, as people write it, in seconds since 1970; what could be two days is refused, not guessed."""

import re
from datetime import UTC, datetime

from pipeline.core.errors import Unusable

WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
POINT_ZERO = re.compile(r"([+-]?[0-9]{1,19})\.0*")  # whole seconds in a column of floats
NAMED_DAY = re.compile(r"(19|20)[0-9]{6}")
LATEST = 10**11  # seconds, in the year 5138; of larger numbers a thousandth is meant, or a thousandth of that
THOUSAND = 1000
UNKNOWN = "the time is neither whole seconds nor an ISO date: set source.dates to its format, such as %d/%m/%Y"


def seconds(text: str, form: str = "") -> int:
    """Seconds since 1970, in UTC unless the text says otherwise.

    Whole numbers are seconds, or milli-, micro- or nanoseconds where they would lie beyond the year 5138; eight digits
    that are a day, as in 20200915, are that day.

    Args:
        text: of a number, or of an ISO date with or without a time.
        form: of dates, as strptime has it; "": ISO 8601.

    Raises:
        Unusable: when it is neither, or not of the form.

    >>> seconds("1600128000"), seconds("1600128000000"), seconds("1600128000.0"), seconds("20200915")
    (1600128000, 1600128000, 1600128000, 1600128000)
    >>> seconds("2020-09-15T02:00+02:00"), seconds("15/09/2020", "%d/%m/%Y")
    (1600128000, 1600128000)
    """
    if not text:
        raise Unusable("no time")
    if form:
        return _of_moment(text, form)
    if whole := POINT_ZERO.fullmatch(text):
        text = whole[1]
    if NAMED_DAY.fullmatch(text):
        return _of_moment(text, "%Y%m%d")
    return _of_number(int(text)) if WHOLE.fullmatch(text) else _of_moment(text, "")


def _of_number(number: int) -> int:
    while abs(number) >= LATEST:
        number = number // THOUSAND
    return number


def _of_moment(text: str, form: str) -> int:
    try:
        moment = datetime.strptime(text, form) if form else datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() // 1)
    except (ValueError, OverflowError):
        raise Unusable(f"the time is not of the form {form}" if form else UNKNOWN) from None
