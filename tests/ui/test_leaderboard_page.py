"""The leaderboard and the pages it leads to, run by Streamlit itself: addresses, empty states, and nothing executed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from arena.bootstrap import Arena
from arena.domain import VOTES_BACKEND, Contestant, Outcome, Protocol, Score
from arena.services import battles, board_table, judging, showcase
from arena.services.board_view import View
from arena.services.history import Changes, Moment, Move
from arena.services.judging import Request
from arena.ui import board_html, plots
from arena.ui import leaderboard as page_module
from db import origins
from db.origins import Origin
from tests.ui.test_pages import text_of

Serve = Callable[..., AppTest]
HOSTILE = '<img src=x onerror="window.hacked=1"> **bold** 🧸 "quoted" & `code`'


class Texts(HTMLParser):
    """The text of each cell of a table, and every tag that was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, _attributes: object) -> None:
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def html_of(page: AppTest) -> str:
    return "\n".join(str(element.proto.body) for element in page.get("html"))


def parsed(html: str) -> Texts:
    parser = Texts()
    parser.feed(html)
    return parser


def names_shown(page: AppTest) -> list[str]:
    """Models in the order of the table's rows."""
    html = html_of(page)
    found = [part.split(">", 1)[1].split("</a>")[0] for part in html.split('<a href="model?name=')[1:]]
    return found


def rated_board(arena: Arena) -> None:
    for n in range(4):
        for battle, outcome in zip(battles.open_battles(arena, f"person:{n}", n=12), [*Outcome] * 3, strict=True):
            battles.vote(arena, f"person:{n}", battle.token, outcome)


@pytest.fixture
def rated(seeded: Arena) -> Iterator[Arena]:
    rated_board(seeded)
    yield seeded


def fine(page: AppTest) -> AppTest:
    assert not page.exception and not page.error
    return page


# The board


def test_the_board_shows_what_the_votes_made(serve: Serve, rated: Arena) -> None:
    page = fine(serve(rated, "leaderboard"))
    found = board_table.published(rated, View())
    assert found is not None
    assert names_shown(page) == [row["name"] for row in found.table.rows]
    cells = " ".join(parsed(html_of(page)).cells)
    for row in found.table.rows:
        assert f"{row['rating']:.0f}{row['low']:.0f} to {row['high']:.0f}" in cells
        assert board_html.rank_set(row) in cells
    assert "48 votes" in text_of(page) and "the first ones here" in text_of(page)


def test_a_filter_changes_the_address_and_the_address_the_filter(serve: Serve, rated: Arena) -> None:
    page = serve(rated, "leaderboard")
    page.selectbox(key="address-category").set_value("cards").run()
    assert page.query_params["category"] in ("cards", ["cards"])
    few = text_of(fine(page))
    assert "from 48 votes" not in few
    again = fine(serve(rated, "leaderboard", category="cards"))
    assert again.selectbox(key="address-category").value == "cards" and text_of(again) == few
    page.selectbox(key="address-category").set_value("all").run()
    assert "category" not in page.query_params and "from 48 votes" in text_of(fine(page))


def test_every_filter_of_an_address_is_shown_by_its_widget(serve: Serve, rated: Arena) -> None:
    asked = {"time": "2026-01-01..", "sort": "-name", "search": "Swatch", "backend": "swatch", "weights": "unknown"}
    page = fine(serve(rated, "leaderboard", **asked))
    for name in ("time", "sort", "backend", "weights"):
        assert page.selectbox(key=f"address-{name}").value == asked[name]
    assert page.text_input(key="address-search").value == "Swatch"
    assert names_shown(page) == ["Swatch C", "Swatch B", "Swatch A"]
    assert page.date_input(key="address-from").value == datetime(2026, 1, 1).date()


def test_days_become_a_period_in_the_address(serve: Serve, rated: Arena) -> None:
    page = serve(rated, "leaderboard")
    today = datetime.now(UTC).date()
    page.date_input(key="address-to").set_value(today - timedelta(days=1)).run()
    assert page.query_params["time"] in (f"..{today - timedelta(days=1)}", [f"..{today - timedelta(days=1)}"])
    assert "No vote fits these filters" in text_of(fine(page))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"category": "<script>alert(1)</script>"}, "which this arena does not have"),
        ({"time": "soon"}, "All are shown"),
        ({"plot": "pie"}, "there are board, trade"),
        ({"voters": "judge:nobody@0"}, "it knows people"),
    ],
)
def test_an_unknown_word_of_the_address_is_said(serve: Serve, rated: Arena, query: dict[str, str], said: str) -> None:
    page = fine(serve(rated, "leaderboard", **query))
    (warning,) = page.warning
    assert said in warning.value.replace("\\", "") and names_shown(page)
    assert "script" not in parsed(html_of(page)).tags


