"""An arena goes out as a data set and comes back with the same boards; what is refused leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyarrow import dataset, parquet

from arena.bootstrap import Arena, open_arena
from arena.domain import VoteFilter
from arena.errors import ArenaError, DataError, UsageError
from arena.rating import elo
from arena.services import battles, dataset_export, dataset_import, leaderboard, own_prompts, snapshots
from arena.services import dataset_layout as layout
from arena.services.dataset_card import card
from arena.services.dataset_export import Exported, Options, _write_table, board_bytes, export, opaque, without_keys
from arena.services.dataset_import import checked, import_into
from arena.services.rating_files import rate
from arena.settings import load_settings
from db import imported as sources
from db import prompt_sets as stored_sets
from db import transfer
from db.image_values import image_values
from db.schema import Base
from tests.conftest import fill_with_swatches
from tests.services.lived_in import SECRETS, lived_in

NewArena = Callable[[str, str], Arena]
BOTH = ("sqlite", pytest.param("postgresql", marks=pytest.mark.postgres))


@pytest.fixture
def new_arena(request: pytest.FixtureRequest, tmp_path: Path) -> NewArena:
    """Makes empty arenas by name, on "sqlite" or on "postgresql"."""

    def made(name: str, kind: str) -> Arena:
        url = _new_database(request) if kind == "postgresql" else ""
        settings = load_settings(data_dir=tmp_path / name, database_url=url, batch_size=4, own_prompts_idle=0.01)
        opened = open_arena(settings, prepare=True)
        request.addfinalizer(opened.store.engine.dispose)
        return opened

    return made


def _new_database(request: pytest.FixtureRequest) -> str:
    from sqlalchemy import create_engine, text

    url = request.getfixturevalue("postgres_url")
    name = f"arena_{time.monotonic_ns()}"
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return url.rpartition("/")[0] + "/" + name


@pytest.fixture(scope="module", autouse=True)
def _no_worker() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_prompts, "wake", lambda _: None)
        patch.setattr(own_prompts, "POLL_SECONDS", 0.01)
        yield


@pytest.fixture(scope="module")
def source(_no_worker: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Arena, Path]]:
    """An arena on SQLite, which tests leave as it is, and its export."""
    folder = tmp_path_factory.mktemp("source")
    settings = load_settings(data_dir=folder / "data", batch_size=4, own_prompts_idle=0.01)
    arena = lived_in(open_arena(settings, prepare=True), folder)
    export(arena, folder / "out", Options("cc-by-4.0", "Swatches"))
    yield arena, folder / "out"
    arena.store.engine.dispose()


@pytest.fixture
def exported(source: tuple[Arena, Path], tmp_path: Path) -> tuple[Arena, Path]:
    """The same arena, with a copy of the export that a test may break."""
    arena, folder = source
    return arena, Path(shutil.copytree(folder, tmp_path / "out"))


def boards(arena: Arena) -> list[bytes]:
    """People's board, each judge's, and that of a category, as `arena board --json` prints them."""
    filters = [VoteFilter(), *(VoteFilter(board=judge) for judge in arena.store.judges()), VoteFilter(category="cards")]
    return [board_bytes(arena, votes) for votes in filters]


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    return dataset.dataset(folder / "data" / name).to_table().to_pylist()


# There and back


@pytest.mark.parametrize("target", BOTH)
@pytest.mark.parametrize("origin", BOTH)
def test_boards_are_the_same_to_the_byte_in_every_direction(
    new_arena: NewArena, tmp_path: Path, origin: str, target: str
) -> None:
    first = lived_in(new_arena("first", origin), tmp_path)
    done = export(first, tmp_path / "out")
    second = new_arena("second", target)
    came = import_into(second, checked(tmp_path / "out"))
    assert came.same_board and came.notes == () and came.images == done.images > 10
    assert boards(second) == boards(first) and len(boards(first)) == 3
    assert leaderboard.leaderboard(second).votes > 25
    # The live board is there, and life goes on: new ids do not collide, and Elo is still its replay.
    assert second.store.cached_ratings(battles.BOARD) == elo.replay(second.store.voted_pairs(), 32.0)
    [battle] = battles.open_battles(second, "person:new", n=1)
    battles.vote(second, "person:new", battle.token, "left")
    assert second.store.cached_ratings(battles.BOARD) == elo.replay(second.store.voted_pairs(), 32.0)
    # What admins decided holds.
    assert second.store.withdrawn() == first.store.withdrawn()


def test_an_import_exports_the_same_files_again(
    exported: tuple[Arena, Path], new_arena: NewArena, tmp_path: Path
) -> None:
    arena, folder = exported
    second = new_arena("second", "sqlite")
    import_into(second, checked(folder))
    export(second, tmp_path / "again", Options("cc-by-4.0", "Swatches"))
    for name in layout.SCHEMAS:
        assert table(tmp_path / "again", name) == table(folder, name), name
    for file in ("boards/people.json", *(f"snapshots/{path.name}" for path in (folder / "snapshots").iterdir())):
        assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes()
    [kept] = [path.stem for path in (folder / "snapshots").iterdir()]
    assert snapshots.opened(second, kept) == snapshots.opened(arena, kept)
    [fid] = {score.protocol.fingerprint for score in arena.store.scores() if score.metric == "fid-clean"}
    before, after = (image_values(one.store, "fid-clean", fid) for one in (arena, second))
    assert after == before and len(after.of) == 2


def test_sets_of_prompts_and_sources_of_images_go_along(exported: tuple[Arena, Path], new_arena: NewArena) -> None:
    arena, folder = exported
    second = new_arena("second", "sqlite")
    import_into(second, checked(folder))
    [before], [after] = (stored_sets.stored(one.store) for one in (arena, second))
    assert after == before and after.licence == "CC0-1.0"
    for read in (stored_sets.members, stored_sets.prompt_keys):
        assert read(second.store, after.id or 0) == read(arena.store, before.id or 0)
    [brought] = [row["id"] for row in table(folder, "images") if row["model"] == "Brought"]
    assert sources.source(second.store, brought) == sources.Source("one/a.png", "CC0-1.0")


def test_to_move_everything_goes_along(exported: tuple[Arena, Path], new_arena: NewArena, tmp_path: Path) -> None:
    arena, folder = exported
    done = export(arena, tmp_path / "all", Options(everything=True))
    published = table(folder, "images")
    withheld = [row["id"] for row in published if row["image"] is None and row["failure"] is None]
    moved = {row["id"]: row["image"] for row in table(tmp_path / "all", "images")}
    assert done.withheld == 0 and len(withheld) == 3 and all(moved[id] for id in withheld)
    assert "private words of a visitor" in {row["text"] for row in table(tmp_path / "all", "prompts")}
    second = new_arena("second", "sqlite")
    assert import_into(second, checked(tmp_path / "all")).same_board


def test_every_table_is_exported_or_stays_for_a_reason() -> None:
    goes = {
        "prompts", "contestants", "generations", "voters", "battles", "skips", "votes", "vote_exclusions", "vote_tags",
        "imported_votes", "ballots", "own_prompts", "judges", "verdicts", "verdict_battles", "protocols", "scores",
        "snapshots", "decisions", "prompt_sets", "prompt_set_members", "image_sources",
    }  # fmt: skip
    stays = {
        "erased_voters": "who asked to be forgotten is in no table",
        "reports": "for this arena's admins",
        "named_battles": "read by no rating", "named_votes": "read by no rating", "looks": "read by no rating",
        "verdict_claims": "of a run at work", "runs": "of this machine", "reference_sets": "files of this machine",
        "boards": "derived", "ratings": "derived", "rating_checkpoints": "derived",
        "image_origins": "read anew from the images",
    }  # fmt: skip
    assert {*Base.metadata.tables} == goes | {*stays}
    assert {*transfer.QUERIES} == {*transfer.PUTS} == {*layout.SCHEMAS, "snapshots"}


# What leaves, and what does not


def test_no_secret_leaves(exported: tuple[Arena, Path]) -> None:
    arena, folder = exported
    words = [word.encode() for word in (*SECRETS, arena.secret, "Ada Secretive")]
    tokens = [battle.token.encode() for battle in arena.store.open_battles("person:1")]
    for path in folder.rglob("*"):
        if path.suffix == ".parquet":
            content = json.dumps(parquet.read_table(path).to_pylist(), default=str).encode()
        else:
            content = path.read_bytes() if path.is_file() else b""
        assert [word for word in [*words, *tokens] if word in content] == [], path
    settings = {row["name"]: json.loads(row["settings"]) for row in table(folder, "contestants")}
    assert settings["Swatch D"]["api_key"] == "(not exported)" and settings["Swatch A"] == {"tint": "A"}


def test_a_voter_has_one_key_in_every_table_and_another_in_another_arena(
    exported: tuple[Arena, Path], new_arena: NewArena
) -> None:
    arena, folder = exported
    mine = opaque(arena, "person:1")
    votes = [row for row in table(folder, "votes") if row["voter"] == mine]
    assert len(votes) == 6 and mine in {row["id"] for row in table(folder, "voters")}
    assert {row["voter_id"] for row in table(folder, "ledger")} >= {mine}
    assert opaque(new_arena("other", "sqlite"), "person:1") != mine
    assert opaque(arena, mine) == mine and opaque(arena, "judge:a@b") == "judge:a@b"


def test_the_forgotten_are_in_no_table(exported: tuple[Arena, Path]) -> None:
    arena, folder = exported
    gone = opaque(arena, "person:5")
    rows = [row for name in layout.SCHEMAS for row in table(folder, name)]
    assert rows and not any(gone in (row.get("voter"), row.get("voter_id"), row.get("id")) for row in rows)


@pytest.mark.parametrize(
    ("plain", "left"),
    [
        ({"max_tokens": 5, "key_frames": "a"}, {"max_tokens": 5, "key_frames": "a"}),
        ({"api_key": "x", "a": [{"TOKEN": "y"}]}, {"api_key": "(not exported)", "a": [{"TOKEN": "(not exported)"}]}),
        ({"key": ""}, {"key": ""}),
        ("hf_abcdefghijklmnopqrst", "(not exported)"),
        ("http://u:p@host/v1", "http://(not exported)host/v1"),
        ("a sky-blue bear", "a sky-blue bear"),
    ],
)  # fmt: skip
def test_keys_are_struck_out_and_nothing_else(plain: object, left: object) -> None:
    assert without_keys(plain) == left


def test_votes_that_do_not_count_are_in_the_ledger_with_the_reason(exported: tuple[Arena, Path]) -> None:
    _, folder = exported
    ledger, votes = table(folder, "ledger"), table(folder, "votes")
    counted = {row["vote_id"] for row in votes}
    off = [row for row in ledger if row["id"] not in counted]
    assert {row["excluded"] for row in off} == {"undone by its voter", "clicked at random", "a script"}
    restored = [row for row in ledger if row["excluded"] and row["id"] in counted]
    assert len(restored) == 1 and restored[0]["decided"] is None


# The folder


def test_the_checksums_are_those_of_sha256sum(exported: tuple[Arena, Path]) -> None:
    _, folder = exported
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {"SHA256SUMS"}


def test_the_card_names_every_table_and_its_files_exist(exported: tuple[Arena, Path]) -> None:
    _, folder = exported
    _, head, text = (folder / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(head)
    assert card["license"] == "cc-by-4.0" and [c["config_name"] for c in card["configs"]] == [*layout.SCHEMAS]
    for config in card["configs"]:
        for file in config["data_files"]:
            assert [*folder.glob(file["path"])], file
    assert {file["split"] for file in card["configs"][9]["data_files"]} == {"people", "judges", "aside"}
    images = [row for row in table(folder, "images") if row["image"]]
    assert f"{len(images):,} images, 2 failed attempts" in text and "- user: 5" in text
    assert "| Swatch A |" in text


@pytest.mark.parametrize("voted", [True, False])
def test_the_card_names_no_table_or_split_without_rows(arena: Arena, tmp_path: Path, voted: bool) -> None:
    """`datasets` raises for a configuration whose split holds nothing, so a small arena's card leaves it out."""
    fill_with_swatches(arena, contestants=2, prompts=2)
    if voted:
        battle = battles.open_battles(arena, "person:x", n=1)[0]
        battles.vote(arena, "person:x", battle.token, "left")
    export(arena, tmp_path / "small", Options("cc-by-4.0", "Small"))
    _, head, text = (tmp_path / "small" / "README.md").read_text().split("---\n", 2)
    rows = {name: len(table(tmp_path / "small", name)) for name in layout.SCHEMAS}
    configs = {one["config_name"]: one for one in yaml.safe_load(head)["configs"]}
    assert [*configs] == [name for name in layout.SCHEMAS if rows[name]] and len(configs) < len(rows)
    for config in configs.values():
        for file in config["data_files"]:
            assert sum(parquet.read_metadata(one).num_rows for one in (tmp_path / "small").glob(file["path"])), file
    assert ("votes" in configs, "data/votes/people-*.parquet" in text) == (voted, voted)
    assert voted or 'images = load_dataset("parquet", data_files="data/images/train-*.parquet"' in text


