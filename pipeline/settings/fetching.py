"""The section fetch of params.yaml: how photos are fetched by their addresses."""

from typing import Annotated

from pydantic import Field

from pipeline.core.bounds import Distinct, Few
from pipeline.settings.sections import Section

HOSTS = ["m.media-amazon.com", "images-na.ssl-images-amazon.com"]

Host = Annotated[str, Field(pattern=r"^[a-z0-9.-]{1,253}$")]
Contact = Annotated[str, Field(pattern=r"^[!-~]([ -~]{0,198}[!-~])?$|^$")]  # it goes into a header
Seconds = Annotated[float, Field(ge=0.01, le=86_400)]


class FetchSettings(Section):
    """How photos are fetched. None of these changes a photo that is there, but for pixels, which names another one.

    Attributes:
        contact: an e-mail address or a page of whoever fetches, for the hosts; "": nothing is fetched.
        hosts: the only ones that are asked, also after redirects.
        pixels: the longest side that is asked for, where the address lets one choose.
        rate: requests a second to a host.
        connections: to a host at a time.
        connect_seconds, read_seconds, total_seconds: until a host is reached; between two pieces of an answer; for
            the whole of it.
        most_bytes: of a photo.
        tries: requests for an address whose fault may pass.
        longest_wait: seconds before a host is asked again, whatever it wishes.
        placeholder_items: as many items with the very same photo have none: it is a placeholder.
    """

    contact: Contact = ""
    hosts: Distinct[Host] = Field(default=HOSTS)
    pixels: Annotated[int, Field(ge=16, le=4096)] = 320
    rate: Annotated[float, Field(ge=0.001, le=10_000)] = 2.0
    connections: Annotated[int, Field(ge=1, le=256)] = 2
    connect_seconds: Seconds = 10.0
    read_seconds: Seconds = 20.0
    total_seconds: Seconds = 60.0
    most_bytes: Annotated[int, Field(ge=1, le=64 << 20)] = 8_000_000
    tries: Annotated[int, Field(ge=1, le=100)] = 4
    longest_wait: Seconds = 300.0
    placeholder_items: Few = 100