def test_one_sided_votes_are_said_to_allow_no_order(serve: Serve, seeded: Arena) -> None:
    [battle] = battles.open_battles(seeded, "person:x", n=1)
    battles.vote(seeded, "person:x", battle.token, Outcome.LEFT)
    page = fine(serve(seeded, "leaderboard"))
    assert "No order follows from these votes yet" in text_of(page)
    assert html_of(page).count("not rated yet") == 3


def test_a_search_that_finds_nobody_says_what_to_do(serve: Serve, rated: Arena) -> None:
    page = fine(serve(rated, "leaderboard", search="nobody"))
    assert "Take a filter back" in text_of(page) and names_shown(page) == []


def test_style_that_cannot_be_taken_out_is_one_sentence(serve: Serve, seeded: Arena) -> None:
    page = serve(seeded, "leaderboard", style="controlled")
    assert not page.exception
    (error,) = page.error
    assert "no vote was cast on images of this arena" in error.value


def test_looks_taken_out_says_so(serve: Serve, rated: Arena) -> None:
    page = fine(serve(rated, "leaderboard", style="controlled"))
    assert "the look of the images are taken out" in text_of(page) and len(names_shown(page)) == 3


@pytest.mark.parametrize("plot", [*page_module.PLOTS])
def test_every_plot_of_a_filled_and_of_an_unvoted_arena_draws(serve: Serve, seeded: Arena, plot: str) -> None:
    fine(serve(seeded, "leaderboard", plot=plot))
    rated_board(seeded)
    page = fine(serve(seeded, "leaderboard", plot=plot))
    charts = len(page.get("vega_lite_chart")) + len(page.get("arrow_vega_lite_chart"))
    assert bool(charts) == (plot not in ("board", "scores"))


def test_why_it_is_there(serve: Serve, rated: Arena) -> None:
    page = serve(rated, "leaderboard")
    words = text_of(page)
    best = names_shown(page)[0]
    assert "Why is it there?" in words and f"{best}** is rated" in words
    assert "would be level with it or above" in words


def test_the_frame_around_many_votes_waits_and_then_draws(
    serve: Serve, rated: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "published", lambda *_: None)
    page = fine(serve(rated, "leaderboard"))
    assert "appears by itself" in text_of(page) and names_shown(page) == []


def test_chances_in_the_table_are_those_of_the_text() -> None:
    said = {value: (board_html.CELLS["p_best"]({"p_best": value}), page_module.chance(value))
            for value in (None, 0.0, 0.004, 0.5, 0.996, 1.0)}  # fmt: skip
    assert said[0.5] == ("50%", "50%") and said[None] == (board_html.NONE, "unknown")
    assert said[0.0] == said[0.004] == ("&lt;1%", "below 1%") and said[1.0] == said[0.996] == ("&gt;99%", "above 99%")


@pytest.mark.parametrize(
    ("sort", "caption", "head", "leads_to"),
    [
        (None, "Models, best first, with", "Rank", "-rank"),
        (None, "Models, best first, with", "Votes", "-votes"),
        ("-votes", "Models, sorted by Votes, largest first, with", "Votes", "votes"),
        ("-name", "Models, sorted by Name, Z to A, with", "Model", "name"),
        ("fid", "Models, sorted by FID, smallest first, with", "FID", "-fid"),
        ("-rank", "Models, best last, with", "Rank", None),
    ],
)
def test_the_table_says_how_it_is_sorted_and_its_heads_sort_it(
    serve: Serve, rated: Arena, sort: str | None, caption: str, head: str, leads_to: str | None
) -> None:
    for name, value in (("Swatch A", 12.0), ("Swatch B", 11.0), ("Swatch C", 13.0)):
        rated.store.add_score(Score(name, "fid-clean", Protocol("fid-clean", "1", {}), value))
    query = {"backend": "swatch"} | ({"sort": sort} if sort else {})
    html = html_of(fine(serve(rated, "leaderboard", **query)))
    assert caption in html
    address = "leaderboard?backend=swatch" + (f"&amp;sort={leads_to}" if leads_to else "")
    assert f'<a href="{address}" target="_self">{head}</a></th>' in html


