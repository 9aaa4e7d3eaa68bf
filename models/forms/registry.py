"""Lists all forms and chooses the one that fits a source."""

from models.forms import conch, medclip, onnx
from models.forms.form import Form, FormRefused, PublishedFiles
from models.forms.hugging_face import clip as hf_clip
from models.forms.hugging_face import keep, siglip
from models.forms.open_clip import bert as open_clip_bert
from models.forms.open_clip import clip as open_clip

FORMS: tuple[Form, ...] = (
    hf_clip.FORM,
    open_clip.FORM,
    open_clip_bert.FORM,
    medclip.FORM,
    keep.FORM,
    siglip.FORM,
    conch.FORM,
    onnx.FORM,
)


def choose_form(source: PublishedFiles) -> Form:
    """Returns the form of a source: the one its description names if it fits, else one that fits.

    Raises:
        FormRefused: no form fits, or the form that fits holds weights of another architecture.
    """
    fitting = [form for form in FORMS if form.recognises(source)]
    fitting.sort(key=lambda form: form.name != source.published)
    architecture = source.description.architecture
    for form in fitting:
        if architecture in form.architectures:
            return form
    expected = [form.looks_like for form in FORMS if architecture in form.architectures]
    found = f"looks like {fitting[0].looks_like}" if fitting else "is none of them"
    raise FormRefused(
        f"Weights of {source.description.id!r} come as {', or as '.join(expected)}; "
        f"{source.path} {found}."
    )


def get_form(name: str) -> Form:
    """Returns the form with this name."""
    return next(form for form in FORMS if form.name == name)
