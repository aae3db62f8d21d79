"""Where the data are from, said wherever a number made from them is shown."""

DRAWN = "images drawn by a program, users who do not exist. No number here is about people."
SHOWN = "real images, and purchases of users who do not exist. No number here is about people."


def source(data: dict) -> str:
    """For a title.

    Args:
        data: the content of description.json.

    >>> source({"source": "demo", "simulated": True})
    'demo, simulated'
    """
    return f"{data['source']}, simulated" if data["simulated"] else str(data["source"])


def origin(data: dict, simulated: str) -> str:
    """One or two sentences.

    Args:
        data: the content of description.json.
        simulated: the word for simulated data, as loud as the format allows.

    >>> origin({"source": "table", "simulated": False}, "Simulated")
    'Source: table.'
    >>> origin({"source": "table", "simulated": True, "drawn": False}, "Simulated")
    'Source: table. Simulated: real images, and purchases of users who do not exist. No number here is about people.'
    """
    sentence = f"Source: {data['source']}."
    return f"{sentence} {simulated}: {DRAWN if data['drawn'] else SHOWN}" if data["simulated"] else sentence
