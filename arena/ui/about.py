"""The method page: every number on the site, in plain words and with its formula.

Other pages link to a section by its heading: `/how-it-works#rating`, `#how-sure-that-is`, `#what-does-not-count`.
"""

from __future__ import annotations

import re

import pandas as pd
import streamlit as st

from arena.bootstrap import Arena
from arena.errors import ArenaError
from arena.services import method
from arena.ui.common import heading, plain, said_plainly, the_arena

READABLE = 740  # pixels: about 90 characters a line

TEXT = r"""
### Voting
You see one prompt and two pictures by two different models. Which model stands on which side is drawn by a fair coin.
The pictures come under random addresses, in boxes of one size, and both appear at once; who made them stays on the
server until you have voted. Press **←** or **→** for the better picture, **↑** for a tie, **↓** when both are bad,
**S** to skip. Your browser keeps a random signed id, so that a pair counts once per voter; there is no account.

Your vote tells you who made the two. They are never drawn against each other for you again, but each may meet a third
picture of the same prompt later: then you may know the maker of one side before you vote. A prompt whose pictures you
saw with names on a page **Model** or **Prompt** is not drawn for you any more.

### Own prompts
You may type a prompt yourself; two models draw it at once. The two are drawn with a known chance, which is stored with
the pair as always, and you vote blind as always. If one of them fails, you are told which, and no vote is taken. Nobody
else is shown your prompt, and no judge either. Such votes stand under the category “own prompt”.

### Rating
The leaderboard orders models by the Bradley–Terry model: model $i$ beats model $j$ with the probability

$$
P(i \text{ beats } j) = \frac{1}{1 + 10^{(R_j - R_i)/400}}
$$

and the ratings $R$ are those that make all votes together likeliest, shifted so that their mean is 1000. Every vote
weighs the same whenever it was cast, and nothing is smoothed: a model that never lost, or that no chain of votes
connects with the others, gets no rating and a sentence that says why. A tie is half a win for both.

### How sure that is
- **95% interval.** Votes of one person hang together, so whole voters are left out in turn, not single votes
  (a jackknife over voters). It is *established* at ±30 points or less, *usable* up to ±60, else *preliminary*.
- **Rank.** “2–4” means that the votes leave these ranks open. The sets of all models hold at once with 95%
  confidence: models differ in rank only where their difference is larger than the largest that chance brings among
  all pairs.
- **Votes to flip** are the fewest whose removal puts the next model level, found by their influence and checked by
  rating again. **Votes needed** would settle the order of the two if their difference stays what it is.
- **Pooled.** In one category votes are few, so its ratings lean on the other categories, the more the fewer votes it
  has and the less the categories differ. How much is shown.
- **Which pairs you see.** Mostly those whose votes tell most: new models, then pairs that are nearly told apart. One
  pair in ten is drawn uniformly, so that every pair keeps a known chance, which is stored with it. Whoever runs this
  arena may have a model drawn more or less often; its share multiplies the chances of its pairs, never to zero.

### Elo
Beside it stands a live rating that moves with every vote, as in chess. A model's rating $R$ starts at 1000. Against an
opponent rated $R_o$ it is expected to score

$$
E = \frac{1}{1 + 10^{(R_o - R)/400}}
$$

A difference of 400 points thus means odds of ten to one. After your vote it scored $S$: 1 for a win, 0 for a loss, ½
for a tie and for “both bad”. Its rating then moves by

$$
R' = R + K\,(S - E), \qquad K = 32 \text{ unless the operator chose another}
$$

and its opponent's by the same amount the other way. **Beating a stronger model earns more**: at equal ratings $E=0.5$
and a win earns 16 points; against a model 200 points stronger $E=0.24$ and a win earns 24.3; against one 200 points
weaker $E=0.76$ and a win earns 7.7.

### Both bad is not a tie
A tie says that both pictures are equally good; “both bad” says that neither is good enough. It prefers nobody, so it
has no part in the rating, and a column of its own: the share of a model's votes that said so. Elo knows only win, draw
and loss, and moves by it as by a draw.

### Provisional
With few votes, luck decides the order. A model with fewer than 30 votes is marked *provisional* (the operator may
choose another limit). Skipped pairs count for nothing.

### My board
After 30 votes the same rating is made of your votes alone. Its intervals treat your answers to one prompt as hanging
together, and they are wide: 30 votes of one person tell little. *Who agrees with you* counts the pairs in which both
preferred a picture, with Wilson's interval: you against the most frequent answer of the others, against the models'
order without your own votes, and against the judge. *Your taste* is how much a side or a look is worth to you between
models of equal strength,

$$
\log\frac{P(\text{left})}{P(\text{right})} = \theta_{\text{left}} - \theta_{\text{right}} + \beta_0 + \beta x
$$

with $x$ the difference of the two pictures in brightness, contrast, colour, sharpness, size or shape, one at a time. A
taste is named only where its interval excludes none; the intervals of all seven hold at once with 95%.

### Judges
A vision-language model may vote as well. It sees each pair twice, once in each order: where the two answers differ,
its vote is a tie and marked *inconsistent*; where an answer cannot be read, it is *unscored* and no vote. Its votes
count on a board of its own and never on people's. The page **Judge** says how far it agrees with people on the pairs
both have seen. *Decisive accuracy* is how often the two prefer the same picture where both prefer one, and a coin
reaches 50%. *First − second* is how much more often it prefers the picture shown first: 0 for a judge that looks at the
pictures. *Points per verdict* is how much narrower one more verdict makes its intervals, on average.

### FID
The Fréchet Inception distance compares a set of generated pictures with a set of real ones. Each picture becomes
2,048 numbers, taken from a network trained to recognise objects; each set is summed up by their mean $\mu$ and
covariance $\Sigma$, and

$$
\mathrm{FID} = \lVert \mu_1 - \mu_2 \rVert^2 + \mathrm{tr}\left(\Sigma_1 + \Sigma_2 - 2(\Sigma_1\Sigma_2)^{1/2}\right)
$$

Smaller is closer. FID looks at sets, not at single pictures, and never reads the prompt: a model may draw lovely
pictures of the wrong thing and score well. Where people and FID disagree, both are shown.

"FID" is many numbers: every tool resizes otherwise. So a value is stored with its **protocol**, a **fingerprint** of
every setting, of the weights and of the library versions, and only values of one fingerprint and one reference set
stand in one chart.

The plain value is too large by an amount that falls as the number of pictures grows. The **debiased** value takes that
off, as far as so many pictures can tell, and its **95% interval** says how far it may be off by chance. Below some
thousands of pictures both say so, and KID is the better guide.

### KID
The kernel Inception distance is the squared distance between the two sets' mean embeddings under the kernel
$k(x, y) = (x \cdot y / d + 1)^3$ of the same features. It is right on average for any number of pictures; for equal
distributions it scatters about 0 and may be negative. All pairs are used, so it is the same each time.

### Precision, recall, density, coverage
Around each real picture lies a ball that reaches its fifth neighbour. *Precision* is the share of generated pictures
inside some such ball, *recall* the same the other way round; *density* and *coverage* are their steadier relatives.
Precision asks whether the pictures look real, recall whether they show all there is.

### CLIPScore and other scores of prompt and picture
A network turns the prompt and the picture into directions; the score grows with the cosine between them. CLIPScore is
$100\,\max(\cos, 0)$ or $2.5\,\max(\cos, 0)$, as its protocol says; PickScore and HPS come from networks trained on
people's choices. A model's figure is the mean over its pictures; the page **Judge** says how often people agree.

### On the same prompts
Two models that answered the same prompts are compared picture by picture: what the prompts and the real pictures share
cancels, so that a difference can be certain where the two intervals overlap.

### Speed and cost
*Seconds per image* is the median over a model's pictures on the machine that made them, so it compares models only
where one machine made all. *Dollars per megapixel* is what its pictures cost over their size in millions of pixels;
*images per dollar* counts them whatever their size. Both are over the pictures whose cost is known; where nothing is
known there is a dash, never a zero.

### Models, prompts and pictures that are no longer drawn
A retired model or prompt, and a picture that was reported and hidden, come into no further pair. The votes on them
stay, and so does the rating.
"""

