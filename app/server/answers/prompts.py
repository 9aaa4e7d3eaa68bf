"""What HTTP shows about prompts."""

from pydantic import Field

from app.server.answers.schemas import Schema
from models.prompts.cards import PromptCard


class PromptLinks(Schema):
    """Where the rest is."""

    self: str
    ctx: str = Field(description="The vectors in JSON.")
    safetensors: str = Field(description="The vectors as a safetensors file.")


class PromptView(PromptCard):
    """A prompt as its card describes it."""

    links: PromptLinks


class PromptList(Schema):
    """Learned and imported prompts, by id. Those adapted to one image are found by their names."""

    prompts: tuple[PromptView, ...]


def prompt_path(prompt_id: str) -> str:
    """The path of a prompt."""
    return f"/prompts/{prompt_id}"


def prompt_view(card: PromptCard) -> PromptView:
    """The card, with links to the vectors; without the digests of the images it was learned on."""
    path = prompt_path(card.id)
    links = PromptLinks(self=path, ctx=f"{path}/ctx", safetensors=f"{path}/ctx.safetensors")
    facts = {name: getattr(card, name) for name in PromptCard.model_fields}
    if card.learning is not None:
        facts["learning"] = card.learning.model_copy(update={"images": ()})
    return PromptView(**facts, links=links)
