"""Laws of walking: deciding one element after another is the same distribution as the whole."""

from __future__ import annotations

import torch

from simulacra.core.capabilities import Attentive, Likelihood, Prompted, Searcher, Stepwise
from simulacra.core.indices import to_indices
from simulacra.core.prompts import Prompt
from simulacra.core.randomness import Rng
from simulacra.core.space import Categorical
from simulacra.laws.examples import check_close
from simulacra.laws.law import Broken, Inapplicable, Law, Subject, rounding
from simulacra.laws.queries import walked

MORE = 4  # tokens after a prompt


def order_is_whole(subject: Subject) -> str:
    model = subject.fresh()
    order = model.walk(2, y=subject.batch(model, 2).y).order
    if sorted(order.tolist()) != list(range(subject.space.size)):
        raise Broken(f"{len(order)} steps decide {len(set(order.tolist()))} of {subject.space.size} elements")
    return f"{len(order)} steps"


def walk_adds_up(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    whole = model.log_likelihood(batch.x, **batch.given())
    if whole.kind != "exact":
        raise Inapplicable(f"the likelihood is of kind {whole.kind}")
    wanted = to_indices(subject.space, batch.x)
    walk = model.walk(len(batch), y=batch.y)
    if sorted(walk.order.tolist()) != list(range(subject.space.size)):
        raise Inapplicable("the walk does not decide every element once")
    summed = torch.zeros_like(whole.nats)
    for place in walk.order.tolist():
        value = wanted[:, place]
        log_probs = walk.log_probs()
        left = float(log_probs.logsumexp(-1).abs().max())
        if not left <= rounding(log_probs.dtype):
            raise Broken(f"the probabilities of element {place} do not sum to 1: their log-sum is off by {left:.3g}")
        summed = summed + log_probs.gather(1, value[:, None])[:, 0].to(summed)
        walk.take(value)
    far = check_close(whole.nats, summed, "log p of whole examples and the sum along a walk")
    return f"they agree to {far:.1g} of their size"


def walked_alone(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    whole = walked(model, subject, batch)
    for rows in (slice(0, 1), slice(3, 6)):
        few = walked(model, subject, batch.rows(rows))
        check_close(whole[rows], few, f"{len(few)} examples walked along alone and among 8")
    return f"{whole.shape[1]} steps"


def goes_on_by_its_steps(subject: Subject) -> str:
    model = subject.fresh()
    batch, field = subject.batch(model, 4), subject.space.only
    assert isinstance(field, Categorical)
    begun = to_indices(subject.space, batch.x)[:, :2]
    prompt = Prompt(tokens=begun, length=None if batch.length is None else batch.length.clamp(max=2))
    drawn = model.continue_from(prompt, MORE, y=batch.y, rng=Rng(5))
    if bool(((drawn.tokens < 0) | (drawn.tokens >= field.k)).any()):
        raise Broken(f"tokens from {int(drawn.tokens.min())} to {int(drawn.tokens.max())}; there are {field.k}")
    steps = model.steps(len(begun), y=batch.y, prompt=prompt)
    summed = torch.zeros_like(drawn.log_prob)
    for j in range(drawn.tokens.shape[1]):
        token, log_probs = drawn.tokens[:, j], steps.log_probs()
        ends = drawn.ended & (drawn.length == j)  # an end is the output after the last token
        chosen = log_probs.gather(1, torch.where(ends, field.k, token)[:, None])[:, 0]
        summed = summed + torch.where(ends | (j < drawn.length), chosen, 0.0).to(summed)
        steps.take(token)
    check_close(drawn.log_prob, summed, "log p of what was drawn after a prompt, and the sum along its steps")
    return f"{int(drawn.length.sum())} tokens after {len(begun)} prompts"


def found_as_likely_as_said(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    found = {width: model.search(batch.y, width=width, alpha=0.0) for width in (1, 4)}
    for width, best in found.items():
        room = subject.space.only.shape[0]
        tokens = torch.nn.functional.pad(best.tokens, (0, room - best.tokens.shape[1]))
        scored = model.log_likelihood(tokens, y=batch.y, length=best.length)
        if scored.kind != "exact":
            raise Inapplicable(f"the likelihood is of kind {scored.kind}")
        check_close(scored.nats, best.log_prob, f"log p of what a beam of {width} finds, and what it says that is")
    worse = float((found[1].log_prob - found[4].log_prob).max())
    if worse > rounding(found[1].log_prob.dtype):
        raise Broken(f"a beam of 4 finds what is less likely, by {worse:.3g} nats, than following the likeliest token")
    return f"a beam of 4 gains {float((found[4].log_prob - found[1].log_prob).mean()):.3g} nats on following one"


def looks_are_shares(subject: Subject) -> str:
    model = subject.fresh()
    batch = subject.batch(model, 8)
    assert isinstance(batch.x, torch.Tensor)
    length = torch.full((8,), batch.x.shape[1]) if batch.length is None else batch.length
    shares = model.attention(batch.x, length, y=batch.y)
    decided = torch.arange(shares.shape[1], device=shares.device) <= length[:, None]
    if float(shares.min()) < 0:
        raise Broken(f"a share of a look is {float(shares.min()):.3g}; expected none below 0")
    total = shares.sum(-1)[decided]
    check_close(torch.ones_like(total), total, "1 and the sum of a decision's shares")
    return f"{len(total)} looks"


LAWS = (
    Law(
        name="walk is whole",
        says="A walk decides every element of an example once.",
        needs=(Stepwise,),
        check=order_is_whole,
    ),
    Law(
        name="walk adds up",
        says="The steps' log-probabilities are normalised, and sum to the log-likelihood of the example.",
        needs=(Stepwise, Likelihood),
        check=walk_adds_up,
    ),
    Law(
        name="walked alone",
        says="What may come next in an example does not depend on the examples beside it.",
        needs=(Stepwise,),
        check=walked_alone,
    ),
    Law(
        name="goes on by its steps",
        says="What is drawn after a prompt are tokens, and has the log p that the steps after it give.",
        needs=(Prompted,),
        check=goes_on_by_its_steps,
    ),
    Law(
        name="found as likely",
        says="What a search finds has the log p it says, and none is less likely than what a beam of one finds.",
        needs=(Searcher, Likelihood),
        check=found_as_likely_as_said,
    ),
    Law(
        name="looks are shares",
        says="What a decision looks at are shares: none is negative, and they sum to 1.",
        needs=(Attentive,),
        check=looks_are_shares,
    ),
)
