"""The evaluation of a run: a few phrases beside the curves, and the whole sheet."""

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from core.numerals import grouped
from spd_tui.rows.evaluation import Evaluation, sheet, words
from spd_tui.rows.wrapping import wrapped
from spd_tui.widgets.log_view import LinesView, ViewLine


class EvaluationWords(Widget):
    """The evaluation in phrases, as many lines as there is room."""

    DEFAULT_CSS = "EvaluationWords { height: auto; max-height: 4; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.text = ""

    def show(self, evaluation: Evaluation | None) -> None:
        """Say what was found."""
        text = "; ".join(words(evaluation))
        if evaluation is not None and not evaluation.finished and evaluation.step is not None:
            text = f"step {grouped(evaluation.step)}: {text}"
        if text != self.text:
            self.text = text
            self.refresh(layout=True)

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """As many lines as the text takes."""
        return max(1, len(wrapped(self.text, max(10, width))))

    def render_line(self, y: int) -> Strip:
        """One line of it."""
        width, base = self.size.width, self.rich_style
        lines = wrapped(self.text, max(10, width), most=self.size.height)
        if y >= len(lines):
            return Strip.blank(width, base)
        return Strip([Segment(lines[y], base)]).adjust_cell_length(width, base)


class EvaluationSheet(LinesView):
    """Everything an evaluation measured."""

    def show_evaluation(self, evaluation: Evaluation | None) -> None:
        """Show it; an unchanged one is not painted again."""
        lines: list[ViewLine] = []
        for section in sheet(evaluation):
            tabular = section.title in ("Modules", "Masks", "Losses", "Other metrics")
            lines.append(ViewLine(section.title, strong=True))
            lines.extend(ViewLine(f"  {text}", wrap=not tabular) for text in section.lines)
            lines.append(ViewLine(""))
        self.show(lines)