def test_a_split_without_rows_is_left_out_beside_others(arena: Arena, tmp_path: Path) -> None:
    done = Exported(rows=dict.fromkeys(layout.SCHEMAS, 0))
    votes = [{**dict.fromkeys(layout.SCHEMAS["votes"].names), "board": "judge:x", "outcome": "left", "at": None}]
    for name in layout.SCHEMAS:
        _write_table(tmp_path, name, votes if name == "votes" else [], done, lambda *_: None)
    assert (tmp_path / "data" / "votes" / "people-00000.parquet").is_file(), "for `arena rate`"
    head = yaml.safe_load(card(done, Options("cc0-1.0", "X"), {"people": b'{"rows": []}'}).split("---\n")[1])
    assert [(one["config_name"], [file["split"] for file in one["data_files"]]) for one in head["configs"]] == [
        ("votes", ["judges"])
    ]


def test_images_are_the_stored_bytes_and_hubs_are_told_so(exported: tuple[Arena, Path]) -> None:
    arena, folder = exported
    for row in table(folder, "images"):
        if row["image"]:
            assert row["image"]["bytes"] == arena.blobs.get(row["sha256"])
    schema = parquet.read_schema(next((folder / "data/images").glob("*.parquet")))
    assert json.loads(schema.metadata[b"huggingface"])["info"]["features"] == {"image": {"_type": "Image"}}


