"""The way from the node to the service that certifies."""

from app.client import Client
from app.dicom.settings import DicomSettings


def create_client(settings: DicomSettings) -> Client:
    """A client that never waits for the service: whoever calls tries again in its own time.

    Raises:
        ClientError: address, key or authorities cannot be used.
    """
    trust = True if settings.ca is None else str(settings.ca)
    return Client(
        settings.server,
        api_key=settings.api_key_file,
        verify=trust,
        patience_s=0,
        allow_plain_http=settings.allow_plain_http,
    )
