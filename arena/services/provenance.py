"""Where an image is from: a signed record that leaves with an export, and what a file that came in says.

Records are C2PA manifests (specification 2.x) made by c2pa-python (extra `c2pa`), offline and with no time stamp of an
authority. The store keeps every image as it was made: a record is a file of its own beside the image (`sidecar`), or is
written into a copy (`embedded`). Voters never see either: a manifest names the model.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arena.errors import DataError, EnvironmentFault, UsageError
from db import origins
from db.origins import Origin
from evaluators.marks import Mark, mark

if TYPE_CHECKING:
    from arena.bootstrap import Arena

ASSERTION = "org.image-arena.generation"
AI_MADE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
GENERATOR = "image-arena"
ALGORITHMS = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")
WORTH = {"Trusted": "a trusted signer", "Valid": "nobody here vouches for the signer"}
LONGEST = 128
MOST_KINDS = 3
"""So many kinds of manifests are told apart for a reader."""
TOGETHER = 64
BARE = {"builder": {"thumbnail": {"enabled": False}}}
"""A thumbnail would be a hundred times the size of all the rest."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """What an image says of where it is from.

    `state`: None without a manifest, else "Valid" (whole, by a signer nobody here vouches for), "Trusted" or
    "Invalid"; "unread" without the extra `c2pa`. `generator`: the program that made the manifest. `record`: this
    project's own assertion. `mark`: what says that a model made the image.
    """

    state: str | None
    generator: str | None = None
    signed_by: str | None = None
    record: dict[str, Any] | None = None
    mark: str | None = None
    problems: tuple[str, ...] = ()

    def sentences(self) -> list[str]:
        """The same for people."""
        said = [f"Says that a model made it: {self.mark}." if self.mark else "Says nothing about a model."]
        if self.state is None:
            return [*said, "No C2PA manifest."]
        whom = f", signed by {self.signed_by}" if self.signed_by else ""
        said.append(f"C2PA manifest: {self.state}, made by {self.generator or 'an unnamed program'}{whom}.")
        said += [f"Problem: {problem}" for problem in self.problems]
        return said + [f"{printable(name)}: {printable(value)}" for name, value in (self.record or {}).items()]


def record(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of an image of the arena: who made it, of what, when. Plain JSON."""
    return {
        "contestant": row["model"],
        "fingerprint": row["fingerprint"],
        "prompt": row["prompt"],
        "seed": row["seed"],
        "sha256": row["sha256"],
        "generated_at": row["at"].isoformat(),
    }


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs the images of an export: makes their sidecars, or where it `embeds` copies with the manifest in them."""

    signing: Any
    embeds: bool = False

    def __call__(self, content: bytes, row: Mapping[str, Any]) -> bytes | None:
        """None for an image that cannot be signed so; see `sidecar` and `embedded`."""
        try:
            return (embedded if self.embeds else sidecar)(content, record(row), self.signing)
        except DataError:
            return None


def signer(certificates: Path, key: Path, *, embeds: bool = False) -> Signer:
    """What signs with this chain and private key (PEM).

    Raises UsageError where they cannot be read or do not fit, EnvironmentFault without the extra `c2pa`.
    """
    return Signer(_signing(certificates, key), embeds)


def _signing(certificates: Path, key: Path) -> Any:
    c2pa = _c2pa()
    try:
        chain, secret = certificates.read_bytes(), key.read_bytes()
    except OSError as error:
        raise UsageError(f"{str(error.filename)!r} cannot be read ({error.strerror}); check the path.") from error
    reasons = []
    for algorithm in ALGORITHMS:
        try:
            signing = c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm.encode(), chain, secret, None))
            sidecar(_PIXEL, {}, signing)
            return signing
        except (c2pa.C2paError, DataError) as error:
            reasons.append(str(error))
    raise UsageError(
        f"{str(certificates)!r} and {str(key)!r} cannot sign ({reasons[0][:200]}); give a chain of certificates with "
        "the use emailProtection, and its private key as PKCS #8, both PEM."
    )


def sidecar(content: bytes, what: Record, signing: Any) -> bytes:
    """A manifest that belongs to exactly these bytes, to be kept beside them.

    Raises DataError where it cannot be: for a format that has no manifests, and for an image with one in it, which
    would be read instead.
    """
    if carries_manifest(content):
        raise DataError("An image with a manifest in it cannot have another one beside it; embed the second one.")
    return _signed(content, what, signing, embed=False)[0]


def embedded(content: bytes, what: Record, signing: Any) -> bytes:
    """A copy of the image with the manifest in it; one that was there before stays as the new one's parent.

    Raises DataError for a format that cannot carry one.
    """
    return _signed(content, what, signing, embed=True)[1]


def open_signing(certificates: Path, key: Path) -> Any:
    """What `sidecar` and `embedded` sign with; raises as `signer` does."""
    return _signing(certificates, key)


def _signed(content: bytes, what: Record, signing: Any, *, embed: bool) -> tuple[bytes, bytes]:
    c2pa = _c2pa()
    copy, again = io.BytesIO(), embed and carries_manifest(content)
    try:
        builder = c2pa.Builder(json.dumps(_manifest(what, again)), context=c2pa.Context.from_dict(BARE))
        if again:  # without a parent, the manifest that is there would be thrown away
            builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
        if not embed:
            builder.set_no_embed()
        manifest = builder.sign(signing, _media_type(content), io.BytesIO(content), copy)
    except c2pa.C2paError as error:
        raise DataError(f"An image could not be signed ({str(error)[:200]}).") from error
    return bytes(manifest), copy.getvalue()


def _manifest(what: Record, again: bool) -> dict[str, Any]:
    """`again`: the image has a manifest, so that it was not created now; c2pa adds that it was opened."""
    created = {"action": "c2pa.created", "digitalSourceType": AI_MADE}
    actions = [] if again else [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}]
    return {
        "claim_generator_info": [{"name": GENERATOR, "version": "1"}],
        "title": str(what.get("sha256", "image")),
        "assertions": [*actions, {"label": ASSERTION, "data": dict(what)}],
    }


def carries_manifest(content: bytes) -> bool:
    """Whether a manifest is in an image, whatever it is worth."""
    return facts(content).state is not None


def facts(content: bytes, manifest: bytes | None = None, anchors: bytes | None = None) -> Facts:
    """What an image, or the manifest beside it, says. `anchors`: PEM of the authorities that are trusted.

    Without the extra `c2pa` the marks are found and a manifest is said to be unread. Nothing is fetched, and nothing is
    raised, whatever the bytes are.
    """
    found = mark(content) or (mark(manifest) if manifest else None)
    said = found and str(found)
    if manifest is None and (b"c2pa" not in content or _kind(content) is None):
        return Facts(None, mark=said)
    try:
        c2pa = _c2pa()
    except EnvironmentFault as error:
        return Facts("unread", mark=said, problems=(str(error),))
    trust = {"trust": {"trust_anchors": anchors.decode("ascii", "replace")}} if anchors else {}
    offline = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
    try:
        context = c2pa.Context.from_dict({**trust, **offline})
        if manifest is None:
            reader = c2pa.Reader.try_create(_media_type(content), io.BytesIO(content), context=context)
        else:
            reader = c2pa.Reader(_media_type(content), io.BytesIO(content), manifest_data=manifest, context=context)
        return Facts(None, mark=said) if reader is None else _read(reader, said)
    except (c2pa.C2paError, DataError, LookupError, TypeError, ValueError, AttributeError) as error:
        return Facts("Invalid", mark=said, problems=(str(error)[:200],))


def _read(reader: Any, said: str | None) -> Facts:
    with reader:
        state, whole = reader.get_validation_state(), json.loads(reader.json())
    active = whole["manifests"][whole["active_manifest"]]
    own = [one["data"] for one in active.get("assertions", ()) if one.get("label") == ASSERTION]
    made_by = active.get("claim_generator_info") or [{}]
    return Facts(
        state=str(state),
        generator=printable(made_by[0].get("name") or active.get("claim_generator")),
        signed_by=printable((active.get("signature_info") or {}).get("issuer")),
        record=own[0] if own else None,
        mark=said or _declared(active),
        problems=tuple(sorted({one.get("code", "?") for one in whole.get("validation_status") or ()})),
    )


def _declared(active: Mapping[str, Any]) -> str | None:
    """A source type that an action names; manifests may be compressed, so that no search in bytes finds it."""
    found = mark(json.dumps(active).encode())
    return found and str(Mark("C2PA manifest, DigitalSourceType", found.said))


def printable(said: Any) -> str | None:
    """What a stranger's file says, fit for a terminal, a page and a database: one line, and not a long one."""
    return None if said is None else "".join(one for one in str(said) if one.isprintable())[:LONGEST]


