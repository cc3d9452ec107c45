"""The page that uploads begin on: where to drop images, and the card of what answers."""

from markdown_it import MarkdownIt
from markupsafe import Markup

from fistula.predict.out.model_card import model_card
from fistula.predict.predictor import Predictor
from fistula.serve.uploads import UploadLimits
from fistula.viewer.page import template


def render_form(predictor: Predictor, limits: UploadLimits) -> str:
    """The page, with nothing beside it.

    Args:
        predictor: What scores the uploads.
        limits: Of one upload.
    """
    # Markdown without HTML of its own: what a run recorded is text.
    card = MarkdownIt("commonmark", {"html": False}).enable("table").render(model_card(predictor.runs))
    return template("serve", "form.html").render(
        runs=predictor.runs,
        classes=predictor.classes,
        finds_places=bool(predictor.runs[0].classifier.head.kinds),
        limits={"files": limits.max_files, "mb": limits.max_upload_mb},
        card=Markup(card),  # noqa: S704 (escaped by the renderer)
    )
