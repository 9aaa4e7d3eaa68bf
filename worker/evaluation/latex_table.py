"""Formats results as a LaTeX table (booktabs), with the figures of the Markdown one."""

from collections.abc import Iterator

from worker.evaluation.results import Arm, AtRadius, EvaluationResults
from worker.evaluation.tables import (
    describe_procedure,
    find_reached,
    format_mean_radius,
    format_ratio,
)

_OUT_OF_REACH = "--"
_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def format_latex(results: EvaluationResults) -> str:
    r"""A `table` to be \input, which needs the package booktabs.

    One row per target or baseline and noise level: abstentions, average certified radius (ACR), and
    certified accuracy at the radii that some row can reach.
    """
    return "\n".join(_lines(results)) + "\n"


def _lines(results: EvaluationResults) -> Iterator[str]:
    question, reached = results.question, find_reached(results)
    yield r"\begin{table}"
    yield r"  \centering"
    yield rf"  \caption{{{_describe(results)}}}"
    yield rf"  \begin{{tabular}}{{l{'r' * (3 + len(reached))}}}"
    yield r"    \toprule"
    radii = " & ".join(f"{radius:f}" for radius in reached)
    yield rf"    prompting & $\sigma$ & abstained & ACR & {radii} \\"
    yield r"    \midrule"
    before = question.sigmas[0]
    for arm in results.arms:
        if arm.sigma != before:
            yield r"    \addlinespace"
        before = arm.sigma
        cells = [_cell(arm, at) for at in arm.at_radius if at.radius in reached]
        yield f"    {' & '.join([*_head(arm), *cells])} " + r"\\"
    yield r"    \bottomrule"
    yield r"  \end{tabular}"
    yield r"\end{table}"


def _head(arm: Arm) -> list[str]:
    abstained = format_ratio(arm.abstained, arm.images)
    return [escape(arm.label), f"{arm.sigma:f}", abstained, format_mean_radius(arm)]


def _cell(arm: Arm, at: AtRadius) -> str:
    if at.radius > arm.largest_radius:
        return _OUT_OF_REACH
    return format_ratio(at.accuracy.right, at.accuracy.images)


def _describe(results: EvaluationResults) -> str:
    question = results.question
    model = question.identity.model
    procedure = describe_procedure(question).replace("`", "")
    return (
        r"Certified accuracy by $\ell_2$ radius and average certified radius (ACR) of "
        rf"{escape(model.id)} (SHA-256 \texttt{{{model.sha256[:16]}}}) on "
        rf"{results.arms[0].images} images of {escape(question.dataset)} {escape(question.split)} "
        rf"(seed {question.seed}); {escape(procedure)}, $\alpha = {question.alpha:f}$."
    )


def escape(text: str) -> str:
    """Text without a sign that LaTeX reads as more than itself."""
    return "".join(_SPECIAL.get(sign, sign) for sign in text)