# What the arena's own images say


def origin(found: Facts) -> Origin | None:
    """What is kept of an image's facts; None where they could not be read."""
    return None if found.state == "unread" else Origin(found.state, found.generator, found.signed_by, found.mark)


def read_again(
    arena: Arena, anchors: bytes | None = None, progress: Callable[[int, int], None] = lambda done, total: None
) -> int:
    """Read the stored images from elsewhere that nobody could read yet; with `anchors` all of them anew.

    Returns how many there were; those that cannot be read now either stay for the next time.
    """
    hashes = origins.brought(arena.store, again=anchors is not None)
    for start in range(0, len(hashes), TOGETHER):
        part = hashes[start : start + TOGETHER]
        read = {sha256: origin(facts(arena.blobs.get(sha256), anchors=anchors)) for sha256 in part}
        origins.note(arena.store, {sha256: found for sha256, found in read.items() if found is not None})
        progress(start + len(part), len(hashes))
    return len(hashes)


def of_contestant(arena: Arena, contestant_id: int) -> list[str]:
    """Where a contestant's images came from, in clauses for a reader; none where all were drawn here."""
    return clauses(origins.said(arena.store, contestant_id))


def clauses(found: Sequence[tuple[Origin | None, int]]) -> list[str]:
    """Origins and how many images say so, as `db.origins.said` gives them, in clauses for a reader.

    The manifests first; those of the least frequent kinds are taken together.
    """
    signed, others = Counter[str](), Counter[str]()
    for one, n in found:
        if one is not None and one.state is not None:
            signed[f"with {_manifest_in_words(one)}"] += n
        else:
            others[_unsigned_in_words(one)] += n
    kinds = signed.most_common()
    rest = sum(n for _, n in kinds[MOST_KINDS:])
    told = kinds[:MOST_KINDS] + [("with other C2PA manifests", rest)] * bool(rest) + others.most_common()
    return [f"{n:,} {words}" for words, n in told]