def test_every_address_of_the_board_is_relative(serve: Serve, rated: Arena) -> None:
    pages = [serve(rated, "leaderboard"), serve(rated, "model", name="Swatch A"), serve(rated, "model")]
    prompt = str(rated.store.prompts()[0].id)
    for page in [*pages, serve(rated, "prompt", id=prompt)]:
        html = html_of(fine(page))
        assert 'href="' in html and 'href="/' not in html and 'src="/' not in html


# Snapshots


def test_a_snapshot_is_kept_and_opened(serve: Serve, rated: Arena) -> None:
    page = serve(rated, "leaderboard")
    before = parsed(html_of(page)).cells
    page.button[0].click().run()
    (id,) = page.query_params["snapshot"] if isinstance(page.query_params["snapshot"], list) else [
        page.query_params["snapshot"]
    ]  # fmt: skip
    assert f"Snapshot **{id}**" in text_of(fine(page))
    rated.store.exclude_vote(1, "a test")
    later = fine(serve(rated, "leaderboard", snapshot=id))
    assert parsed(html_of(later)).cells == before
    assert parsed(html_of(serve(rated, "leaderboard"))).cells != before


@pytest.mark.parametrize("id", ["nothing", "<script>alert(1)</script>"])
def test_a_snapshot_that_there_is_not_is_one_sentence(serve: Serve, rated: Arena, id: str) -> None:
    page = serve(rated, "leaderboard", snapshot=id)
    assert not page.exception
    (error,) = page.error
    assert "There is no snapshot" in error.value and "open the leaderboard" in error.value


# Names that are markup


def test_a_models_name_is_text_wherever_it_stands(serve: Serve, seeded: Arena) -> None:
    seeded.store.add_contestant(Contestant(HOSTILE, VOTES_BACKEND, {}, {"organisation": "<script>x</script>"}))
    tags = parsed(html_of(fine(serve(seeded, "leaderboard")))).tags
    assert not tags & {"img", "script", "b"} - {"b"} and "img" not in tags
    page = fine(serve(seeded, "model", name=HOSTILE))
    assert not parsed(html_of(page)).tags & {"img", "script"}
    assert r"\*\*bold\*\*" in page.title[0].value and "**bold**" not in page.title[0].value


def test_why_escapes_names() -> None:
    row = {"name": "**bold** <b>", "rating": 1000.0, "low": 990.0, "high": 1010.0, "votes": 5, "wins": 1, "losses": 2,
           "ties": 1, "both_bad": 1, "rank": 1, "rank_low": 1, "rank_high": 2,
           "p_best": 0.5, "p_top3": 0.995}  # fmt: skip
    assert r"\*\*bold\*\* \<b\>" in page_module.why(row) and "above 99%" in page_module.why(row)
    said = " ".join(page_module.neighbour(1, 10**7, "x"))
    assert "a single vote" in said and "more votes than are practical" in said


# The model page and the prompt page


def test_a_model_has_its_card_place_pictures_and_battles(serve: Serve, rated: Arena) -> None:
    rated.store.add_contestant(
        Contestant("Swatch A", "swatch", {"tint": "A"}, {"organisation": "Us", "parameters": 12_000_000_000})
    )
    protocol = Protocol("fid-clean", "1", {})
    rated.store.add_score(Score("Swatch A", "fid-clean", protocol, 12.5, details={"reference_set": "r"}))
    page = fine(serve(rated, "model", name="Swatch A"))
    html, words = html_of(page), text_of(page)
    assert "12 billion parameters" in html and "<dt>Organisation</dt><dd>Us</dd>" in html and "not said" in html
    assert "Every attempt made an image" in words and "Best and worst battles" in words
    assert {metric.label: metric.value for metric in page.metric}["FID"] == "12.5"
    assert html.count('<img src="shown/') == len(rated.store.prompts()[: showcase.SIZE])
    page.toggle[0].set_value(True).run()
    assert html_of(fine(page)).count('<img src="shown/') > html.count('<img src="shown/')