def test_people_s_votes_are_a_file_that_arena_rate_reads(exported: tuple[Arena, Path]) -> None:
    arena, folder = exported
    file = folder / "data/votes/people-00000.parquet"
    rated = {row.model: row.rating for row in rate(file, cluster="none").board}  # one vote here has no voter
    board = {row.name: row.rating for row in leaderboard.leaderboard(arena).rows if row.rating is not None}
    assert {name: rating for name, rating in rated.items() if rating is not None} == pytest.approx(board)


def test_croissant_is_whole(exported: tuple[Arena, Path]) -> None:
    """What the specification (Croissant 1.0) asks of a data set, a file, a record set and a field."""
    _, folder = exported
    found = json.loads((folder / "croissant.json").read_text())
    assert found["@type"] == "sc:Dataset" and found["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert all(found[name] for name in ("name", "description", "license", "url", "datePublished", "version"))
    files = {one["@id"]: one for one in found["distribution"]}
    for id, one in files.items():
        content = (folder / one["contentUrl"]).read_bytes()
        assert one["@type"] == "cr:FileObject" and one["sha256"] == hashlib.sha256(content).hexdigest()
        assert one["contentSize"] == f"{len(content)} B" and one["encodingFormat"] == "application/x-parquet", id
    ids = [one["@id"] for one in found["recordSet"]]
    ids += [field["@id"] for one in found["recordSet"] for field in one["field"]]
    assert len(ids) == len({*ids}) and {one["@type"] for one in found["recordSet"]} == {"cr:RecordSet"}
    for one in found["recordSet"]:
        for field in one["field"]:
            file = files[field["source"]["fileObject"]["@id"]]
            columns = parquet.read_schema(folder / file["contentUrl"]).names
            assert field["source"]["extract"]["column"] in columns and field["dataType"].startswith("sc:")


def test_large_tables_are_written_in_parts(
    exported: tuple[Arena, Path], new_arena: NewArena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arena, folder = exported
    monkeypatch.setattr(dataset_export, "GROUP_ROWS", 3)
    monkeypatch.setattr(dataset_export, "FILE_BYTES", 2_000)
    export(arena, tmp_path / "parts")
    assert len([*(tmp_path / "parts/data/images").iterdir()]) > 2
    assert table(tmp_path / "parts", "images") == table(folder, "images")
    second = new_arena("second", "sqlite")
    assert import_into(second, checked(tmp_path / "parts")).same_board


def test_an_export_is_whole_or_not_there(exported: tuple[Arena, Path], tmp_path: Path) -> None:
    arena, folder = exported
    with pytest.raises(UsageError, match="is there already"):
        export(arena, folder)
    [row, *_] = [row for row in table(folder, "images") if row["image"]]
    arena.blobs.remove(row["sha256"])
    with pytest.raises(DataError, match="is missing"):
        export(arena, tmp_path / "broken")
    arena.blobs.put(row["image"]["bytes"])
    assert not [path for path in tmp_path.iterdir() if "broken" in path.name]


# Refusals


def broken(folder: Path, how: str) -> None:
    votes = folder / "data/votes/people-00000.parquet"
    if how == "changed":
        content = bytearray(votes.read_bytes())
        content[40] ^= 1
        votes.write_bytes(content)
    elif how == "missing":
        votes.unlink()
    elif how == "format":
        manifest = json.loads((folder / "arena.json").read_text())
        (folder / "arena.json").write_text(json.dumps({**manifest, "format": 99}))
    elif how == "no manifest":
        (folder / "arena.json").unlink()
    elif how == "no sums":
        (folder / "SHA256SUMS").unlink()
    elif how == "outside":
        (folder / "SHA256SUMS").write_text(f"{'0' * 64}  ../secret.key\n")
    elif how == "table":
        lines = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
        (folder / "SHA256SUMS").write_text("".join(line for line in lines if "data/scores" not in line))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("changed", "people-00000.parquet' .* checksum differs"), ("missing", "people-00000.parquet' is missing"),
        ("format", "format 99"), ("no manifest", "no readable arena.json"), ("no sums", "SHA256SUMS"),
        ("outside", "names no file of it"), ("table", "lacks the table 'scores'"),
    ],
)  # fmt: skip
def test_a_folder_that_is_not_whole_is_refused_before_anything_is_read(
    exported: tuple[Arena, Path], how: str, said: str
) -> None:
    _, folder = exported
    broken(folder, how)
    with pytest.raises(DataError, match=said):
        checked(folder)