def _unsigned_in_words(one: Origin | None) -> str:
    if one is None:
        return "not looked at yet"
    if one.mark:
        return f"with no manifest, but marked as made by a model ({one.mark})"
    return "that say nothing of their origin"


def _manifest_in_words(one: Origin) -> str:
    """What a manifest that does not hold says is not repeated as if it did: only its own claim of a name."""
    by = one.generator or "an unnamed program"
    if one.state not in WORTH:
        return f"an invalid C2PA manifest that names {by}"
    signer = f", signed by {one.signed_by}" if one.signed_by else ""
    return f"a valid C2PA manifest by {by}{signer} ({WORTH[one.state]})"


def _kind(content: bytes) -> str | None:
    """The media type of a file that can carry a manifest."""
    starts = (
        (b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg"), (b"GIF8", "image/gif"), (b"II*\0", "image/tiff"),
        (b"MM\0*", "image/tiff"),
    )  # fmt: skip
    for start, name in starts:
        if content.startswith(start):
            return name
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return "image/avif" if content[4:12] == b"ftypavif" else None


def _media_type(content: bytes) -> str:
    found = _kind(content)
    if found is None:
        raise DataError("Only AVIF, GIF, JPEG, PNG, TIFF and WebP files are signed and read here; convert the image.")
    return found


def _c2pa() -> Any:
    try:
        import c2pa
    except ImportError as error:
        raise EnvironmentFault(
            "C2PA manifests need the package c2pa-python; install it with the extra `c2pa`: pip install c2pa-python."
        ) from error
    return c2pa


_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763606060000000040001"
    "27347d190000000049454e44ae426082"
)
"""The smallest PNG: signing it shows whether a key can sign."""