def test_a_models_page_says_where_its_images_came_from(serve: Serve, rated: Arena) -> None:
    def captions() -> list[str]:
        page = fine(serve(rated, "model", name="Swatch A"))
        return [one.value for one in page.caption if one.value.startswith("Imported images")]

    assert captions() == []
    made = rated.store.generations(rated.store.contestant("Swatch A").id or 0)
    first, second, *_ = (one.image.sha256 for one in made if one.image)
    origins.note(rated.store, {first: Origin("Valid", HOSTILE, "Ada"), second: Origin()})
    [said] = captions()
    assert "signed by Ada" in said and "1 that say nothing of their origin" in said
    assert r"\*\*bold\*\*" in said and r"\<img" in said and " <img" not in said


def test_a_model_that_there_is_not_and_none_asked_for(serve: Serve, rated: Arena) -> None:
    (error,) = serve(rated, "model", name="Nobody").error
    assert "There is no model 'Nobody'" in error.value
    assert names_shown(fine(serve(rated, "model"))) == ["Swatch A", "Swatch B", "Swatch C"]


def test_a_prompt_shows_everyone_and_the_votes(serve: Serve, rated: Arena) -> None:
    page = fine(serve(rated, "prompt", id=str(rated.store.prompts()[0].id)))
    assert html_of(page).count('<img src="shown/') == 3
    assert page.dataframe[0].value[["Won", "Lost", "Tied", "Both bad"]].to_numpy().sum() > 0


@pytest.mark.parametrize("id", ["x", "-1", "999", "1" * 30, "<script>"])
def test_a_prompt_that_there_is_not_is_one_sentence(serve: Serve, rated: Arena, id: str) -> None:
    page = serve(rated, "prompt", id=id)
    assert not page.exception and len(page.error) == 1


def test_the_prompt_page_without_a_number_says_where_to_find_one(serve: Serve, rated: Arena) -> None:
    assert "Which prompt?" in text_of(fine(serve(rated, "prompt")))


# Words and charts


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Changes(0, 5, (), ()), "nobody voted"),
        (Changes(1, 0, (), ()), "brought 1 vote, the first ones here"),
        (Changes(2_000, 5, (), ()), "brought 2,000 votes. Nobody changed rank"),
        (Changes(9, 5, ("*N*",), (Move("A", 3, 1),)), r"New on the board: \*N\*. Changed rank: A from 3 to 1"),
        (Changes(9, 5, (), tuple(Move(c, 9, 1) for c in "ABCDE")), "C from 9 to 1; and 2 more"),
    ],
)
def test_what_changed_is_said_in_plain_words(found: Changes, said: str) -> None:
    assert said in page_module.changed(found).replace("**", "")


def test_what_changed_is_said_to_be_of_all_votes_where_some_are_filtered(serve: Serve, rated: Arena) -> None:
    whole = "On the board of all votes of people, **this week** brought 48 votes"
    for query in ({"category": "cards"}, {"time": "7d"}):
        assert whole in text_of(serve(rated, "leaderboard", **query))
    for query in ({}, {"search": "a"}, {"sort": "votes"}):
        words = text_of(serve(rated, "leaderboard", **query))
        assert whole not in words and "**This week** brought 48 votes" in words


def test_the_front_holds_who_is_beaten_by_nobody() -> None:
    assert plots.on_front([1, 2, 3, 3, 2], [10, 30, 20, 40, 30]) == [True, True, False, True, True]
    assert plots.on_front([], []) == [] and plots.on_front([5], [1]) == [True]


def test_a_chart_says_what_it_shows_and_turns_no_numbers() -> None:
    numbers = pd.DataFrame(
        {
            "name": ["a", "b"], "rating": [1100.0, 900.0], "low": [1050.0, 850.0], "high": [1150.0, 950.0],
            "votes": [5, 5], "value": [0.02, 0.01], "value_low": [None, 0.005], "value_high": [None, 0.015],
            "front": [True, True],
        }
    )  # fmt: skip
    moments = [Moment(day, n, 1000.0 + k, 990.0, 1010.0, 5) for k, day in enumerate(["2026-11-01", "2026-11-02"])
               for n in "ab"]  # fmt: skip
    for chart, words in (
        (plots.trade_off(numbers, "USD per megapixel"), "a 0.02, rating 1100"),
        (plots.scatter(numbers, "FID", False, "people", "It agrees."), "FID against the rating by people. It agrees."),
        (plots.over_time(moments, ["a", "b"]), "a 1001; b 1001"),
        (plots.votes_per_day([("2026-11-01", 3), ("2026-11-02", 7)]), "10 votes from 2026-11-01 to 2026-11-02"),
        (
            plots.interval_bars([{"name": "a", "rating": 1.0, "low": 0.0, "high": 2.0, "votes": 3}], "Rating"),
            "a 1, 0 to 2",
        ),
    ):
        assert words in chart.to_dict()["description"]