TITLE = re.compile(r"^### (.+)$", re.MULTILINE)
EXCLUDED, VERSION = "What does not count", "Version"


def page() -> None:
    heading("Method", "What you vote on, and what every number on this site means.")
    with st.container(width=READABLE):
        st.markdown(contents())
        st.markdown(TEXT)
        st.markdown(f"### {EXCLUDED}")
        with said_plainly():
            draw_excluded(the_arena())
        st.markdown(f"### {VERSION}")
        try:
            draw_version(the_arena())
        except ArenaError:  # said above already
            st.markdown(f"`{method.PACKAGE}` {method.installed(method.PACKAGE)}")


def contents() -> str:
    """Links to every section."""
    return " · ".join(f"[{title}](#{anchor(title)})" for title in [*TITLE.findall(TEXT), EXCLUDED, VERSION])


def anchor(title: str) -> str:
    """The address that Streamlit gives to a heading: its words in small letters, joined by dashes."""
    return re.sub(r"[^a-z0-9]+", "-", title.casefold()).strip("-")


def draw_excluded(arena: Arena) -> None:
    """How many votes count, and why the others do not, as of now."""
    found = method.counted(arena)
    st.markdown(
        f"**{found.counting:,} votes count.** A vote is never changed or removed. Where one must not count, a row with "
        "the reason is added beside it, and every rating is made without it; what was taken out can be put back the "
        "same way."
    )
    if not found.not_counting:
        st.markdown("No vote has been taken out.")
        return
    rows = pd.DataFrame(found.not_counting, columns=["Reason", "Votes"])
    st.dataframe(rows, hide_index=True, width="stretch", height="content")


def draw_version(arena: Arena) -> None:
    """What a number depends on besides the votes."""
    found = method.versions(arena)
    board = ", ".join(f"{name} {value}" for name, value in found.board.items()) or "no board yet"
    shares = ", ".join(f"{plain(name)} × {share:g}" for name, share in found.shares.items()) or "all alike"
    st.markdown(
        f"- **Package**: `{method.PACKAGE}` {found.package}; "
        + ", ".join(f"{name} {number}" for name, number in found.libraries.items())
        + f"\n- **Board**: {plain(board)}\n- **Pairs**: {plain(found.matchmaking)}; shares: {shares}"
        + f"\n- **Pictures as shown**: {found.pictures}"
    )
    rows = [{"Protocol": one.id, "Fingerprint": one.fingerprint} for one in found.protocols]
    rows += [{"Protocol": name, "Fingerprint": mark} for name, mark in found.judges.items()]
    if rows:
        st.markdown("Protocols and judges in use, with the sha256 of all their settings:")
        st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch", height="content")
    else:
        st.markdown("No automatic score and no judge is in use yet.")