def resealed(folder: Path, name: str, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Change rows of a table as somebody would who also knows how to make checksums."""
    [file] = (folder / "data" / name).glob("*-00000.parquet")
    rows = parquet.read_table(file).to_pylist()
    change(rows)
    import pyarrow as pa

    parquet.write_table(pa.Table.from_pylist(rows, layout.SCHEMAS[name]), file)
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    place = str(file.relative_to(folder))
    kept = [line for line in lines if not line.endswith(f"  {place}")]
    (folder / "SHA256SUMS").write_text("\n".join([*kept, f"{layout.sha256_of(file)}  {place}"]) + "\n")


def _set(name: str, value: object) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: rows[-1].update({name: value})


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (
            "images",
            lambda rows: next(row for row in rows if row["image"])["image"].update(bytes=b"not it"),
            "is not the one its sha256 names",
        ),
        ("battles", _set("left_id", 10**6), "'battles' holds what no arena can"),
        ("ledger", _set("outcome", "perhaps"), "'ledger' holds what no arena can"),
        ("imported", _set("model_a", "nobody"), "'imported' holds what no arena can"),
        ("contestants", _set("settings", "{"), "'contestants' holds what no arena can"),
        ("scores", lambda rows: rows.pop(), "'scores' has 1 rows, and 2 were exported"),
        ("prompts", _set("text", None), "'prompts' holds what no arena can"),
    ],
)
def test_an_import_that_fails_half_way_leaves_nothing(
    exported: tuple[Arena, Path], new_arena: NewArena, kind: str, name: str, change: Any, said: str
) -> None:
    _, folder = exported
    resealed(folder, name, change)
    second = new_arena("second", kind)
    with pytest.raises(DataError, match=said):
        import_into(second, checked(folder))
    assert transfer.is_empty(second.store) and second.store.votes() == [] and second.store.newest() == (0, 0, 0)
    assert not [path for path in second.settings.images_dir.rglob("*") if path.is_file()]


def test_only_an_empty_arena_is_filled(exported: tuple[Arena, Path], new_arena: NewArena) -> None:
    arena, folder = exported
    before = boards(arena)
    with pytest.raises(UsageError, match="is not empty"):
        import_into(arena, checked(folder))
    assert boards(arena) == before
    second = new_arena("second", "sqlite")
    import_into(second, checked(folder))
    with pytest.raises(UsageError, match="is not empty"):
        import_into(second, checked(folder))


def test_other_settings_are_said(exported: tuple[Arena, Path], tmp_path: Path) -> None:
    _, folder = exported
    other = open_arena(load_settings(data_dir=tmp_path / "k16", k_factor=16.0), prepare=True)
    came = import_into(other, checked(folder))
    assert not came.same_board and came.notes[0].startswith("k_factor is 16.0 here and was 32.0 there")


def test_another_column_is_another_version(exported: tuple[Arena, Path], new_arena: NewArena) -> None:
    _, folder = exported
    file = folder / "data/prompts/train-00000.parquet"
    parquet.write_table(parquet.read_table(file).drop_columns(["tags"]), file)
    sums = (folder / "SHA256SUMS").read_text()
    old = next(line for line in sums.splitlines() if "data/prompts" in line)
    (folder / "SHA256SUMS").write_text(sums.replace(old[:64], layout.sha256_of(file)))
    with pytest.raises(ArenaError, match="other columns than the table 'prompts'"):
        import_into(new_arena("second", "sqlite"), checked(folder))


def test_the_card_may_be_edited(exported: tuple[Arena, Path]) -> None:
    _, folder = exported
    (folder / "README.md").write_text("# Mine")
    shutil.rmtree(folder / ".git", ignore_errors=True)
    assert checked(folder).rows["prompts"] == 7


def test_imports_are_seen_whole_or_not_at_all(exported: tuple[Arena, Path], new_arena: NewArena) -> None:
    """Another connection sees an empty arena until the end."""
    _, folder = exported
    second = new_arena("second", "sqlite")
    seen = []
    import_into(second, checked(folder), lambda table, rows: seen.append(transfer.is_empty(second.store)))
    assert seen and all(seen)
    assert dataset_import.MANY > 1
