"""Which moment of a pasted series is meant, such as of a buddyinfo a minute (`procfs.pasted` tells them apart)."""

from kmsim.procfs.pasted import Moment
from kmsim.survey.texts import SurveyError, Text


def chosen(text: Text, moments: list[Moment], which: int | None, notes: list[str]) -> str:
    """The moment that is meant: the last, unless the user says which; a note where there are several."""
    if which is not None and not 1 <= which <= len(moments):
        raise SurveyError(text.path, f"have a moment {which}", f"{len(moments)} of {text.kind}")
    number = len(moments) if which is None else which
    moment = moments[number - 1]
    if len(moments) > 1:
        when = f" ({moment.when})" if moment.when else ""
        notes.append(f"{text.path}: moment {number} of {len(moments)}{when} is taken; --which takes another")
    return moment.content
