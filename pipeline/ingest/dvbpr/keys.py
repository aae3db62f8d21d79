"""Keys of a pickle's tables, and its text, each spelt in one way."""


def key_of(value: object) -> int | str | None:
    """Spells a key in one way, whether a number, its digits or a name; None where it is none of these.

    >>> key_of(7), key_of(b"7"), key_of("B7"), key_of(7.5)
    (7, 7, 'B7', None)
    """
    if type(value) is int:
        return value if value.bit_length() < 64 else None
    text = text_of(value)
    if text and len(text) < 19 and text.isascii() and text.isdigit():
        return int(text)
    return text or None


def in_order(key: int | str) -> tuple[bool, int | str]:
    """What sorts keys: numbers, then names.

    >>> sorted(["b", 7, "a", 3], key=in_order)
    [3, 7, 'a', 'b']
    """
    return isinstance(key, str), key


def text_of(value: object) -> str | None:
    """Gives bytes or text as text that can be written as UTF-8; None for anything else.

    >>> text_of(b"hat"), text_of("hat"), text_of(7)
    ('hat', 'hat', None)
    """
    if type(value) is str:
        return value.encode("utf-8", "replace").decode("utf-8")  # a pickle can hold halves of characters
    return value.decode("utf-8", "replace") if type(value) is bytes else None
