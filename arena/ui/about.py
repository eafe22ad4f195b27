"""The method page: every number on the site, in plain words and with its formula."""

from __future__ import annotations

import streamlit as st

from arena.ui.common import heading

READABLE = 740  # pixels: about 90 characters a line

TEXT = r"""
### Voting
You see one prompt and two pictures by two different models. Which model stands on which side is drawn by a fair coin.
The pictures come under random addresses, in boxes of one size, and both appear at once; who made them stays on the
server until you have voted. Press **←** or **→** for the better picture, **↑** for a tie, **↓** when both are bad,
**S** to skip. Your browser keeps a random signed id, so that a pair counts once per voter; there is no account.

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
  pair in ten is drawn uniformly, so that every pair keeps a known chance, which is stored with it.

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

### On the same prompts
Two models that answered the same prompts are compared picture by picture: what the prompts and the real pictures share
cancels, so that a difference can be certain where the two intervals overlap.
"""


def page() -> None:
    heading("How it works", "What you vote on, and what every number on this site means.")
    st.container(width=READABLE).markdown(TEXT)