def test_a_score_that_orders_as_people_do_agrees_wholly() -> None:
    numbers = pd.DataFrame({"value": [1.0, 2.0, 3.0, 4.0], "rating": [1400.0, 1300.0, 1200.0, 1100.0]})
    assert "ρ = 1.00" in page_module.agreement_said(numbers, higher_is_better=False)
    assert "ρ = −1.00" in page_module.agreement_said(numbers, higher_is_better=True)
    assert "a correlation takes three" in page_module.agreement_said(numbers[:2], higher_is_better=True)


# A judge as the voters


def specs(page: AppTest) -> str:
    """What the page's charts draw, as one text."""
    found = [*page.get("vega_lite_chart"), *page.get("arrow_vega_lite_chart")]
    return "".join(json.dumps(json.loads(one.proto.spec), ensure_ascii=False) for one in found)


def test_scores_stand_against_whoever_voted_and_a_judge_not_against_itself(serve: Serve, rated: Arena) -> None:
    judging.run(rated, Request("scripted"))
    [judge] = rated.store.judges()
    by_judge = f"Rating by the judge {board_table.short_judge(judge)}"
    page = fine(serve(rated, "leaderboard", plot="scores", voters=judge))
    assert "No automatic scores yet" in text_of(page) and not specs(page)
    assert "the judge scripted" in text_of(page).replace("\\", "") and "ranked by people" not in text_of(page)

    for name, value in (("Swatch A", 12.0), ("Swatch B", 11.0), ("Swatch C", 13.0)):
        rated.store.add_score(Score(name, "fid-clean", Protocol("fid-clean", "1", {}), value))
    page = fine(serve(rated, "leaderboard", plot="scores", voters=judge))
    assert scores_offered(page) == ["FID"]
    shown = specs(page)
    assert by_judge in shown and "by people" not in shown
    assert not any("people-and" in (button.proto.id or "") for button in page.get("download_button"))

    page = fine(serve(rated, "leaderboard", plot="scores"))
    assert scores_offered(page) == ["FID", "Judge"] and "ranked by people" in text_of(page)
    assert "Rating by people" in specs(page) and by_judge not in specs(page)
    page = fine(next(one for one in page.get("button_group") if "FID" in str(one.proto)).set_value("judge").run())
    assert "Rating by people" in specs(page) and by_judge in specs(page)


def scores_offered(page: AppTest) -> list[str]:
    (group,) = [one for one in page.get("button_group") if "FID" in str(one.proto)]
    return [option.content for option in group.proto.options]


def test_another_judge_is_held_against_the_one_that_voted() -> None:
    figures = [{"key": "judge", "protocol": "late · 123456"}, {"key": "fid", "protocol": "x"}, {"key": "cost"},
               {"key": "images_per_usd"}]  # fmt: skip
    shown = {voters: [*page_module.against(View(voters=voters), figures)]
             for voters in ("people", "judge:early@1234567", "judge:late@1234567")}  # fmt: skip
    assert shown == {
        "people": ["judge", "fid"], "judge:early@1234567": ["judge", "fid"], "judge:late@1234567": ["fid"],
    }  # fmt: skip


def test_a_score_against_the_number_of_images_has_its_numbers(serve: Serve, rated: Arena) -> None:
    for name, value in (("Swatch A", 12.5), ("Swatch B", 14.0)):
        details = {"curve": [[24, 15.0], [48, value]], "reference_set": "r"}
        rated.store.add_score(Score(name, "fid-clean", Protocol("fid-clean", "1", {}), value, details=details))
    page = fine(serve(rated, "leaderboard", plot="scores"))
    assert "of all: Swatch A 12.5 of 48; Swatch B 14 of 48" in specs(page)
    [numbers] = [one.value for one in page.dataframe if [*one.value.columns] == ["model", "n", "value"]]
    assert numbers.to_dict("records")[0] == {"model": "Swatch A", "n": 24, "value": 15.0} and len(numbers) == 4
    assert "file-fid-and-number-of-images" in [button.key for button in page.get("download_button")]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.5, "0.5"), (50, "50"), (999.4, "999"), (999.7, "1k"), (42_348, "42.3k"), (1_045_072, "1.05M")],
)
def test_large_numbers_are_short(value: float, shown: str) -> None:
    assert board_html.compact(value) == shown
