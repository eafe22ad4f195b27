"""The benchmarks page: measure models against real images, compare them with error bars, see what makes the number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from arena.bootstrap import Arena
from arena.domain import RunKind, Score
from arena.services import benchmarks, references
from arena.services.benchmarks import Column, Request
from arena.ui import plots, runs
from arena.ui.common import (
    LABEL_PIXELS,
    empty_state,
    heading,
    may_run,
    plain,
    runs_are_not_yours,
    said_plainly,
    the_arena,
)

SHORT = 8
ROW_PIXELS = 34
AXIS_PIXELS = 56
PICTURE_PIXELS = 165  # two beside each other on a phone
VIEWS = ("Models", "Runs", "Number of images", "Images that hurt most", "Files")
FEW = 3
"""So many pictures that were left out are named; all are counted."""

TITLES = {
    "fid-clean": "FID",
    "kid": "KID",
    "fd-efficientnet-lite0": "FD of EfficientNet-lite0 features",
    **{recipe.name: recipe.title for recipe in benchmarks.TEXT_IMAGE.values()},
}

CHECKED = {
    references.SIZES: "sizes",
    references.FILES: "the share and quality of JPEG files, transparency and greyscale",
}
"""What `services.references` looks for on both sides, in words; copies have a sentence of their own."""

COLUMNS = {
    "subject": st.column_config.TextColumn("Model", width="medium"),
    "metric": st.column_config.TextColumn("Figure"),
    "value": st.column_config.NumberColumn("Value", format="%.4g"),
    "debiased": st.column_config.NumberColumn(
        "Debiased", format="%.4g", help="What the value would be with any number of images, as far as these tell"
    ),
    "interval": st.column_config.TextColumn("95% interval", help="Of the debiased value where there is one"),
    "run_id": st.column_config.NumberColumn("Run", format="%d"),
    "at": st.column_config.DatetimeColumn("When (UTC)", format="D MMM YYYY, HH:mm"),
    "unscored": st.column_config.TextColumn("Unscored because", width="large"),
    "n_real": st.column_config.NumberColumn("Real", help="Real images compared with"),
    "n_generated": st.column_config.NumberColumn("Generated", help="Images of the model"),
    "left_out": st.column_config.NumberColumn("Left out", help="Images of the model that could not be read"),
    "reference_set": st.column_config.TextColumn("Reference set"),
    "content": st.column_config.TextColumn("Content", help="Hash of the reference set's content"),
    "seconds": st.column_config.NumberColumn("Seconds", format="%.1f"),
    "protocol": st.column_config.TextColumn("Protocol", help="Name and version of the recipe"),
    "fingerprint": st.column_config.TextColumn("Fingerprint", help="Hash of every setting of the recipe"),
}

COMPARE = """
A distance measures how far the features of a model's images lie from those of real ones; smaller is closer. **Only
values of one protocol, one fingerprint and one reference set stand in one chart**: another resize, other weights or
other real images shift a value by more than models differ. The plain value also falls as the number of images grows;
the debiased one does not, as far as so many images can tell.
"""


def page() -> None:
    heading(
        "Benchmarks",
        "Automatic scores beside people's votes, with error bars. A run works in a process of its own; you may leave "
        "this page.",
    )
    with said_plainly():
        arena = the_arena()
        columns = benchmarks.columns(arena)
        if columns:
            draw_column(arena, chosen_column(columns))
        draw_start(arena, expanded=not columns)
        runs.watch(RunKind.BENCHMARK, benchmarks.resume)
        draw_scores(benchmarks.scores(arena))


def chosen_column(columns: list[Column]) -> Column:
    """The visitor's choice, kept in the page's address."""
    names = column_names(columns)
    asked = st.query_params.get("figure")
    options = list(names)
    choice = st.selectbox("Figure", options, index=options.index(asked) if asked in options else 0, width=640)
    st.query_params["figure"] = choice
    return names[choice]


def column_names(columns: list[Column]) -> dict[str, Column]:
    """What each is called: figure, protocol and reference set, and the fingerprint where these are not enough."""
    short = [f"{title(column.metric)} · {column.protocol.id} · {column.reference or 'no set'}" for column in columns]
    return {
        name if short.count(name) == 1 else f"{name} · {column.protocol.fingerprint[:SHORT]}": column
        for name, column in zip(short, columns, strict=True)
    }


def title(metric: str) -> str:
    return TITLES.get(metric, metric.capitalize())


def draw_column(arena: Arena, column: Column) -> None:
    view = st.segmented_control("View", VIEWS, default=VIEWS[0], required=True, label_visibility="collapsed")
    if view == "Models":
        draw_models(column)
    elif view == "Runs":
        draw_runs(arena, column)
    elif view == "Number of images":
        draw_curves(column)
    elif view == "Images that hurt most":
        draw_worst(arena, column)
    else:
        draw_files(column)


def draw_models(column: Column) -> None:
    st.altair_chart(chart(column), width="stretch")
    better = "larger is better" if column.higher_is_better else "smaller is closer to the real images"
    st.caption(
        f"The dot is the best estimate and the bar its 95% interval{ticked(column.scores)}; {better}. Fingerprint "
        f"{column.protocol.fingerprint[:SHORT]}."
    )
    fewest = min(column.scores, key=lambda score: images_of(score) or 0)
    warn(fewest.details.get("warnings", ()), ":material/warning:")
    warn([sentence for sentence in map(left_out, column.scores) if sentence], ":material/broken_image:")
    pairs = differences(column)
    if not pairs.empty:
        st.markdown("**On the same prompts**, pair by pair; what the prompts and the reference share cancels:")
        st.dataframe(pairs, hide_index=True, width="content")
    for sentence in without_difference(column):
        st.caption(plain(sentence))


def ticked(scores: Sequence[Score]) -> str:
    """What the tick of `intervals` is, where there is one."""
    return ", the tick the plain value" if any(score.details.get("debiased") is not None for score in scores) else ""


def warn(sentences: Sequence[str], icon: str) -> None:
    """All of them in one box."""
    if sentences:
        st.warning("\n\n".join(map(plain, sentences)), icon=icon)


def without_difference(column: Column) -> list[str]:
    """A sentence for each pair of models of one run that has no paired difference."""
    found: dict[frozenset[str], str] = {}
    for score in column.scores:
        for other in score.details.get("unpaired", ()):
            pair = frozenset((score.subject, other["subject"]))
            said = f"No paired difference of {score.subject} and {other['subject']}: {other['reason']}."
            found.setdefault(pair, said)
    return list(found.values())


def left_out(score: Score) -> str | None:
    """That pictures of a model could not be read, with the first reasons."""
    count, named = score.details.get("n_dropped", 0), score.details.get("dropped", ())
    if not count:
        return None
    reasons = "; ".join(f"{name}: {reason.removeprefix(name).strip(' .')}" for name, reason in named[:FEW])
    more = f"; and {count - FEW} more" if count > FEW else ""
    pictures, were = ("pictures", "were") if count > 1 else ("picture", "was")
    return f"{count} {pictures} of {score.subject} could not be read and {were} left out ({reasons}{more})."


def chart(column: Column) -> alt.LayerChart:
    """A dot and a bar for each model, best first."""
    return intervals([(score.subject, score) for score in column.scores], column.metric, "model")


def intervals(shown: list[tuple[str, Score]], metric: str, what: str) -> alt.LayerChart:
    """A dot and a bar for each label and its score, in this order; `what` is labelled."""
    rows = pd.DataFrame([{**chart_row(score), "label": label} for label, score in shown])
    tooltip = [
        alt.Tooltip("label:N", title=what.capitalize()),
        alt.Tooltip("best:Q", format=".4g", title="Best estimate"),
        alt.Tooltip("low:Q", format=".4g", title="From"),
        alt.Tooltip("high:Q", format=".4g", title="To"),
        alt.Tooltip("value:Q", format=".4g", title="Plain value"),
        alt.Tooltip("n_generated:Q", title="Images"),
    ]
    name = title(metric)
    base = alt.Chart(rows).encode(
        y=alt.Y("label:N", sort=[label for label, _ in shown], title=None,
                axis=alt.Axis(labelLimit=LABEL_PIXELS, ticks=False, domain=False, labelPadding=8)),
        tooltip=tooltip,
    )  # fmt: skip
    scale = alt.Scale(zero=False, nice=True)
    bars = base.mark_bar(height=6, opacity=0.35, cornerRadius=3).encode(
        x=alt.X("low:Q", title=name, scale=scale, axis=alt.Axis(tickCount=6)), x2="high:Q"
    )
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(x=alt.X("best:Q", scale=scale))
    ticks = base.mark_tick(thickness=2, size=14, opacity=0.8).encode(x=alt.X("plain:Q", scale=scale))
    values = ", ".join(f"{label} {benchmarks.best_guess(score):.4g}" for label, score in shown)
    return alt.layer(bars, ticks, dots).properties(
        height=ROW_PIXELS * len(rows) + AXIS_PIXELS, description=f"{name} by {what}: {values}"
    )


def chart_row(score: Score) -> dict[str, Any]:
    details = score.details
    return {
        "best": benchmarks.best_guess(score),
        "low": details.get("low"),
        "high": details.get("high"),
        "value": score.value,
        "plain": score.value if details.get("debiased") is not None else None,
        "n_generated": images_of(score),
    }


def images_of(score: Score) -> int | None:
    """How many images of the model it is of."""
    return score.details.get("n_generated", score.details.get("n"))


def differences(column: Column) -> pd.DataFrame:
    """One row for each pair of models that were measured in one run: who is closer, and how surely."""
    shown, seen = [], set()
    for score in column.scores:
        for versus in score.details.get("versus", ()):
            pair = frozenset((score.subject, versus["subject"]))
            if pair in seen:
                continue
            seen.add(pair)
            certain = versus["high"] < 0 or versus["low"] > 0
            first, second = (
                (score.subject, versus["subject"]) if versus["value"] < 0 else (versus["subject"], score.subject)
            )
            low, high = sorted(abs(end) for end in (versus["low"], versus["high"])) if certain else (0.0, 0.0)
            shown.append(
                {
                    "Closer": first,
                    "than": second,
                    "by": f"{abs(versus['value']):.3g}",
                    "95% interval": f"{low:.3g} to {high:.3g}" if certain else "may be the other way round",
                    "Images": versus["n"],
                }
            )
    return pd.DataFrame(shown)


def draw_runs(arena: Arena, column: Column) -> None:
    """Scores of one model from several runs beside each other: another number of images, another reference."""
    history = benchmarks.history(arena, column.metric)
    order = {score.subject: place for place, score in enumerate(column.scores)}
    models = sorted(history, key=lambda name: (len(history[name]) < 2, order.get(name, len(order)), name))
    left, right = st.columns([2, 5])
    model = left.selectbox("Model", models)
    labelled = run_labels(history[model])
    chosen = right.multiselect("Runs", list(labelled), default=list(labelled)[:2], key=f"runs-of-{model}")
    if len(labelled) < 2:
        st.info(f"{plain(model)} has been measured once with this figure. Start another run to compare it with.")
    if not chosen:
        return
    shown = [(label, labelled[label]) for label in labelled if label in chosen]
    scores = [score for _, score in shown]
    plots.figure(
        intervals(shown, column.metric, "run"), run_table(shown), f"{title(column.metric)} of {model} by run",
        f"The dot is the best estimate and the bar its 95% interval{ticked(scores)}. {apart(scores)}",
    )  # fmt: skip


def run_labels(scores: list[Score]) -> dict[str, Score]:
    """A short name of each score of a model, newest first: its run and its number of images."""
    found: dict[str, Score] = {}
    for score in scores:
        run = f"Run {score.run_id}" if score.run_id else "Without a run"
        label = f"{run}, {images_of(score) or '?'} images"
        if label in found:
            label = f"{label}, {score.protocol.id}"
        while label in found:
            label += " again"
        found[label] = score
    return found


def run_table(shown: list[tuple[str, Score]]) -> pd.DataFrame:
    """What is known of each, side by side."""
    rows = []
    for label, score in shown:
        low, high = score.details.get("low"), score.details.get("high")
        rows.append(
            {
                "Run": label,
                "When (UTC)": f"{score.at:%d %b %Y, %H:%M}" if score.at else None,
                "Best estimate": benchmarks.best_guess(score),
                "From": low,
                "To": high,
                "Plain value": score.value,
                "Images": images_of(score),
                "Real images": score.details.get("n_real"),
                "Reference set": reference_name(score),
                "Protocol": f"{score.protocol.id} ({score.protocol.fingerprint[:SHORT]})",
            }
        )
    return pd.DataFrame(rows)


def reference_name(score: Score) -> str:
    """With the hash of its content, where that was recorded."""
    name, content = benchmarks.reference_of(score)
    return f"{name} ({content[:SHORT]})" if content else name


def apart(scores: list[Score]) -> str:
    """What these scores of one model differ in, and what may be concluded from them."""
    if len(scores) < 2:
        return "Choose a second run to see what differs."
    if len({score.protocol.fingerprint for score in scores}) > 1:
        return (
            "**Their protocols have different fingerprints**: the values are of different measures, and which of them "
            "is smaller says nothing about the pictures."
        )
    if len(sets := dict.fromkeys(map(reference_name, scores))) > 1:
        return (
            f"**They were measured against different reference sets**, {plain(' and '.join(sets))}: the difference "
            "tells as much about the real images as about the model's."
        )
    if len({images_of(score) for score in scores}) > 1:
        plain_values = any(score.details.get("debiased") is not None for score in scores)
        return "Protocol and reference set are the same, the number of images is not: " + (
            "compare the best estimates, as the plain value falls with more images."
            if plain_values
            else "the interval says how much that matters."
        )
    return (
        "Protocol, reference set and number of images are the same: what differs is the pictures, or nothing where "
        "the same ones were measured again."
    )


def draw_curves(column: Column) -> None:
    points = [
        {"model": score.subject, "n": n, "value": value}
        for score in column.scores
        for n, value in score.details.get("curve", ())
    ]
    if not points:
        st.info("This figure was measured without its curve; run it again to see it.")
        return
    if len({point["n"] for point in points}) < 2:
        st.info(f"There are too few images for parts of them to be measured: {points[0]['n']} of a model.")
        return
    plots.figure(
        curves(column, points), pd.DataFrame(points), f"{title(column.metric)} and number of images",
        "The plain value of parts of the images: of all, of halves, of quarters. A line that still falls at its right "
        "end says that the value would go on falling with more images.",
    )  # fmt: skip


def curves(column: Column, points: list[dict[str, Any]]) -> alt.Chart:
    """A line for each model through its points (model, n, value)."""
    rows = pd.DataFrame(points)
    order = [score.subject for score in column.scores]
    ends = {point["model"]: point for point in sorted(points, key=lambda point: point["n"])}
    said = "; ".join(f"{name} {ends[name]['value']:.4g} of {ends[name]['n']}" for name in order if name in ends)
    legend = alt.Legend(title=None, orient="top", columns=2, labelLimit=LABEL_PIXELS, symbolSize=90)
    return (
        alt.Chart(rows)
        .mark_line(point=alt.OverlayMarkDef(size=55, filled=True), strokeWidth=2.5)
        .encode(
            x=alt.X("n:Q", title="Generated images", scale=alt.Scale(type="log", nice=False, padding=12)),
            y=alt.Y("value:Q", title=title(column.metric), scale=alt.Scale(zero=False)),
            color=alt.Color("model:N", sort=order, legend=legend),
            shape=alt.Shape("model:N", sort=order, legend=legend),
            tooltip=[
                alt.Tooltip("model:N", title="Model"),
                alt.Tooltip("n:Q", title="Images"),
                alt.Tooltip("value:Q", format=".4g", title="Plain value"),
            ],
        )
        .properties(
            height=340, description=f"{title(column.metric)} against the number of generated images; of all: {said}"
        )
    )


def draw_worst(arena: Arena, column: Column) -> None:
    shown = [score for score in column.scores if score.details.get("worst")]
    if not shown:
        st.info("Single images have no part of this figure that could be told; choose a Fréchet distance.")
        return
    name = st.selectbox("Model", [score.subject for score in shown], width=320)
    pictures = benchmarks.worst(arena, next(score for score in shown if score.subject == name))
    with st.container(horizontal=True):
        for one in pictures:
            place = st.container(width=PICTURE_PIXELS)
            place.image(one.content, width="stretch", alt=one.prompt)
            place.caption(f"{signed(one.amount)} · {plain(one.prompt)}")
    st.caption(
        "What each image adds to the distance, to first order: without it the distance would be smaller by about so "
        "much. Images that add most are unlike the real ones, or unlike what the others make up for."
    )


def signed(amount: float) -> str:
    return f"{amount:+.3g}".replace("-", "−")


def draw_files(column: Column) -> None:
    findings: dict[str, list[str]] = {}
    notes: dict[str, list[str]] = {}
    alike: dict[str, list[str]] = {}
    for score in column.scores:
        for finding in score.details.get("findings", ()):
            findings.setdefault(finding, []).append(score.subject)
        if said := found_alike(score):
            alike.setdefault(said, []).append(score.subject)
        if said := not_checked(column, score):
            notes.setdefault(said, []).append(score.subject)
    for finding, names in findings.items():
        st.warning(f"{plain(', '.join(names))}: {plain(finding)}", icon=":material/warning:")
    for said, names in alike.items():
        st.success(f"{plain(', '.join(names))}: {said}", icon=":material/check_circle:")
    for said, names in notes.items():
        st.info(f"{plain(', '.join(names))}: {plain(said)}", icon=":material/visibility_off:")
    st.caption(
        "What a distance would see apart from the pictures themselves. The same for two folders: `arena inspect REAL "
        "GENERATED`."
    )


def found_alike(score: Score) -> str | None:
    """What was compared and found alike on both sides, of a score without findings."""
    checked = score.details.get("checked")
    if not checked or score.details.get("findings"):
        return None
    alike = ", ".join(words for check, words in CHECKED.items() if check in checked)
    said = [f"{alike} are alike on both sides"] if alike else []
    if references.COPIES in checked:
        said.append("no picture is a copy of a real one")
    return f"{', and '.join(said)}."


def not_checked(column: Column, score: Score) -> str | None:
    """What was not compared, and why."""
    if "checked" in score.details:
        return score.details.get("unchecked")
    if not score.details.get("reference_set"):
        return f"Nothing was checked: {title(column.metric)} compares with no real images."
    return "What was checked was not recorded by the version that measured this; run it again."


def draw_start(arena: Arena, expanded: bool) -> None:
    names = [contestant.name for contestant in benchmarks.contestants(arena)]
    if not names:
        empty_state(
            "Nothing to measure yet",
            "Whoever runs this arena can add the embedded models and their pictures with `arena demo`.",
        )
        return
    if not may_run(arena):
        runs_are_not_yours()
        return
    usable, missing = benchmarks.offered(arena)
    titles = {recipe.id: f"{recipe.title} ({recipe.id})" for recipe in usable}
    with st.expander("New run", expanded=expanded, icon=":material/science:"), st.form("start", border=False):
        chosen = st.multiselect("Models", names, default=names, placeholder="Choose models")
        left, middle, right = st.columns([4, 2, 2], vertical_alignment="bottom")
        default = [name for name in benchmarks.DEFAULT_METRICS if name in titles]
        metrics = left.multiselect("Metrics", list(titles), default=default, format_func=titles.__getitem__)
        reference = middle.selectbox("Real images", benchmarks.references(arena), help="More: `arena stats --name`")
        n_real = right.number_input(
            "Rendered scenes", min_value=2, max_value=50_000, value=benchmarks.DEFAULT_N_REAL, step=100,
            help="How many real images of the embedded world to compare with. More are slower and less biased.",
        )  # fmt: skip
        pressed = st.form_submit_button("Run", type="primary", icon=":material/play_arrow:")
        if missing:
            st.caption("Not offered, as their weights are not here: " + ", ".join(plain(name) for name, _ in missing))
    if pressed:
        with said_plainly():
            run_id = benchmarks.start(arena, Request(tuple(chosen), tuple(metrics), reference, int(n_real)))
            st.toast(f"Run {run_id} started.")


def draw_scores(scores: list[Score]) -> None:
    if not scores:
        st.markdown("No scores yet. What comes out of a run is kept here.")
        st.caption(COMPARE)
        return
    with st.expander(f"All {len(scores)} scores", icon=":material/table_rows:"):
        st.dataframe(table(scores), column_config=COLUMNS, hide_index=True, placeholder="–", width="stretch")
    st.caption(COMPARE)


def table(scores: list[Score]) -> pd.DataFrame:
    rows = pd.DataFrame([score_row(score) for score in scores], columns=list(COLUMNS))
    return rows if rows["unscored"].any() else rows.drop(columns="unscored")


def score_row(score: Score) -> dict[str, Any]:
    details = score.details
    low, high = details.get("low"), details.get("high")
    return {
        "subject": score.subject,
        "metric": score.metric,
        "value": score.value,
        "debiased": details.get("debiased"),
        "interval": None if low is None or high is None else f"{low:.4g} to {high:.4g}",
        "unscored": score.unscored,
        "n_real": details.get("n_real"),
        "n_generated": images_of(score),
        "left_out": details.get("n_dropped"),
        "reference_set": details.get("reference_set"),
        "content": details.get("reference_sha256", "")[:SHORT] or None,
        "seconds": details.get("seconds"),
        "run_id": score.run_id,
        "at": score.at,
        "protocol": score.protocol.id,
        "fingerprint": score.protocol.fingerprint[:SHORT],
    }
