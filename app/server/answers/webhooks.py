"""What came of a test delivery."""

from pydantic import Field

from app.server.answers.schemas import Schema


class WebhookTested(Schema):
    """A test message was sent, and this is what the receiver said."""

    message_id: str = Field(description="The header webhook-id of the message.")
    delivered: bool = Field(description="Whether the receiver answered with 2xx.")
    status: int | None = Field(description="What the receiver answered; null: it did not.")
    detail: str = Field(description="Why it was not delivered; empty if it was.")
